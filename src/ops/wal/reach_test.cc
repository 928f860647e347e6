#include "ops/wal/reach.h"

#include <gmock/gmock.h>

#include <map>

#include "tests/support/wal_fixture.h"

namespace lifeboat::ops {
namespace {

using pg::TargetKind;
using ::testing::AllOf;
using testing::at;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

// A backup at the beginning of WAL and, on timeline 1, a commit every ten seconds, two to a segment:
//   segment 1: backup from its first record to `stop_`, commits 700 at 10 s and 701 at 20 s
//   segment 2: 702 at 30 s, 703 at 40 s …
class ReachTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    WalFixture::SetUp();
    start_ = wal_.checkpoint(at(1));
    wal_.fill(1000);
    stop_ = wal_.end();
  }
  // `count` segments with two commits each.
  void segments(int count) { segments(wal_, count); }
  void segments(Wal& wal, int count) {
    for (int i = 0; i < count; ++i) {
      tick(wal);
      wal.fill(50'000);
      tick(wal);
      wal.end_segment();
    }
  }
  void tick(Wal& wal) {
    seconds_ += 10;
    wal.fill(100);
    commits_[xid_] = wal.commit(xid_, at(seconds_));
    ++xid_;
  }
  void store_all(uint32_t timeline = 1) { store_segments(timeline, 1, wal_.last_index(), wal_); }

  ReachRequest request(TargetKind kind) const {
    ReachRequest request;
    request.backup_timeline = {1};
    request.backup_start = start_;
    request.backup_stop = stop_;
    request.target.kind = kind;
    return request;
  }
  ReachRequest time_request(double seconds, bool inclusive = true) const {
    ReachRequest asked = request(TargetKind::time);
    asked.target.time = at(seconds);
    asked.target.inclusive = inclusive;
    return asked;
  }
  Result<Reach> find(const ReachRequest& asked) {
    auto history = WalHistory::load(lineage());
    EXPECT_TRUE(history) << history.error().to_string();
    return find_reach(lineage(), *history, asked);
  }
  Reach reached(const ReachRequest& asked) {
    auto reach = find(asked);
    EXPECT_TRUE(reach) << reach.error().to_string();
    return reach ? *reach : Reach();
  }
  Error refused(const ReachRequest& asked) {
    auto reach = find(asked);
    EXPECT_FALSE(reach);
    return reach ? Error() : reach.error();
  }

  Wal wal_;
  Lsn start_;
  Lsn stop_;
  double seconds_ = 0;
  uint32_t xid_ = 700;
  std::map<uint32_t, Lsn> commits_;  // where they begin
};

// --- time

TEST_F(ReachTest, a_time_stops_before_the_first_later_commit) {  // T31
  segments(20);
  store_all();
  Reach reach = reached(time_request(95));
  EXPECT_EQ(reach.stop, commits_[709]);
  EXPECT_EQ(reach.last_commit, at(90));
  EXPECT_EQ(reach.last_xid, 708u);
  EXPECT_EQ(reach.next_commit, at(100));
  EXPECT_EQ(reach.timeline, Timeline{1});
  EXPECT_FALSE(reach.past_last_commit);
  EXPECT_EQ(reach.effective.kind, TargetKind::time);
  EXPECT_EQ(reach.wal_bytes, reach.stop.value - start_.value);
  EXPECT_EQ(reach.segments, 5u);
}

TEST_F(ReachTest, every_time_is_found_whatever_segment_it_lies_in) {
  segments(17);
  store_all();
  for (uint32_t xid = 701; xid < 734; ++xid) {
    double s = (xid - 699) * 10.0;
    EXPECT_EQ(reached(time_request(s - 1)).stop, commits_[xid]) << xid;
    EXPECT_EQ(reached(time_request(s, false)).stop, commits_[xid]) << xid;
    if (xid == 733) continue;
    EXPECT_EQ(reached(time_request(s)).stop, commits_[xid + 1]) << xid;
  }
}

TEST_F(ReachTest, aborts_stop_a_time_too) {
  segments(1);
  Lsn abort = wal_.abort(900, at(50));
  tick(wal_);
  wal_.end_segment();
  store_all();
  Reach reach = reached(time_request(45));
  EXPECT_EQ(reach.stop, abort);
  EXPECT_EQ(reach.last_commit, at(20));
}

TEST_F(ReachTest, segments_without_any_timestamp_do_not_mislead) {
  segments(3);
  for (int i = 0; i < 12; ++i) wal_.fill(400'000);
  wal_.end_segment();
  segments(3);
  store_all();
  EXPECT_EQ(reached(time_request(65)).stop, commits_[706]);
  EXPECT_EQ(reached(time_request(55)).stop, commits_[705]);
  EXPECT_EQ(reached(time_request(85)).stop, commits_[708]);
}

TEST_F(ReachTest, commits_out_of_order_over_a_segment_end_are_met_in_the_order_of_wal) {
  segments(4);
  // Its time was taken before those of the segment before, its record placed after.
  wal_.commit(900, at(75));
  segments(4);
  store_all();
  EXPECT_EQ(reached(time_request(72)).stop, commits_[707]);
  EXPECT_EQ(reached(time_request(77)).stop, commits_[707]);
  EXPECT_EQ(reached(time_request(80)).stop, commits_[708]);
}

TEST_F(ReachTest, times_that_fall_where_they_are_looked_at_are_searched_from_the_beginning) {  // T31
  segments(26);                                                                                // to 520 s
  seconds_ = 15;  // the clock is set back
  segments(24);   // 25 s to 495 s
  store_all();
  Reach reach = reached(time_request(515));
  EXPECT_EQ(reach.stop, commits_[751]);
  EXPECT_EQ(reach.last_xid, 750u);
}

TEST_F(ReachTest, commit_times_in_any_order_are_met_in_the_order_of_wal) {  // T31
  segments(6);                                                              // to 120 s
  seconds_ = 400;
  tick(wal_);  // the clock is 300 s ahead for a moment
  seconds_ = 120;
  wal_.end_segment();
  segments(20);  // 130 s to 520 s
  store_all();
  for (double s : {125.0, 205.0, 305.0, 405.0}) {
    ReachRequest asked = time_request(s);
    asked.commit_times = CommitTimes::any_order;
    Reach reach = reached(asked);
    EXPECT_EQ(reach.stop, commits_[712]) << s;
    EXPECT_EQ(reach.last_xid, 711u) << s;
  }
}

TEST_F(ReachTest, a_time_before_the_end_of_the_backup_is_refused) {  // T31
  wal_.commit(699, at(5));
  stop_ = wal_.end();
  segments(3);
  store_all();
  Error error = refused(time_request(4));
  EXPECT_EQ(error.kind, ErrorKind::unreachable);
  EXPECT_THAT(error.to_string(), HasSubstr("before the end of the backup"));
}

TEST_F(ReachTest, a_time_before_the_backups_stop_is_refused_though_no_transaction_ended_since) {  // T31
  segments(3);
  store_all();
  ReachRequest asked = time_request(4);
  EXPECT_EQ(reached(asked).stop, commits_[700]);
  asked.backup_stopped = at(4.5);
  EXPECT_THAT(refused(asked).to_string(), HasSubstr("before the end of the backup"));
  asked.target.time = at(4.5);
  EXPECT_EQ(reached(asked).stop, commits_[700]);
}

TEST_F(ReachTest, a_time_after_the_last_commit_is_refused_with_the_latest_reachable) {
  segments(3);
  store_all();
  Error error = refused(time_request(1000));
  EXPECT_EQ(error.kind, ErrorKind::unreachable);
  EXPECT_THAT(error.hint, HasSubstr(at(60).to_string()));
}

TEST_F(ReachTest, a_time_after_the_last_commit_is_the_end_when_wal_provably_goes_on) {
  segments(3);
  Lsn checkpoint = wal_.checkpoint(at(2000));
  Lsn end = wal_.end();
  store_all();
  Reach reach = reached(time_request(1000));
  EXPECT_TRUE(reach.past_last_commit);
  EXPECT_EQ(reach.effective.kind, TargetKind::lsn);
  EXPECT_EQ(reach.effective.lsn, checkpoint);
  EXPECT_TRUE(reach.effective.inclusive);
  EXPECT_EQ(reach.stop, end);
  EXPECT_EQ(reach.last_commit, at(60));
  EXPECT_THAT(reach.notes, Contains(HasSubstr("no transaction ended after the target")));
  EXPECT_EQ(refused(time_request(3000)).kind, ErrorKind::unreachable);
}

TEST_F(ReachTest, a_target_behind_a_hole_is_refused_and_one_before_it_is_not) {
  segments(8);
  store_segments(1, 1, 3, wal_);
  store_segments(1, 5, 8, wal_);
  EXPECT_EQ(reached(time_request(45)).stop, commits_[704]);
  Error error = refused(time_request(95));
  EXPECT_EQ(error.kind, ErrorKind::unreachable);
  EXPECT_THAT(error.to_string(), HasSubstr("000000010000000000000004 is missing"));
  EXPECT_THAT(error.hint, HasSubstr(at(60).to_string()));
}

TEST_F(ReachTest, a_target_behind_damage_is_refused) {
  segments(6);
  store_segments(1, 1, 2, wal_);
  Bytes bytes = wal_.segment(3);
  bytes[200] ^= 1;
  store_file(name_of(1, 3).to_string(), bytes);
  store_segments(1, 4, 6, wal_);
  ReachRequest asked = request(TargetKind::xid);
  asked.target.xid = 708;
  Error error = refused(asked);
  EXPECT_EQ(error.kind, ErrorKind::unreachable);
  EXPECT_THAT(error.to_string(), HasSubstr("damaged"));
}

// --- the other targets

TEST_F(ReachTest, a_transaction_is_its_commit_or_abort) {
  segments(5);
  Lsn abort = wal_.abort(900, at(200));
  Lsn after_abort = wal_.end();
  store_all();
  ReachRequest asked = request(TargetKind::xid);
  asked.target.xid = 705;
  Reach reach = reached(asked);
  EXPECT_EQ(reach.last_xid, 705u);
  EXPECT_GT(reach.stop, commits_[705]);
  EXPECT_LT(reach.stop, commits_[706]);
  asked.target.inclusive = false;
  EXPECT_EQ(reached(asked).stop, commits_[705]);
  EXPECT_EQ(reached(asked).last_xid, 704u);
  asked.target.xid = 900;
  EXPECT_EQ(reached(asked).stop, abort);
  asked.target.inclusive = true;
  EXPECT_EQ(reached(asked).stop, after_abort);
  EXPECT_EQ(reached(asked).last_xid, 709u);
  asked.target.xid = 12345;
  EXPECT_THAT(refused(asked).to_string(), HasSubstr("no transaction of that id ended"));
}

TEST_F(ReachTest, a_restore_point_is_the_first_of_its_name) {
  segments(2);
  wal_.restore_point("before upgrade", at(45));
  Lsn first_end = wal_.end();
  segments(2);
  wal_.restore_point("before upgrade", at(95));
  segments(1);
  store_all();
  ReachRequest asked = request(TargetKind::name);
  asked.target.name = "before upgrade";
  Reach reach = reached(asked);
  EXPECT_EQ(reach.stop, first_end);
  EXPECT_EQ(reach.last_xid, 703u);
  EXPECT_THAT(reach.notes, Contains(HasSubstr("occurs 2 times")));
  asked.target.name = "before";
  EXPECT_THAT(refused(asked).to_string(), HasSubstr("no such restore point"));
}

TEST_F(ReachTest, a_restore_point_inside_the_backup_is_refused) {
  wal_.restore_point("early", at(2));
  wal_.fill(100);
  stop_ = wal_.end();
  segments(2);
  store_all();
  ReachRequest asked = request(TargetKind::name);
  asked.target.name = "early";
  EXPECT_THAT(refused(asked).to_string(), HasSubstr("before the end of the backup"));
}

TEST_F(ReachTest, an_lsn_is_compared_with_where_records_begin) {
  segments(4);
  store_all();
  ReachRequest asked = request(TargetKind::lsn);
  asked.target.lsn = commits_[704];
  Reach reach = reached(asked);
  EXPECT_EQ(reach.last_xid, 704u);
  EXPECT_GT(reach.stop, commits_[704]);
  asked.target.inclusive = false;
  reach = reached(asked);
  EXPECT_EQ(reach.stop, commits_[704]);
  EXPECT_EQ(reach.last_xid, 703u);
  // Inside a record: the next one counts.
  asked.target.lsn = commits_[704] + 1;
  EXPECT_GT(reached(asked).stop, commits_[704]);
  asked.target.lsn = Lsn{9 * kSegment};
  EXPECT_EQ(refused(asked).kind, ErrorKind::unreachable);
  asked.target.lsn = start_;
  EXPECT_THAT(refused(asked).to_string(), HasSubstr("before the end of the backup"));
}

TEST_F(ReachTest, an_lsn_behind_a_segment_switch_means_the_next_segments_first_record) {
  segments(3);
  store_all();
  // Segment 2 ends by a switch far before its last page; the rest is zeros.
  Lsn first_of_3 = commits_[704];
  for (uint64_t before_the_end : {8192 * 3 + 777, 8192, 1}) {
    ReachRequest asked = request(TargetKind::lsn);
    asked.target.lsn = Lsn{3 * uint64_t{kSegment} - before_the_end};
    asked.target.inclusive = false;
    Reach reach = reached(asked);
    EXPECT_GE(reach.stop.value, 3 * uint64_t{kSegment}) << before_the_end;
    EXPECT_LT(reach.stop, first_of_3) << before_the_end;
    EXPECT_EQ(reach.last_xid, 703u) << before_the_end;
    asked.target.inclusive = true;
    EXPECT_GT(reached(asked).stop, reach.stop) << before_the_end;
  }
}

TEST_F(ReachTest, an_lsn_past_the_last_record_is_refused) {
  segments(2);
  tick(wal_);
  Lsn end = wal_.end();
  store_all();
  ReachRequest asked = request(TargetKind::lsn);
  asked.target.lsn = end;
  EXPECT_EQ(reached(asked).stop, end) << "the end itself is no further than the last record leads";
  asked.target.lsn = end + 8;
  EXPECT_THAT(refused(asked).to_string(), HasSubstr("no record begins"));
}

TEST_F(ReachTest, immediate_ends_with_the_backup) {
  segments(2);
  store_all();
  Reach reach = reached(request(TargetKind::immediate));
  EXPECT_EQ(reach.stop, stop_);
  EXPECT_FALSE(reach.last_commit.valid());
}

TEST_F(ReachTest, latest_is_the_last_record) {
  segments(3);
  tick(wal_);
  Lsn end = wal_.end();
  store_all();
  Reach reach = reached(request(TargetKind::latest));
  EXPECT_EQ(reach.stop, end);
  EXPECT_EQ(reach.last_commit, at(70));
}

TEST_F(ReachTest, latest_is_pinned_so_that_wal_that_arrives_later_is_not_replayed) {  // T45
  segments(2);
  tick(wal_);
  Lsn last = wal_.checkpoint(at(60));
  store_all();
  Reach reach = reached(request(TargetKind::latest));
  EXPECT_EQ(reach.effective.kind, TargetKind::lsn);
  EXPECT_EQ(reach.effective.lsn, last);
  EXPECT_TRUE(reach.effective.inclusive);
}

TEST_F(ReachTest, latest_refuses_to_end_at_a_hole) {  // promoting there would lose what is stored behind it
  segments(5);
  store_segments(1, 1, 2, wal_);
  store_segments(1, 4, 5, wal_);
  Error error = refused(request(TargetKind::latest));
  EXPECT_EQ(error.kind, ErrorKind::unreachable);
  EXPECT_THAT(error.to_string(), HasSubstr("000000010000000000000003"));
}

TEST_F(ReachTest, latest_refuses_to_end_at_a_conflict) {  // T46
  segments(3);
  store_all();
  store_conflict(1, 3, wal_);
  EXPECT_EQ(refused(request(TargetKind::latest)).kind, ErrorKind::conflict);
}

TEST_F(ReachTest, a_backup_without_its_own_wal_reaches_nothing) {  // T03
  for (int i = 0; i < 5; ++i) wal_.fill(400'000);
  stop_ = wal_.end();
  segments(2);
  store_segment(1, 1, wal_);
  store_segments(1, 3, wal_.last_index(), wal_);
  for (TargetKind kind : {TargetKind::latest, TargetKind::immediate}) {
    Error error = refused(request(kind));
    EXPECT_EQ(error.kind, ErrorKind::unreachable);
    EXPECT_THAT(error.to_string(), HasSubstr("000000010000000000000002"));
  }
}

// --- timelines

// A failover in segment 4 after commit 706 at 70 s: the old server went on to 707, 708, … and the new one
// began at 100 s with 800, 801, …
class ForkTest : public ReachTest {
 protected:
  void SetUp() override {
    ReachTest::SetUp();
    segments(3);
    tick(wal_);
    fork_ = wal_.end();
    at_fork_ = wal_;
    other_ = wal_;
    other_.promote({2});
    xid_ = 707;
    segments(wal_, 2);  // 80 to 110 s, in segments 4 and 5
    uint32_t keep = xid_;
    xid_ = 800;
    seconds_ = 95;
    segments(other_, 3);  // 105 s to 155 s, in segments 4 to 6
    xid_ = keep;
    store_history(pg::TimelineHistory::root({1}).branch({2}, fork_, "test"));
  }
  void store_old(uint64_t last) { store_segments(1, 1, last, wal_); }
  void store_new() { store_segments(2, 4, other_.last_index(), other_); }

  Wal at_fork_;
  Wal other_;
  Lsn fork_;
};

TEST_F(ForkTest, latest_follows_the_newest_timeline) {
  store_old(3);
  store_new();
  Reach reach = reached(request(TargetKind::latest));
  EXPECT_EQ(reach.timeline, Timeline{2});
  EXPECT_EQ(reach.last_xid, 805u);
}

TEST_F(ForkTest, latest_does_not_follow_a_history_file_without_wal_away_from_a_branch_that_goes_on) {  // T33
  store_old(5);
  Error error = refused(request(TargetKind::latest));
  EXPECT_EQ(error.kind, ErrorKind::unreachable);
  EXPECT_THAT(error.hint, HasSubstr("--timeline 1"));
  ReachRequest asked = request(TargetKind::latest);
  asked.choice = TimelineChoice::current;
  EXPECT_EQ(reached(asked).last_xid, 710u);
  asked.choice = TimelineChoice::latest;
  EXPECT_EQ(reached(asked).last_xid, 706u);
}

TEST_F(ForkTest, latest_ends_at_the_fork_when_nothing_is_stored_past_it) {
  store_old(3);
  Reach reach = reached(request(TargetKind::latest));
  EXPECT_EQ(reach.timeline, Timeline{2});
  EXPECT_EQ(reach.last_xid, 705u);
}

TEST_F(ForkTest, a_time_before_the_fork_is_the_same_on_both_branches) {
  store_old(5);
  store_new();
  Reach reach = reached(time_request(45));
  EXPECT_EQ(reach.stop, commits_[704]);
  EXPECT_EQ(reach.timeline, Timeline{2});
}

TEST_F(ForkTest, a_time_on_two_branches_is_refused_with_the_list) {
  store_old(5);
  store_new();
  Error error = refused(time_request(93));  // the old server had 708 by then, the new one nothing yet
  EXPECT_EQ(error.kind, ErrorKind::unreachable);
  EXPECT_THAT(error.to_string(), AllOf(HasSubstr("timeline 1 at"), HasSubstr("timeline 2 at")));
  EXPECT_THAT(error.hint, HasSubstr("--timeline"));
}

TEST_F(ForkTest, a_timeline_that_was_chosen_decides) {
  store_old(5);
  store_new();
  ReachRequest asked = time_request(93);
  asked.choice = TimelineChoice::current;
  EXPECT_EQ(reached(asked).stop, commits_[709]);
  EXPECT_EQ(reached(asked).timeline, Timeline{1});
  asked.choice = TimelineChoice::number;
  asked.timeline = {2};
  EXPECT_EQ(reached(asked).stop, commits_[800]);
  EXPECT_EQ(reached(asked).last_xid, 706u);
  asked.choice = TimelineChoice::latest;
  EXPECT_EQ(reached(asked).timeline, Timeline{2});
  asked.choice = TimelineChoice::number;
  asked.timeline = {7};
  EXPECT_THAT(refused(asked).to_string(), HasSubstr("timeline 7 is not stored"));
}

TEST_F(ForkTest, a_clean_switchover_is_not_two_branches) {
  // The old timeline has nothing but a shutdown checkpoint after the fork, which is later than the target.
  at_fork_.checkpoint(at(96));
  at_fork_.end_segment();
  store_segments(1, 1, 4, at_fork_);
  store_new();
  Reach reach = reached(time_request(93));
  EXPECT_EQ(reach.timeline, Timeline{2});
  EXPECT_EQ(reach.last_xid, 706u);
}

TEST_F(ForkTest, a_transaction_id_used_on_both_branches_is_refused) {
  xid_ = 707;
  seconds_ = 160;
  segments(other_, 1);  // 707 and 708 again, on timeline 2
  store_old(5);
  store_new();
  ReachRequest asked = request(TargetKind::xid);
  asked.target.xid = 707;
  EXPECT_THAT(refused(asked).to_string(), HasSubstr("different states on 2 branches"));
  asked.target.xid = 704;  // before the fork
  EXPECT_EQ(reached(asked).last_xid, 704u);
  asked.target.xid = 802;  // only there
  EXPECT_EQ(reached(asked).timeline, Timeline{2});
  asked.target.xid = 710;
  EXPECT_EQ(reached(asked).timeline, Timeline{1});
}

TEST_F(ForkTest, a_backup_after_the_fork_is_not_on_the_new_timeline) {
  store_old(5);
  store_new();
  ReachRequest asked = request(TargetKind::latest);
  asked.backup_start = commits_[709];
  asked.backup_stop = commits_[710];
  Reach reach = reached(asked);
  EXPECT_EQ(reach.timeline, Timeline{1});
  asked.choice = TimelineChoice::number;
  asked.timeline = {2};
  EXPECT_THAT(refused(asked).to_string(), HasSubstr("does not pass through the end of the backup"));
}

TEST_F(ForkTest, immediate_stays_on_the_backups_timeline) {
  store_old(5);
  store_new();
  EXPECT_EQ(reached(request(TargetKind::immediate)).timeline, Timeline{1});
}

TEST_F(ForkTest, a_timeline_without_a_history_file_says_so) {  // T23
  Wal third(Lsn{7 * kSegment});
  third.promote({3});
  ReachRequest asked;
  asked.backup_timeline = {3};
  asked.backup_start = third.commit(900, at(300));
  asked.backup_stop = third.end();
  third.commit(901, at(310));
  store_segment(3, 7, third);
  Reach reach = reached(asked);
  EXPECT_EQ(reach.timeline, Timeline{3});
  EXPECT_FALSE(reach.has_history_file);
}

TEST_F(ForkTest, windows_end_where_recovery_ends) {
  store_old(5);
  store_new();
  auto history = WalHistory::load(lineage());
  ASSERT_TRUE(history);
  auto window = recovery_window(lineage(), *history, {1}, start_, stop_, {2});
  ASSERT_TRUE(window) << window.error().to_string();
  EXPECT_TRUE(window->complete);
  EXPECT_EQ(window->last_commit, at(155));
  EXPECT_EQ(window->end, other_.end());
  auto old = recovery_window(lineage(), *history, {1}, start_, stop_, {1});
  ASSERT_TRUE(old);
  EXPECT_EQ(old->last_commit, at(110));
  auto none = recovery_window(lineage(), *history, {1}, commits_[709], commits_[710], {2});
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->complete);
}

}  // namespace
}  // namespace lifeboat::ops
