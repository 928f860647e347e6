#include "repo/retention.h"

#include <gtest/gtest.h>

#include "util/strings.h"

namespace lifeboat::repo {
namespace {

constexpr int64_t kDayUs = 86'400'000'000;
constexpr int64_t kBegin = 1'800'000'000'000'000;

Timestamp day(double number) {
  return {kBegin + static_cast<int64_t>(number * kDayUs)};
}
Lsn at(uint64_t segments) {
  return {segments << 20};
}
SegmentName segment(uint32_t timeline, uint32_t number) {
  return {{timeline}, 0, number};
}

// Builds the input: backups named by their day, 1 MiB segments.
class RetentionTest : public ::testing::Test {
 protected:
  RetentionTest() {
    input_.now = day(100);
    input_.segment_size = {1u << 20};
  }

  BackupFacts& backup(double when, uint32_t timeline, uint64_t start, uint64_t stop) {
    BackupFacts facts;
    facts.id = BackupId::make(day(when), static_cast<uint32_t>(input_.backups.size()));
    facts.started = facts.stopped = day(when);
    facts.timeline = {timeline};
    facts.start_lsn = at(start);
    facts.stop_lsn = at(stop);
    names_[facts.id] = when;
    input_.backups.push_back(facts);
    return input_.backups.back();
  }
  void wal(uint32_t timeline, uint32_t oldest, uint32_t newest,
           std::optional<std::vector<HistoryLine>> history = std::nullopt) {
    input_.timelines.push_back(
        {{timeline}, segment(timeline, oldest), segment(timeline, newest), std::move(history)});
  }
  RetentionPlan plan() { return plan_retention(input_, policy_); }

  std::vector<double> expired() {
    std::vector<double> days;
    for (const BackupDecision& decision : plan().expire) days.push_back(names_.at(decision.id));
    return days;
  }
  std::string reason(double when) {
    for (const BackupDecision& decision : plan().keep) {
      if (names_.at(decision.id) == when) return decision.reason;
    }
    return "";
  }
  // "1:3-5 2:0-9": timeline, first, last segment.
  std::string removed() {
    std::string text;
    for (const WalDecision& decision : plan().remove_wal) {
      text += cat(text.empty() ? "" : " ", decision.range.from.timeline.value, ":",
                  decision.range.from.number, "-", decision.range.end.number - 1);
    }
    return text;
  }

