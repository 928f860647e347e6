// RK1: nine runbooks, complete, filled in, fit for paper.
#include "ready/runbook/runbook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "ready/runbook/shelf.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using testing::HasSubstr;
using testing::Not;

RunbookFacts facts() {
  RunbookFacts facts;
  facts.cluster = "main";
  facts.written = Timestamp::from_seconds(1'800'000'000);
  facts.owner = "dba@example.org";
  facts.host = "db1";
  facts.major = 15;
  facts.system_id = "7";
  facts.pgdata = "/var/lib/postgresql/15/main";
  facts.bin = "/usr/lib/postgresql/15/bin";
  facts.port = "5433";
  facts.us = {"/usr/bin/lifeboat", {"file:///srv/backup", "main", {}}, "host=/run/postgresql", facts.pgdata};
  facts.newest_backup = "20270115T080000Z-000001";
  return facts;
}

std::string sheet(const RunbookFacts& about, std::string_view id, const Review& review = {}) {
  return runbook_markdown(about, make_runbooks(about, id).at(0), review);
}

TEST(runbooks, each_is_complete_and_has_a_name_of_its_own) {
  std::set<std::string> ids;
  for (const Runbook& book : make_runbooks(facts())) {
    EXPECT_TRUE(ids.insert(book.id).second) << book.id;
    EXPECT_FALSE(book.symptoms.empty() || book.diagnostic.empty() || book.action.empty() ||
                 book.afterwards.empty() || book.never.empty() || book.minutes.empty())
        << book.id;
  }
  EXPECT_EQ(ids.size(), 9u);
  EXPECT_TRUE(make_runbooks(facts(), "fire").empty());
}

TEST(runbooks, the_first_diagnostic_changes_nothing) {
  for (const Runbook& book : make_runbooks(facts()))
    for (const RunbookStep& step : book.diagnostic)
      for (const RunbookCommand& command : step.commands)
        EXPECT_EQ(command.effect, Effect::looks) << book.id << ": " << command.line;
}

TEST(runbooks, commands_stand_on_their_own) {
  for (const Runbook& book : make_runbooks(facts()))
    for (const auto* part : {&book.diagnostic, &book.action, &book.afterwards})
      for (const RunbookStep& step : *part)
        for (const RunbookCommand& command : step.commands) {
          if (command.line.find("lifeboat") == std::string::npos) continue;
          EXPECT_THAT(command.line, HasSubstr("/usr/bin/lifeboat"));
          EXPECT_THAT(command.line, HasSubstr("--repo file:///srv/backup"));
        }
}

TEST(runbooks, expiry_is_asked_with_the_rules_that_are_stated) {
  EXPECT_THAT(sheet(facts(), "archive-failure"), HasSubstr("--pitr-days 30 --dry-run"));
  ReportFacts known;
  known.settings.retention.keep_days = 90;
  known.settings.dump_retention.keep_count = 7;
  const RunbookFacts about = runbook_facts(known, {"file:///srv/backup", "main", {}});
  EXPECT_EQ(about.expiry, "--keep-days 90 --dump-keep-count 7");
}

TEST(runbooks, no_sheet_tells_anybody_to_delete_wal) {
  for (const Runbook& book : make_runbooks(facts()))
    for (const auto* part : {&book.diagnostic, &book.action, &book.afterwards})
      for (const RunbookStep& step : *part)
        for (const RunbookCommand& command : step.commands)
          EXPECT_THAT(command.line, Not(testing::ContainsRegex("(^| )rm |pg_resetwal|pg_archivecleanup")));
}

TEST(runbooks, minutes_are_those_of_the_newest_rehearsal_that_passed) {
  RunbookFacts about = facts();
  EXPECT_THAT(sheet(about, "primary-loss"), HasSubstr("never measured"));
  Rehearsal drill;
  drill.time = about.written;
  drill.passed = true;
  drill.rto_seconds = 125;
  about.rehearsals = {drill};
  EXPECT_THAT(sheet(about, "primary-loss"), HasSubstr("2 min 05 s until the first answer"));
  about.rehearsals[0].passed = false;
  EXPECT_THAT(sheet(about, "primary-loss"), HasSubstr("never measured"));
}

TEST(runbooks, patroni_promotes_by_itself) {
  RunbookFacts about = facts();
  about.patroni = true;
  EXPECT_THAT(sheet(about, "primary-loss"), HasSubstr("patronictl"));
}

TEST(shelf, a_sheet_says_when_it_was_written_and_who_read_it) {
  const RunbookFacts about = facts();
  auto unread = parse_runbook("/b/bloat.md", sheet(about, "bloat"));
  ASSERT_TRUE(unread.has_value());
  EXPECT_EQ(unread->id, "bloat");
  EXPECT_EQ(unread->cluster, "main");
  EXPECT_EQ(unread->written, about.written);
  EXPECT_FALSE(unread->reviewed.valid());
  auto read = parse_runbook("/b/bloat.md", sheet(about, "bloat", {"Ada Lovelace", about.written}));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->reviewer, "Ada Lovelace");
  EXPECT_EQ(read->reviewed, about.written);
  EXPECT_FALSE(parse_runbook("/b/notes.md", "# My notes\n").has_value());
}

TEST(shelf, only_sheets_of_the_cluster_are_found) {
  auto directory = TempDir::make();
  ASSERT_TRUE(directory.has_value());
  RunbookFacts other = facts();
  other.cluster = "other";
  ASSERT_TRUE(
      write_file_durable(*directory / "bloat.md", as_bytes(sheet(facts(), "bloat")), 0644).has_value());
  ASSERT_TRUE(
      write_file_durable(*directory / "storage.md", as_bytes(sheet(other, "storage")), 0644).has_value());
  const auto found = written_runbooks(directory->path(), "main");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(find_runbook(found, "bloat"), nullptr);
  EXPECT_TRUE(written_runbooks("/nowhere/at/all", "main").empty());
}

}  // namespace
}  // namespace lifeboat::ready
