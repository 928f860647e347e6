// WAL that only a lost server's directory has is found, stored, and recovered through (R3).
#include "ops/restore/rescue.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "ops/restore/partial.h"
#include "ops/wal/history.h"
#include "ops/wal/reach.h"
#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using testing::at;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

class Rescue : public testing::WalFixture {
 protected:
  Rescue() : dir_(*TempDir::make()) { EXPECT_TRUE(create_dirs(dir_ / "pg_wal/archive_status", 0700)); }

  void lay(const std::string& name, ByteView content) {
    ASSERT_TRUE(write_file_durable(dir_ / ("pg_wal/" + name), content, 0600));
  }
  void lay_segment(uint64_t index, const Wal& wal) { lay(name_of(1, index).to_string(), wal.segment(index)); }

  std::vector<std::string> found() {
    auto plan = plan_rescue(lineage(), dir_.path(), stop_);
    EXPECT_TRUE(plan) << plan.error().to_string();
    std::vector<std::string> names;
    for (const RescueFile& file : plan->files) names.push_back(file.file.text);
    return names;
  }

  // Three whole segments and the beginning of a fourth.
  static Wal four() {
    Wal wal;
    for (uint32_t i = 0; i < 3; ++i) {
      wal.commit(700 + i, at(i));
      wal.fill(1000);
      wal.end_segment();
    }
    wal.commit(800, at(10));
    wal.restore_point("late", at(11));
    wal.commit(801, at(12));
    return wal;
  }

  ReachRequest request(const RecoveryTarget& target = {},
                       const std::optional<PartialSegment>& local = std::nullopt) const {
    ReachRequest request;
    request.backup_timeline = {1};
    request.backup_start = {kSegment + 40};
    request.backup_stop = {kSegment + 40};
    request.target = target;
    request.unfinished = UnfinishedSegment::use;
    request.local = local;
    return request;
  }

  TempDir dir_;
  StopToken stop_;
};

TEST_F(Rescue, takes_what_is_not_stored_and_the_unfinished_segment_as_partial) {
  Wal wal = four();
  for (uint64_t index = 1; index <= 4; ++index) lay_segment(index, wal);
  store_segments(1, 1, 1, wal);
  EXPECT_EQ(found(), (std::vector<std::string>{name_of(1, 2).to_string(), name_of(1, 3).to_string(),
                                               name_of(1, 4).to_string() + ".partial"}));
}

TEST_F(Rescue, recycled_and_preallocated_segments_are_not_wal) {
  Wal wal = four();
  lay_segment(3, wal);
  lay_segment(4, wal);
  lay(name_of(1, 5).to_string(), wal.segment(2));   // recycled: an earlier segment under a later name
  lay(name_of(1, 6).to_string(), Bytes(kSegment));  // preallocated
  EXPECT_EQ(found(),
            (std::vector<std::string>{name_of(1, 3).to_string(), name_of(1, 4).to_string() + ".partial"}));
}

TEST_F(Rescue, histories_come_before_segments) {
  Wal wal = four();
  lay_segment(1, wal);
  auto history = pg::TimelineHistory::root({1}).branch({2}, {kSegment * 5}, "test");
  lay("00000002.history", as_bytes(history.to_text()));
  EXPECT_EQ(found(), (std::vector<std::string>{"00000002.history", name_of(1, 1).to_string()}));
}

TEST_F(Rescue, another_clusters_directory_is_refused_T26) {
  Wal wal = four();
  Bytes segment = wal.segment(1);
  segment[24] ^= 1;  // xlp_sysid
  lay(name_of(1, 1).to_string(), segment);
  auto plan = plan_rescue(lineage(), dir_.path(), stop_);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().kind, ErrorKind::foreign);
}

TEST_F(Rescue, wal_that_is_not_as_a_server_leaves_it_is_told) {
  const Wal wal = four();
  auto notes = [&] {
    auto plan = plan_rescue(lineage(), dir_.path(), stop_);
    EXPECT_TRUE(plan);
    return plan->notes;
  };
  auto remove = [&](uint64_t index) {
    ASSERT_TRUE(remove_tree(dir_ / ("pg_wal/" + name_of(1, index).to_string())));
  };
  for (uint64_t index = 1; index <= 4; ++index) lay_segment(index, wal);
  EXPECT_TRUE(notes().empty());
  // The one that was being written.
  remove(4);
  ASSERT_EQ(notes().size(), 1u);
  EXPECT_NE(notes()[0].find(name_of(1, 4).to_string()), std::string::npos);
  lay(name_of(1, 4).to_string(), Bytes(kSegment));
  EXPECT_TRUE(notes().empty()) << "it was just about to be written";
  // One in between, unless it is stored.
  lay_segment(4, wal);
  remove(2);
  EXPECT_EQ(notes().size(), 1u);
  store_segments(1, 2, 2, wal);
  EXPECT_TRUE(notes().empty());
  // One that is damaged, with WAL behind it.
  lay_segment(2, wal);
  Bytes damaged = wal.segment(3);
  damaged[kSegment / 2] ^= 0xff;
  for (size_t at = 200; at < damaged.size(); ++at) damaged[at] = 0;
  lay(name_of(1, 3).to_string(), damaged);
  EXPECT_EQ(notes().size(), 1u);
}

