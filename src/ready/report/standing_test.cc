#include "ready/report/standing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using testing::HasSubstr;

const Timestamp kNow = Timestamp::from_seconds(1'800'000'000);

Rehearsal drill(int64_t minutes_ago, std::string target, bool passed) {
  Rehearsal made;
  made.time = kNow.plus_us(-minutes_ago * 60'000'000);
  made.target = std::move(target);
  made.passed = passed;
  made.backup = "20270101T000000Z-aaaaaa";
  if (!passed) made.problems = {"a segment is missing"};
  return made;
}

SignalReport report(double result) {
  SignalReport made;
  for (const char* id : {"drill_age", "drill_result", "wal_gaps"}) {
    Reading reading;
    reading.signal = find_signal(id);
    reading.policy.thresholds = reading.signal->thresholds;
    reading.verdict = Verdict::ok;
    reading.value = result;
    reading.found = "as the newest says";
    made.readings.push_back(reading);
  }
  return made;
}

TEST(StandingTest, a_drill_that_reaches_less_far_makes_no_failure_good) {
  const Rehearsal failed = drill(60, "latest", false);
  EXPECT_NE(standing_failure({failed}), nullptr);
  EXPECT_NE(standing_failure({drill(10, "immediate", true), failed}), nullptr);
  EXPECT_NE(standing_failure({drill(10, "time 2026-12-31 00:00:00+00", true), failed}), nullptr);
  EXPECT_EQ(standing_failure({drill(10, "latest", true), failed}), nullptr);
  EXPECT_NE(standing_failure({failed, drill(90, "latest", true)}), nullptr) << "that was before";
  Rehearsal behind = drill(10, cat("time ", kNow.plus_us(-30'000'000).to_string()), true);
  EXPECT_EQ(standing_failure({behind, failed}), nullptr) << "a moment behind the failed drill";
  Rehearsal reached = drill(10, "immediate", true);
  reached.last_commit = kNow.plus_us(-700'000'000);
  EXPECT_EQ(standing_failure({reached, failed}), nullptr) << "its backup was made behind it";
}

TEST(StandingTest, what_cannot_be_read_is_not_well) {
  SignalReport unread = report(0);
  apply_unread(unread, make_error(ErrorKind::damaged, "dumps/1/card", "is cut off"));
  EXPECT_EQ(unread.readings[1].verdict, Verdict::unknown);
  EXPECT_THAT(unread.readings[1].found, HasSubstr("is cut off"));
  SignalReport failed = report(1);
  failed.readings[1].verdict = Verdict::critical;
  apply_unread(failed, make_error(ErrorKind::damaged, "dumps/1/card", "is cut off"));
  EXPECT_EQ(failed.readings[1].verdict, Verdict::critical);
}

TEST(StandingTest, of_a_moment_that_moment_or_a_later_one_counts) {
  const Rehearsal failed = drill(60, "time 2027-01-01 00:00:00+00", false);
  EXPECT_EQ(standing_failure({drill(9, "time 2027-01-01 00:00:00+00 (exclusive)", true), failed}), nullptr);
  EXPECT_EQ(standing_failure({drill(9, "time 2027-01-02 00:00:00+00", true), failed}), nullptr);
  EXPECT_NE(standing_failure({drill(9, "time 2026-12-31 23:59:59+00", true), failed}), nullptr);
  EXPECT_EQ(standing_failure({drill(9, "name a", true), drill(60, "name a", false)}), nullptr);
  Rehearsal older = drill(9, "immediate", true);
  EXPECT_EQ(standing_failure({older, drill(60, "immediate", false)}), nullptr);
  older.backup = "20261201T000000Z-aaaaaa";
  EXPECT_NE(standing_failure({older, drill(60, "immediate", false)}), nullptr);
}

TEST(StandingTest, the_signal_stays_critical_while_a_failure_stands) {
  SignalReport told = report(0);
  apply_evidence(told, {drill(1, "immediate", true), drill(60, "latest", false)}, {});
  EXPECT_EQ(told.readings[1].verdict, Verdict::critical);
  EXPECT_EQ(told.readings[1].value, 1);
  EXPECT_THAT(told.readings[1].found, HasSubstr("a segment is missing; as the newest says"));
  told = report(0);
  apply_evidence(told, {drill(1, "latest", true), drill(60, "latest", false)}, {});
  EXPECT_EQ(told.readings[1].verdict, Verdict::ok);
  apply_evidence(told, {}, {{"20270115T030000Z-aaaaaa", kNow, true, "rows: 3 instead of 4"}});
  EXPECT_EQ(told.readings[1].verdict, Verdict::critical);
  EXPECT_THAT(told.readings[1].found, HasSubstr("rows: 3 instead of 4"));
}

TEST(StandingTest, wal_that_a_verification_found_damaged_is_a_gap_until_a_backup_lies_behind_it) {
  EXPECT_FALSE(parse_wal_verdict(R"({"kind":"verify","time_us":1,"backups":[]})")) << "it read no WAL";
  auto verdict = parse_wal_verdict(
      R"({"kind":"verify","time_us":1700000000000000,"wal_problems":["WAL segment 5: torn"]})");
  ASSERT_TRUE(verdict);
  SignalReport told = report(0);
  apply_wal_verdict(told, *verdict, nullptr);
  EXPECT_EQ(told.readings[2].verdict, Verdict::critical);
  EXPECT_THAT(told.readings[2].found, HasSubstr("WAL segment 5: torn"));
  repo::Card behind;
  behind.started = kNow;
  told = report(0);
  apply_wal_verdict(told, *verdict, &behind);
  EXPECT_EQ(told.readings[2].verdict, Verdict::warning);
  verdict->problems.clear();
  told = report(0);
  apply_wal_verdict(told, *verdict, nullptr);
  EXPECT_EQ(told.readings[2].verdict, Verdict::ok);
}

TEST(StandingTest, passes_that_were_taken_back_are_told) {
  SignalReport told = report(0);
  Reading& age = told.readings[0];
  age.value.reset();
  age.verdict = Verdict::critical;
  apply_evidence(told, {drill(1, "latest", false), drill(60, "latest", true)}, {});
  EXPECT_THAT(age.found, HasSubstr("was taken back by one that failed later"));
}

}  // namespace
}  // namespace lifeboat::ready
