#include "ops/dump/latest.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

struct Dump {
  std::string id;
  repo::DumpSummary summary;
  repo::DumpRecord record;
};

Dump dump(std::string id, std::vector<std::string> databases, bool every = false) {
  Dump made;
  made.id = std::move(id);
  made.summary.databases = databases;
  made.summary.every_database = every;
  for (const std::string& name : databases) {
    repo::DumpedDatabase database;
    database.name = name;
    database.tables = {{"public", "orders", 3}};
    made.record.databases.push_back(std::move(database));
  }
  return made;
}

Dump schema_only(Dump made) {
  made.summary.schema_only = true;
  for (repo::DumpedDatabase& database : made.record.databases) database.tables.clear();
  return made;
}

Dump of_tables(Dump made, const std::string& table) {
  made.summary.chosen_tables = true;
  made.record.patterns = {{"table", table, 1}};
  for (repo::DumpedDatabase& database : made.record.databases) database.tables = {{"public", table, 3}};
  return made;
}

// "ID", or "ID: note"; "" when there is none. Newest first.
std::string latest(const std::vector<Dump>& dumps, const DumpWish& wish) {
  std::vector<DumpCandidate> candidates;
  for (const Dump& one : dumps)
    candidates.push_back(judge_dump({one.id}, {1'000'000'000'000'000}, one.summary, wish, &one.record));
  auto chosen = choose_latest(candidates);
  if (!chosen) return "";
  return dumps[chosen->index].id + (chosen->note.empty() ? "" : ": " + chosen->note);
}

constexpr std::string_view kTime = "2001-09-09 01:46:40+00";

TEST(LatestDump, is_the_newest_where_that_has_everything) {
  EXPECT_EQ(latest({dump("b", {"postgres", "shop"}, true), dump("a", {"postgres", "shop"}, true)},
                   {.every_database = true}),
            "b");
}

TEST(LatestDump, of_a_database_is_the_newest_that_has_it_whole_with_rows) {
  const std::vector<Dump> dumps = {schema_only(dump("d", {"shop"})), of_tables(dump("c", {"shop"}), "orders"),
                                   dump("b", {"hr"}), dump("a", {"hr", "shop"}, true)};
  EXPECT_EQ(latest(dumps, {.databases = {"shop"}}),
            "a: latest is dump a of " + std::string(kTime) +
                "; passed over, though newer: d (schema only), c (of some tables only), b (without database "
                "shop)");
  EXPECT_EQ(latest(dumps, {.databases = {"hr"}}),
            "b: latest is dump b of " + std::string(kTime) +
                "; passed over, though newer: d (without database hr), c (without database hr)");
  EXPECT_EQ(latest(dumps, {.databases = {"finance"}}), "");
}

TEST(LatestDump, of_everything_is_one_of_every_database) {
  EXPECT_EQ(latest({dump("b", {"shop"}), dump("a", {"hr", "shop"}, true)}, {.every_database = true}),
            "a: latest is dump a of " + std::string(kTime) + "; passed over, though newer: b (only shop)");
  // A database was dropped since.
  EXPECT_EQ(latest({dump("b", {"shop"}, true), dump("a", {"hr", "shop"}, true)}, {.every_database = true}),
            "b");
  EXPECT_EQ(latest({dump("b", {"shop"}), dump("a", {"shop"})}, {.every_database = true}), "b");
}

TEST(LatestDump, earlier_versions_did_not_say_whether_it_is_of_every_database) {
  Dump all = dump("a", {"hr", "postgres"});
  Dump one = dump("b", {"hr"});
  all.summary.every_database.reset();
  one.summary.every_database.reset();
  EXPECT_EQ(latest({one, all}, {.every_database = true}).substr(0, 2), "a:");
}

TEST(LatestDump, where_none_has_rows_that_is_said) {
  EXPECT_EQ(latest({schema_only(dump("a", {"shop"}))}, {.databases = {"shop"}}),
            "a: latest is dump a of " + std::string(kTime) +
                "; it is schema only, so that no rows come back, and no dump has them");
  // Rows of some tables are more than none.
  EXPECT_EQ(latest({schema_only(dump("b", {"shop"})), of_tables(dump("a", {"shop"}), "orders")},
                   {.databases = {"shop"}})
                .substr(0, 2),
            "a:");
}

TEST(LatestDump, of_a_table_is_the_newest_that_has_its_rows) {
  const std::vector<Dump> dumps = {of_tables(dump("c", {"shop"}), "items"),
                                   of_tables(dump("b", {"shop"}), "orders"), dump("a", {"shop"}, true)};
  EXPECT_EQ(latest(dumps, {.databases = {"shop"}, .tables = {"public.orders"}}).substr(0, 2), "b:");
  EXPECT_EQ(latest(dumps, {.databases = {"shop"}, .tables = {"items"}}), "c");
  // A partitioned table has no rows of its own: a whole dump may have it.
  EXPECT_EQ(latest(dumps, {.databases = {"shop"}, .tables = {"parts"}}).substr(0, 2), "a:");
}

TEST(LatestDump, one_that_failed_its_last_check_is_passed_over) {
  const Dump newer = dump("b", {"shop"}, true);
  const Dump older = dump("a", {"shop"}, true);
  auto judged = [](const Dump& one, bool failed) {
    auto candidate = judge_dump({one.id}, {1'000'000'000'000'000}, one.summary, {.every_database = true});
    if (failed) judge_failed("restore: it does not", candidate);
    return candidate;
  };
  auto chosen = choose_latest({judged(newer, true), judged(older, false)});
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->index, 1u);
  EXPECT_TRUE(chosen->doubt);
  EXPECT_EQ(chosen->note,
            "latest is dump a of " + std::string(kTime) +
                "; passed over, though newer: b (it failed its last check: restore: it does not)");
  chosen = choose_latest({judged(newer, true), judged(schema_only(older), false)});
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->index, 0u) << "there are rows in it";
  EXPECT_TRUE(chosen->doubt);
  EXPECT_NE(chosen->note.find("failed its last check"), std::string::npos);
  EXPECT_FALSE(choose_latest({judged(newer, false)})->doubt);
}

TEST(LatestDump, of_globals_is_the_newest) {
  EXPECT_EQ(latest({schema_only(dump("b", {"hr"})), dump("a", {"shop"}, true)}, {.globals_alone = true}),
            "b");
}

}  // namespace
}  // namespace lifeboat::ops