TEST_F(Rescue, a_directory_without_wal_has_nothing_to_rescue_and_says_so) {
  ASSERT_TRUE(remove_tree(dir_ / "pg_wal"));
  auto plan = plan_rescue(lineage(), dir_.path(), stop_);
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->files.empty());
  EXPECT_EQ(plan->notes.size(), 1u);
}

TEST_F(Rescue, stores_everything_and_a_second_time_nothing) {
  Wal wal = four();
  for (uint64_t index = 1; index <= 4; ++index) lay_segment(index, wal);
  auto plan = plan_rescue(lineage(), dir_.path(), stop_);
  ASSERT_TRUE(plan);
  std::vector<std::string> notes;
  auto stored = carry_out_rescue(lineage(), *plan, notes, stop_);
  ASSERT_TRUE(stored) << stored.error().to_string();
  EXPECT_EQ(stored->size(), 4u);
  EXPECT_TRUE(notes.empty());
  plan = plan_rescue(lineage(), dir_.path(), stop_);
  ASSERT_TRUE(plan);
  // The unfinished segment is looked at again, because it may have grown, and found to be stored.
  for (const RescueFile& file : plan->files) EXPECT_EQ(file.file.kind, WalFileKind::partial);
  stored = carry_out_rescue(lineage(), *plan, notes, stop_);
  ASSERT_TRUE(stored) << stored.error().to_string();
  EXPECT_TRUE(notes.empty());
}

TEST_F(Rescue, a_segment_that_is_stored_with_other_content_stays_where_it_is_and_is_named_T46) {
  Wal wal = four();
  for (uint64_t index = 1; index <= 4; ++index) lay_segment(index, wal);
  auto plan = plan_rescue(lineage(), dir_.path(), stop_);
  ASSERT_TRUE(plan);
  Wal other = four();
  other.commit(999, at(99));
  store_file(name_of(1, 4).to_string() + ".partial", other.segment(4));
  std::vector<std::string> notes;
  auto stored = carry_out_rescue(lineage(), *plan, notes, stop_);
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->size(), 3u);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find(name_of(1, 4).to_string()), std::string::npos);
}

// --- reaching through it

TEST_F(Rescue, latest_reaches_the_end_of_the_unfinished_segment) {
  Wal wal = four();
  store_segments(1, 1, 3, wal);
  auto history = WalHistory::load(lineage());
  ASSERT_TRUE(history);
  auto without = find_reach(lineage(), *history, request());
  ASSERT_TRUE(without) << without.error().to_string();
  EXPECT_FALSE(without->partial);
  EXPECT_EQ(without->last_xid, 702u);

  store_file(name_of(1, 4).to_string() + ".partial", wal.segment(4));
  history = WalHistory::load(lineage());
  auto reached = find_reach(lineage(), *history, request());
  ASSERT_TRUE(reached) << reached.error().to_string();
  ASSERT_TRUE(reached->partial);
  EXPECT_TRUE(reached->partial->path.empty());
  EXPECT_EQ(reached->stop, wal.end());
  EXPECT_EQ(reached->last_xid, 801u);
  EXPECT_EQ(reached->last_commit, at(12));
}

TEST_F(Rescue, every_kind_of_target_is_met_in_the_unfinished_segment) {
  Wal wal = four();
  store_segments(1, 1, 3, wal);
  lay_segment(4, wal);
  PartialSegment local{name_of(1, 4), dir_ / ("pg_wal/" + name_of(1, 4).to_string()), {}};
  auto history = WalHistory::load(lineage());
  ASSERT_TRUE(history);
  auto last_xid = [&](const RecoveryTarget& target) -> uint32_t {
    auto reached = find_reach(lineage(), *history, request(target, local));
    EXPECT_TRUE(reached) << target.to_string() << ": " << reached.error().to_string();
    if (!reached) return 0;
    EXPECT_TRUE(reached->partial) << target.to_string();
    return reached->last_xid;
  };
  RecoveryTarget time;
  time.kind = pg::TargetKind::time;
  time.time = at(11.5);
  EXPECT_EQ(last_xid(time), 800u);
  time.time = at(10);
  EXPECT_EQ(last_xid(time), 800u);
  time.inclusive = false;
  EXPECT_EQ(last_xid(time), 702u);
  RecoveryTarget xid;
  xid.kind = pg::TargetKind::xid;
  xid.xid = 801;
  EXPECT_EQ(last_xid(xid), 801u);
  xid.inclusive = false;
  EXPECT_EQ(last_xid(xid), 800u);
  RecoveryTarget name;
  name.kind = pg::TargetKind::name;
  name.name = "late";
  EXPECT_EQ(last_xid(name), 800u);
  RecoveryTarget lsn;
  lsn.kind = pg::TargetKind::lsn;
  lsn.lsn = {4 * kSegment + 1};
  EXPECT_EQ(last_xid(lsn), 800u);
  lsn.inclusive = false;
  EXPECT_EQ(last_xid(lsn), 702u);

  RecoveryTarget absent;
  absent.kind = pg::TargetKind::xid;
  absent.xid = 5555;
  auto missed = find_reach(lineage(), *history, request(absent, local));
  ASSERT_FALSE(missed);
  EXPECT_EQ(missed.error().kind, ErrorKind::unreachable);
}

