// The pure parts of a drill: what isolates it, and how counts of two drills are compared.
#include <gtest/gtest.h>

#include "ops/drill/row_compare.h"
#include "ops/scratch/isolate.h"

namespace lifeboat::ops {
namespace {

std::string value_of(const Settings& settings, const std::string& name) {
  std::string value = "(not set)";
  for (const auto& [key, text] : settings) {
    if (key == name) value = text;
  }
  return value;
}

repo::Manifest manifest_of(int version, std::vector<repo::Setting> settings) {
  repo::Manifest manifest;
  manifest.card.server_version_num = version;
  manifest.settings = std::move(settings);
  return manifest;
}

// T33, T43, T44
TEST(Isolation, nothing_of_the_source_reaches_out_of_a_drill) {
  repo::Manifest manifest =
      manifest_of(150004, {{"archive_command", "cp %p /production"}, {"max_connections", "777"}});
  Settings settings =
      isolation_settings({&manifest, "/d/hba", "/d/ident", {"pg_stat_statements"}, 8ull << 30});
  EXPECT_EQ(value_of(settings, "archive_mode"), "off");
  EXPECT_EQ(value_of(settings, "archive_command"), "");
  EXPECT_EQ(value_of(settings, "archive_library"), "");
  EXPECT_EQ(value_of(settings, "listen_addresses"), "");
  EXPECT_EQ(value_of(settings, "primary_conninfo"), "");
  EXPECT_EQ(value_of(settings, "synchronous_standby_names"), "");
  EXPECT_EQ(value_of(settings, "max_logical_replication_workers"), "0");
  EXPECT_EQ(value_of(settings, "ssl"), "off");
  EXPECT_EQ(value_of(settings, "huge_pages"), "off");
  EXPECT_EQ(value_of(settings, "default_transaction_read_only"), "off");
  EXPECT_EQ(value_of(settings, "shared_preload_libraries"), "pg_stat_statements");
  EXPECT_EQ(value_of(settings, "max_connections"), "777") << "T32";
}

TEST(Isolation, settings_that_a_major_does_not_know_are_left_out) {
  repo::Manifest manifest = manifest_of(140009, {});
  Settings settings = isolation_settings({&manifest, "/d/hba", "/d/ident", {}, 8ull << 30});
  EXPECT_EQ(value_of(settings, "archive_library"), "(not set)");
}

TEST(Isolation, libraries_that_run_jobs_are_known_by_name_or_path) {
  EXPECT_TRUE(runs_jobs("pg_cron"));
  EXPECT_TRUE(runs_jobs("$libdir/pg_cron"));
  EXPECT_TRUE(runs_jobs("pg_cron.so"));
  EXPECT_TRUE(runs_jobs("/usr/lib/postgresql/15/lib/pg_cron.so"));
  EXPECT_TRUE(runs_jobs("$libdir/timescaledb-2.17.2"));
  EXPECT_TRUE(runs_jobs("pg_failover_slots"));
  EXPECT_FALSE(runs_jobs("pg_stat_statements"));
  repo::Manifest manifest =
      manifest_of(150004, {{"shared_preload_libraries", "pg_cron, \"auto_explain\",pg_stat_statements"}});
  EXPECT_EQ(preload_libraries(manifest),
            (std::vector<std::string>{"pg_cron", "auto_explain", "pg_stat_statements"}));
}

class RowCompare : public testing::Test {
 protected:
  RowCompare() {
    earlier.evidence = "e1";
    earlier.next_xid = 1000;
    earlier.counts = {{"db", "public", "t", 16384, 5, 100}};
    changes.complete = true;
    changes.lowest_commit_xid = 1000;
  }
  DrillCheck compare(int64_t rows) {
    CountedRows now;
    now.counts = {{"db", "public", "t", 16384, 5, rows}};
    return compare_counts(now, earlier, changes);
  }
  EarlierCounts earlier;
  RowChanges changes;
};

TEST_F(RowCompare, an_untouched_table_must_have_exactly_its_rows) {
  EXPECT_EQ(compare(100).result, CheckResult::passed);
  EXPECT_NE(compare(100).detail.find("1 exact"), std::string::npos);
  EXPECT_EQ(compare(99).result, CheckResult::failed) << "the canary: one row is missing";
}

TEST_F(RowCompare, a_changed_table_is_bounded_by_its_inserts_and_deletes) {
  changes.by_file[{5, 16384}] = {10, 3};
  EXPECT_EQ(compare(97).result, CheckResult::passed);
  EXPECT_EQ(compare(110).result, CheckResult::passed);
  EXPECT_EQ(compare(96).result, CheckResult::failed);
  EXPECT_EQ(compare(111).result, CheckResult::failed);
  EXPECT_NE(compare(105).detail.find("1 bounded"), std::string::npos);
}

TEST_F(RowCompare, rows_of_a_transaction_that_was_open_over_the_earlier_end_make_it_not_comparable) {
  changes.lowest_commit_xid = 999;
  EXPECT_EQ(compare(150).result, CheckResult::passed);
  EXPECT_NE(compare(150).detail.find("1 not comparable"), std::string::npos);
}

TEST_F(RowCompare, without_the_wal_in_between_nothing_is_compared) {
  changes.complete = false;
  EXPECT_EQ(compare(1).result, CheckResult::passed);
  EXPECT_NE(compare(1).detail.find("not comparable"), std::string::npos);
}

}  // namespace
}  // namespace lifeboat::ops