  RetentionInput input_;
  RetentionPolicy policy_;
  std::map<BackupId, double> names_;
};

using Days = std::vector<double>;

TEST_F(RetentionTest, without_a_policy_nothing_goes) {
  backup(1, 1, 10, 11);
  backup(2, 1, 20, 21);
  wal(1, 0, 30);
  EXPECT_EQ(expired(), Days{});
  EXPECT_EQ(removed(), "");
}

TEST_F(RetentionTest, the_newest_n_are_kept) {  // RT1
  for (uint64_t i = 1; i <= 5; ++i) backup(static_cast<double>(i), 1, 10 * i, 10 * i + 1);
  policy_.keep_count = 2;
  EXPECT_EQ(expired(), (Days{1, 2, 3}));
}

// A dump of a schema, or of some tables, does not take the place of a whole one, nor that of another
// database.
TEST_F(RetentionTest, the_newest_n_of_each_kind_are_kept) {
  backup(1, 1, 10, 11).kinds = {"hr", "shop"};
  backup(2, 1, 20, 21).kinds = {"hr", "shop"};
  backup(3, 1, 30, 31).kinds = {"shop"};
  backup(4, 1, 40, 41).kinds = {"hr, its schema only"};
  policy_.keep_count = 1;
  EXPECT_EQ(expired(), Days{1});
  EXPECT_EQ(reason(2), "among the newest 1 of hr");
}

TEST_F(RetentionTest, damaged_backups_do_not_count_among_the_newest_n) {
  for (uint64_t i = 1; i <= 5; ++i) backup(static_cast<double>(i), 1, 10 * i, 10 * i + 1).damaged = i >= 4;
  policy_.keep_count = 2;
  EXPECT_EQ(expired(), Days{1});
}

TEST_F(RetentionTest, where_all_are_damaged_the_newest_stays) {  // T41
  backup(1, 1, 10, 11).damaged = true;
  backup(2, 1, 20, 21).damaged = true;
  policy_.keep_days = 1;
  EXPECT_EQ(expired(), Days{1});
}

// Its own are damaged, yet they show that it lived longer than the branch that was left before the window.
TEST_F(RetentionTest, a_branch_whose_backups_are_damaged_keeps_where_it_began) {
  backup(1, 1, 10, 11);
  backup(50, 3, 30, 31);
  backup(96, 2, 40, 41).damaged = true;
  backup(99, 3, 60, 61);
  wal(1, 0, 20);
  wal(2, 20, 50, std::vector<HistoryLine>{{{1}, at(20)}});
  wal(3, 20, 70, std::vector<HistoryLine>{{{1}, at(20)}});
  policy_.pitr_days = 2;
  EXPECT_EQ(reason(1), "recovery to the beginning of the last 2 days starts from it");
}

TEST_F(RetentionTest, the_newest_complete_one_stays_whatever_the_policy) {  // T41
  backup(1, 1, 10, 11);
  backup(2, 1, 20, 21);
  backup(3, 1, 30, 31).damaged = true;
  policy_.keep_count = 0;
  EXPECT_EQ(expired(), (Days{1, 3}));
  policy_ = {};
  policy_.keep_days = 1;
  EXPECT_EQ(expired(), (Days{1, 3}));
}

TEST_F(RetentionTest, the_newest_verified_one_stays_whatever_the_policy) {  // T41, RT2
  backup(1, 1, 10, 11).verified = true;
  backup(2, 1, 20, 21).verified = true;
  backup(3, 1, 30, 31);
  backup(4, 1, 40, 41);
  policy_.keep_count = 1;
  EXPECT_EQ(expired(), (Days{1, 3}));
  EXPECT_EQ(reason(2), "the newest verified backup");
}

TEST_F(RetentionTest, backups_are_ordered_by_time_not_by_wal_position_or_timeline) {  // T39
  backup(1, 5, 900, 901);
  backup(2, 1, 10, 11);
  policy_.keep_count = 1;
  EXPECT_EQ(expired(), Days{1});
}

TEST_F(RetentionTest, days_keep_what_is_young_enough) {
  for (int i = 90; i <= 99; ++i) backup(i, 1, static_cast<uint64_t>(i), static_cast<uint64_t>(i));
  policy_.keep_days = 3;
  EXPECT_EQ(expired(), (Days{90, 91, 92, 93, 94, 95, 96}));
}

TEST_F(RetentionTest, rules_add_up) {
  for (int i = 90; i <= 99; ++i) backup(i, 1, static_cast<uint64_t>(i), static_cast<uint64_t>(i));
  policy_.keep_days = 3;
  policy_.keep_count = 5;
  EXPECT_EQ(expired(), (Days{90, 91, 92, 93, 94}));
}

TEST_F(RetentionTest, the_window_keeps_the_backup_that_its_beginning_is_recovered_from) {
  for (int i = 90; i <= 99; ++i) backup(i, 1, static_cast<uint64_t>(i), static_cast<uint64_t>(i));
  wal(1, 80, 110);
  policy_.pitr_days = 4.5;
  EXPECT_EQ(expired(), (Days{90, 91, 92, 93, 94}));
  EXPECT_NE(reason(95).find("starts from it"), std::string::npos);
  EXPECT_EQ(removed(), "1:80-94");
}

TEST_F(RetentionTest, a_damaged_backup_does_not_begin_the_window_while_an_older_whole_one_can) {
  backup(90, 1, 90, 90);
  backup(94, 1, 94, 94).damaged = true;
  backup(98, 1, 98, 98);
  policy_.pitr_days = 4;
  EXPECT_EQ(expired(), Days{94});
  input_.backups.erase(input_.backups.begin());
  EXPECT_EQ(expired(), Days{});
}

TEST_F(RetentionTest, outside_the_window_a_kept_backup_pins_its_own_wal_only) {
  backup(10, 1, 10, 12);
  backup(50, 1, 50, 52);
  backup(99, 1, 99, 99);
  backup(99.5, 1, 100, 101);
  wal(1, 0, 120);
  policy_.keep_count = 10;
  policy_.pitr_days = 1;
  EXPECT_EQ(expired(), Days{});
  EXPECT_EQ(removed(), "1:0-9 1:13-49");  // the window is reached from 50
  input_.now = day(100.2);
  EXPECT_EQ(removed(), "1:0-9 1:13-49 1:53-98");  // and now from 99
}

TEST_F(RetentionTest, without_a_window_wal_goes_back_to_the_oldest_kept_backup) {
  for (uint64_t i = 1; i <= 5; ++i) backup(static_cast<double>(i), 1, 10 * i, 10 * i + 1);
  wal(1, 0, 60);
  policy_.keep_count = 2;
  EXPECT_EQ(removed(), "1:0-39");
}

TEST_F(RetentionTest, wal_after_the_newest_backup_always_stays) {
  backup(1, 1, 10, 11);
  wal(1, 0, 500);
  policy_.pitr_days = 1;
  EXPECT_EQ(removed(), "1:0-9");
}

TEST_F(RetentionTest, no_wal_goes_while_there_is_no_complete_backup) {
  backup(99, 1, 10, 11).damaged = true;
  wal(1, 0, 500);
  policy_.pitr_days = 1;
  EXPECT_EQ(removed(), "");
}

TEST_F(RetentionTest, a_backup_in_use_stays_and_so_does_the_wal_after_it) {  // T37
  backup(1, 1, 10, 11);
  backup(50, 1, 50, 51);
  backup(99, 1, 99, 99);
  wal(1, 0, 100);
  policy_.pitr_days = 0.5;
  EXPECT_EQ(expired(), (Days{1, 50}));
  input_.leases.references = {input_.backups[1].id};
  EXPECT_EQ(expired(), Days{1});
  EXPECT_EQ(reason(50), "in use");
  EXPECT_EQ(removed(), "1:0-49");
}

TEST_F(RetentionTest, a_held_backup_stays) {
  backup(1, 1, 10, 11);
  backup(99, 1, 99, 99);
  policy_.keep_count = 1;
  input_.held = {input_.backups[0].id};
  EXPECT_EQ(expired(), Days{});
}

TEST_F(RetentionTest, no_wal_goes_while_a_running_backup_has_not_told_its_start) {
  backup(99, 1, 99, 99);
  wal(1, 0, 100);
  policy_.pitr_days = 0.5;
  EXPECT_EQ(removed(), "1:0-98");
  input_.leases.running_without_start = true;
  EXPECT_EQ(removed(), "");
}

TEST_F(RetentionTest, wal_from_a_running_backups_start_stays) {  // a standby far behind
  backup(99, 1, 99, 99);
  wal(1, 0, 100);
  policy_.pitr_days = 0.5;
  input_.leases.running = {{{1}, at(42)}};
  EXPECT_EQ(removed(), "1:0-41");
}

// --- timelines

class TimelineRetentionTest : public RetentionTest {
 protected:
  static std::vector<HistoryLine> forks(std::initializer_list<std::pair<uint32_t, uint64_t>> lines) {
    std::vector<HistoryLine> history;
    for (auto [timeline, lsn] : lines) history.push_back({{timeline}, at(lsn)});
    return history;
  }
};

TEST_F(TimelineRetentionTest, a_branch_past_the_start_of_a_kept_backup_is_kept_whole) {
  backup(90, 1, 30, 31);
  backup(99, 2, 60, 61);
  wal(1, 0, 50);
  wal(2, 50, 70, forks({{1, 50}}));
  policy_.keep_count = 2;
  EXPECT_EQ(removed(), "1:0-29");
}

TEST_F(TimelineRetentionTest, once_the_new_branch_stands_on_its_own_the_old_one_goes) {
  backup(90, 1, 30, 31);
  backup(99, 2, 60, 61);
  wal(1, 0, 50);
  wal(2, 50, 70, forks({{1, 50}}));
  policy_.keep_count = 1;
  EXPECT_EQ(expired(), Days{90});
  EXPECT_EQ(removed(), "1:0-50 2:50-59");
}

TEST_F(TimelineRetentionTest, ancestry_of_more_than_one_step_is_followed) {
  backup(90, 1, 30, 31);
  wal(1, 0, 50);
  wal(2, 50, 70, forks({{1, 50}}));
  wal(3, 70, 90, forks({{1, 50}, {2, 70}}));
  backup(99, 3, 85, 86);
  policy_.keep_count = 2;
  EXPECT_EQ(removed(), "1:0-29");
  policy_.keep_count = 1;
  EXPECT_EQ(removed(), "1:0-50 2:50-70 3:70-84");
}

TEST_F(TimelineRetentionTest, a_branch_that_left_before_the_backup_is_not_its_own) {
  // Timeline 2 was a short-lived test that left at 20; the next backup on timeline 3 shows that it is over.
  backup(90, 1, 30, 31);
  backup(99, 3, 95, 96);
  wal(1, 0, 50);
  wal(2, 20, 25, forks({{1, 20}}));
  wal(3, 50, 99, forks({{1, 50}}));
  policy_.keep_count = 2;
  EXPECT_EQ(removed(), "1:0-29 2:20-25");
}

TEST_F(TimelineRetentionTest, a_branch_that_waits_for_its_first_backup_is_kept) {
  backup(90, 1, 60, 61);
  wal(1, 0, 70);
  wal(2, 50, 55, forks({{1, 50}}));  // recovered to before the backup
  policy_.keep_count = 1;
  EXPECT_EQ(removed(), "1:0-59");
}

TEST_F(TimelineRetentionTest, wal_of_unknown_ancestry_is_kept_while_it_may_belong_to_a_kept_backup) {  // T23
  backup(90, 1, 30, 31);
  backup(99, 3, 60, 61);
  wal(1, 0, 50);
  wal(2, 10, 55);
  wal(3, 55, 70, forks({{1, 50}}));
  policy_.keep_count = 2;
  EXPECT_EQ(removed(), "1:0-29");
  policy_.keep_count = 1;
  EXPECT_EQ(removed(), "1:0-50 2:10-55 3:55-59");
}

TEST_F(TimelineRetentionTest, a_missing_history_is_filled_in_by_a_descendants) {
  backup(90, 1, 60, 61);
  backup(99, 3, 90, 91);
  wal(1, 0, 70);
  wal(2, 50, 80);
  wal(3, 80, 99, forks({{1, 50}, {2, 80}}));
  policy_.keep_count = 2;
  // 2 left 1 at 50, before the backup at 60, and 3 has a backup of its own.
  EXPECT_EQ(removed(), "1:0-59 2:50-80 3:80-89");
}

TEST_F(TimelineRetentionTest, the_window_keeps_an_anchor_for_every_branch_that_was_alive_in_it) {
  // Day 95: backup at 500 on timeline 1. Day 96: recovery to 300 makes timeline 2, backed up on day 97.
  backup(90, 1, 200, 210);
  backup(95, 1, 500, 510);
  backup(97, 2, 400, 410);
  wal(1, 0, 600);
  wal(2, 300, 450, forks({{1, 300}}));
  policy_.pitr_days = 4.5;  // from day 95.5: timeline 1 at 95, timeline 2 only through 90
  EXPECT_EQ(expired(), Days{});
  EXPECT_EQ(removed(), "1:0-199");
  policy_.pitr_days = 2;  // from day 98: the backup on timeline 2 shows that timeline 1 was left
  EXPECT_EQ(expired(), (Days{90, 95}));
  EXPECT_EQ(removed(), "1:0-600 2:300-399");
}

TEST_F(TimelineRetentionTest, an_abandoned_sibling_does_not_pin_its_last_backup_for_ever) {
  backup(80, 1, 100, 110);
  backup(85, 2, 400, 410);
  backup(90, 3, 600, 610);
  backup(99, 3, 700, 710);
  wal(1, 0, 300);
  wal(2, 300, 450, forks({{1, 300}}));
  wal(3, 200, 800, forks({{1, 200}}));
  policy_.pitr_days = 5;
  EXPECT_EQ(expired(), (Days{80, 85}));
  EXPECT_EQ(removed(), "1:0-300 2:300-450 3:200-599");
}

TEST_F(TimelineRetentionTest, two_branches_that_are_both_backed_up_are_both_kept) {  // T46
  backup(90, 1, 100, 110);
  backup(91, 2, 100, 110);
  backup(98, 1, 200, 210);
  backup(99, 2, 200, 210);
  wal(1, 0, 300);
  wal(2, 50, 300, forks({{1, 50}}));
  policy_.pitr_days = 5;
  EXPECT_EQ(expired(), Days{});
  EXPECT_EQ(removed(), "1:0-99 2:50-99");
}

}  // namespace
}  // namespace lifeboat::repo