TEST_F(Rescue, an_unfinished_segment_behind_a_hole_is_not_used_T45) {
  Wal wal = four();
  store_segments(1, 1, 2, wal);
  lay_segment(4, wal);
  PartialSegment local{name_of(1, 4), dir_ / ("pg_wal/" + name_of(1, 4).to_string()), {}};
  auto history = WalHistory::load(lineage());
  ASSERT_TRUE(history);
  auto reached = find_reach(lineage(), *history, request({}, local));
  ASSERT_TRUE(reached);
  EXPECT_FALSE(reached->partial);
  EXPECT_EQ(reached->last_xid, 701u);
}

TEST_F(Rescue, an_unfinished_segment_is_used_up_to_where_its_timeline_is_left_T46) {
  Wal wal = four();
  Lsn fork = wal.end();
  wal.commit(802, at(20));  // the old server goes on after the promotion
  store_segments(1, 1, 3, wal);
  store_file(name_of(1, 4).to_string() + ".partial", wal.segment(4));
  store_history(pg::TimelineHistory::root({1}).branch({2}, fork, "test"));
  auto history = WalHistory::load(lineage());
  ASSERT_TRUE(history);
  auto reached = find_reach(lineage(), *history, request());
  ASSERT_TRUE(reached) << reached.error().to_string();
  EXPECT_EQ(reached->timeline, Timeline{2});
  EXPECT_EQ(reached->stop, fork);
  EXPECT_EQ(reached->last_xid, 801u);
  ASSERT_TRUE(reached->partial);
  std::string path = dir_ / "out";
  auto written = write_partial_segment(lineage(), *reached->partial, path, 0600);
  ASSERT_TRUE(written) << written.error().to_string();
  EXPECT_EQ(*read_file(path, kSegment), four().segment(4));

  // On its own timeline it means all that it says.
  ReachRequest own = request();
  own.choice = TimelineChoice::current;
  auto whole = find_reach(lineage(), *history, own);
  ASSERT_TRUE(whole) << whole.error().to_string();
  EXPECT_EQ(whole->last_xid, 802u);
}

TEST_F(Rescue, the_end_is_pinned_to_the_last_record_of_the_unfinished_segment) {  // T45
  Wal wal = four();
  Lsn last = wal.checkpoint(at(20));
  store_segments(1, 1, 3, wal);
  store_file(name_of(1, 4).to_string() + ".partial", wal.segment(4));
  auto history = WalHistory::load(lineage());
  ASSERT_TRUE(history);
  auto reached = find_reach(lineage(), *history, request());
  ASSERT_TRUE(reached) << reached.error().to_string();
  EXPECT_EQ(reached->effective.kind, pg::TargetKind::lsn);
  EXPECT_EQ(reached->effective.lsn, last);
}

TEST_F(Rescue, a_target_in_whole_segments_does_not_need_it) {
  Wal wal = four();
  store_segments(1, 1, 3, wal);
  store_file(name_of(1, 4).to_string() + ".partial", wal.segment(4));
  auto history = WalHistory::load(lineage());
  ASSERT_TRUE(history);
  RecoveryTarget xid;
  xid.kind = pg::TargetKind::xid;
  xid.xid = 701;
  auto reached = find_reach(lineage(), *history, request(xid));
  ASSERT_TRUE(reached);
  EXPECT_FALSE(reached->partial);
}

TEST_F(Rescue, what_follows_the_records_is_written_as_zeros) {
  Wal wal = four();
  Bytes dirty = wal.segment(4);
  uint64_t valid = wal.end().value - 4 * kSegment;
  std::fill(dirty.begin() + static_cast<ptrdiff_t>(valid), dirty.end(), 0xAB);
  store_file(name_of(1, 4).to_string() + ".partial", dirty);
  std::string path = dir_ / "out";
  auto written = write_partial_segment(lineage(), {name_of(1, 4), "", {}}, path, 0600);
  ASSERT_TRUE(written) << written.error().to_string();
  EXPECT_EQ(*read_file(path, kSegment), wal.segment(4));
  EXPECT_EQ(stat_path(path)->mode, 0600u);
}

}  // namespace
}  // namespace lifeboat::ops
