// SC1: jobs run when they should, one at a time, and what was missed is made up for once.
#include "app/daemon/schedule.h"

#include <gtest/gtest.h>

#include <set>

namespace lifeboat::app {
namespace {

Timestamp at(const char* text) {
  return parse_time(text).value();
}
Job job(std::string name, const char* when, int64_t jitter_us = 0, std::string cluster = "main") {
  return {std::move(cluster), std::move(name), CronExpression::parse(when).value(), jitter_us, {"verify"}};
}

TEST(Schedule, a_new_job_has_missed_nothing) {
  Schedule schedule({job("a", "0 1 * * *")}, {}, at("2026-11-29 09:00Z"));
  EXPECT_EQ(schedule.due("main", at("2026-11-29 23:59Z")), nullptr);
  EXPECT_NE(schedule.due("main", at("2026-11-30 01:00Z")), nullptr);
}

TEST(Schedule, missed_moments_are_made_up_for_once) {
  Schedule first({job("a", "0 * * * *")}, {}, at("2026-11-29 09:30Z"));
  auto kept = decode_records("state", encode_records(first.records()));
  ASSERT_TRUE(kept);
  Schedule schedule({job("a", "0 * * * *")}, *kept, at("2026-11-30 05:10Z"));
  const Job* due = schedule.due("main", at("2026-11-30 05:10Z"));
  ASSERT_NE(due, nullptr);
  schedule.started(*due, at("2026-11-30 05:10Z"));
  schedule.ended(*due, at("2026-11-30 05:20Z"), 0, "");
  EXPECT_EQ(schedule.due("main", at("2026-11-30 05:59Z")), nullptr);
  EXPECT_EQ(schedule.next_start(*due), at("2026-11-30 06:00Z"));
  EXPECT_EQ(schedule.record(*due).runs, 1u);
}

TEST(Schedule, who_has_waited_longest_comes_first_and_clusters_do_not_wait_for_each_other) {
  Schedule schedule(
      {job("late", "20 1 * * *"), job("early", "10 1 * * *"), job("x", "0 1 * * *", 0, "other")}, {},
      at("2026-11-29 00:00Z"));
  const Timestamp now = at("2026-11-29 02:00Z");
  EXPECT_EQ(schedule.due("main", now)->name, "early");
  schedule.started(*schedule.due("main", now), now);
  EXPECT_EQ(schedule.due("main", now)->name, "late");
  EXPECT_EQ(schedule.due("other", now)->name, "x");
}

TEST(Schedule, jitter_differs_by_moment_and_name_and_stays_below_its_bound) {
  std::set<int64_t> seen;
  for (const char* name : {"a", "b", "c"}) {
    Schedule schedule({job(name, "0 * * * *", 600'000'000)}, {}, at("2026-11-29 00:30Z"));
    for (int i = 0; i < 10; ++i) {
      const Job& only = schedule.jobs().front();
      const Timestamp moment = only.when.next(schedule.record(only).due);
      const int64_t late = schedule.next_start(only).unix_us - moment.unix_us;
      EXPECT_GE(late, 0);
      EXPECT_LT(late, 600'000'000);
      seen.insert(late);
      schedule.started(only, moment.plus_us(late));
    }
  }
  EXPECT_GT(seen.size(), 25u);
}

TEST(Schedule, a_clock_that_was_set_back_does_not_stop_a_job) {
  std::map<std::string, JobRecord> records;
  records["main/a"].due = at("2031-01-01 00:00Z");
  Schedule schedule({job("a", "0 * * * *")}, records, at("2026-11-29 00:30Z"));
  EXPECT_NE(schedule.due("main", at("2026-11-29 01:00Z")), nullptr);
}

TEST(Schedule, failures_are_counted_in_a_row_and_jobs_that_went_are_forgotten) {
  std::map<std::string, JobRecord> records;
  records["main/gone"].runs = 3;
  Schedule schedule({job("a", "0 * * * *")}, records, at("2026-11-29 00:30Z"));
  const Job& only = schedule.jobs().front();
  for (int code : {5, 7, 0, 9}) {
    schedule.started(only, at("2026-11-29 01:00Z"));
    schedule.ended(only, at("2026-11-29 01:01Z"), code, code == 0 ? "" : "broke");
  }
  EXPECT_EQ(schedule.record(only).failures, 1u);
  EXPECT_EQ(schedule.record(only).error, "broke");
  EXPECT_EQ(schedule.records().size(), 1u);
  auto again = decode_records("state", encode_records(schedule.records()));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->at("main/a").exit_code, 9);
}

TEST(Schedule, attention_is_a_result_and_no_failure) {
  Schedule schedule({job("heal", "0 * * * *")}, {}, at("2026-11-29 00:30Z"));
  const Job& only = schedule.jobs().front();
  const int attention = info(ErrorKind::attention).exit_code;
  schedule.started(only, at("2026-11-29 01:00Z"));
  schedule.ended(only, at("2026-11-29 01:01Z"), attention, "found: replication_lag");
  EXPECT_EQ(schedule.record(only).failures, 0u);
  EXPECT_EQ(schedule.record(only).exit_code, attention);
}

TEST(Schedule, what_may_pass_is_tried_again_a_few_times) {
  Schedule schedule({job("a", "0 1 * * *")}, {}, at("2026-11-29 00:30Z"));
  const Job& only = schedule.jobs().front();
  const int busy = info(ErrorKind::busy).exit_code;
  Timestamp now = at("2026-11-29 01:00Z");
  for (const char* next :
       {"2026-11-29 01:05Z", "2026-11-29 01:15Z", "2026-11-29 01:35Z", "2026-11-30 01:00Z"}) {
    ASSERT_NE(schedule.due("main", now), nullptr);
    schedule.started(only, now);
    schedule.ended(only, now, busy, "busy");
    now = schedule.next_start(only);
    EXPECT_EQ(now, at(next));
  }
  schedule.started(only, now);
  schedule.ended(only, now, info(ErrorKind::foreign).exit_code, "no");
  EXPECT_EQ(schedule.next_start(only), at("2026-12-01 01:00Z"));
}

TEST(Schedule, a_run_that_ended_with_the_daemon_is_made_up_for_but_not_for_ever) {
  std::map<std::string, JobRecord> records;
  for (uint64_t life = 0; life <= Schedule::kMostCutOff; ++life) {
    Schedule schedule({job("a", "0 1 * * *")}, records, at("2026-11-29 00:30Z"));
    const Job* due = schedule.due("main", at("2026-11-29 01:00Z"));
    ASSERT_NE(due, nullptr) << life;
    schedule.started(*due, at("2026-11-29 01:00Z"));
    records = schedule.records();
  }
  Schedule schedule({job("a", "0 1 * * *")}, records, at("2026-11-29 01:30Z"));
  EXPECT_EQ(schedule.due("main", at("2026-11-29 01:30Z")), nullptr);
  EXPECT_NE(schedule.due("main", at("2026-11-30 01:00Z")), nullptr);
}

TEST(Schedule, what_is_no_record_is_damaged) {
  for (const char* text : {"", "[]", "{}", R"({"jobs":{"a":{}}})", R"({"jobs":{"a":1}})"})
    EXPECT_EQ(decode_records("state", text).error().kind, ErrorKind::damaged) << text;
}

}  // namespace
}  // namespace lifeboat::app
