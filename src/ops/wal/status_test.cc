#include "ops/wal/status.h"

#include <gtest/gtest.h>

#include "repo/manifest.h"
#include "tests/support/wal_fixture.h"

namespace lifeboat::ops {
namespace {

using testing::at;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

class WalStatusTest : public testing::WalFixture {
 protected:
  // A backup whose own WAL is the one segment `index`.
  BackupId add_backup(uint32_t timeline, uint64_t index, double second) {
    repo::Card card;
    card.id = BackupId::make(at(second), static_cast<uint32_t>(index));
    card.started = at(second);
    card.stopped = at(second + 1);
    card.start_lsn = {index * kSegment + 100};
    card.stop_lsn = {index * kSegment + 200};
    card.timeline = {timeline};
    auto written = repo::write_card(lineage().repo, card);
    EXPECT_TRUE(written) << written.error().to_string();
    return card.id;
  }

  // One commit in each segment, at the second of its index.
  static Wal wal_to(uint64_t last) {
    Wal wal;
    for (uint64_t index = 1; index <= last; ++index) {
      wal.commit(static_cast<uint32_t>(700 + index), at(static_cast<double>(index)));
      wal.end_segment();
    }
    return wal;
  }

  LineageWalStatus look() {
    SilentReporter reporter;
    StopToken stop;
    auto status = wal_status_of(lineage(), at(100), reporter, stop);
    EXPECT_TRUE(status) << status.error().to_string();
    return std::move(*status);
  }
};

std::vector<std::string> problems(LineageWalStatus lineage) {
  WalStatus status;
  status.lineages.push_back(std::move(lineage));
  return status.problems();
}

TEST_F(WalStatusTest, a_window_goes_from_the_oldest_backup_to_the_end) {
  store_segments(1, 1, 6, wal_to(6));
  BackupId oldest = add_backup(1, 2, 2);
  add_backup(1, 4, 4);
  LineageWalStatus status = look();
  ASSERT_EQ(status.timelines.size(), 1u);
  ASSERT_EQ(status.timelines[0].windows.size(), 1u);
  const RecoverableWindow& window = status.timelines[0].windows[0];
  EXPECT_EQ(window.backup, oldest);
  EXPECT_EQ(window.backups, 2u);
  EXPECT_EQ(window.from, at(3));
  EXPECT_EQ(window.from_lsn, (Lsn{2 * uint64_t{kSegment} + 200}));
  EXPECT_EQ(window.to, at(6));
  EXPECT_EQ(status.segments, 6u);
  EXPECT_EQ(status.newest_segment, name_of(1, 6));
  EXPECT_TRUE(problems(status).empty());
  EXPECT_TRUE(lost_moments(status).empty());
}

TEST_F(WalStatusTest, a_hole_ends_a_window_and_the_next_backup_begins_another) {
  Wal wal = wal_to(9);
  store_segments(1, 1, 4, wal);
  store_segments(1, 7, 9, wal);
  add_backup(1, 2, 2);
  add_backup(1, 8, 8);
  LineageWalStatus status = look();
  ASSERT_EQ(status.timelines[0].windows.size(), 2u);
  EXPECT_EQ(status.timelines[0].windows[0].to, at(4));
  EXPECT_EQ(status.timelines[0].windows[0].hole, name_of(1, 5));
  EXPECT_EQ(status.timelines[0].windows[1].from, at(9));
  EXPECT_FALSE(status.timelines[0].windows[1].hole);
  ASSERT_EQ(status.timelines[0].holes.size(), 1u);
  EXPECT_EQ(status.timelines[0].holes[0].segments, 2u);
  EXPECT_TRUE(status.timelines[0].holes[0].in_window);
  EXPECT_EQ(problems(status).size(), 1u);
  const std::vector<LostMoments> lost = lost_moments(status);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].after, at(4));
  EXPECT_EQ(lost[0].until, at(9));
  EXPECT_EQ(lost[0].first, name_of(1, 5));
  EXPECT_FALSE(lost[0].expired);
}

TEST_F(WalStatusTest, what_retention_left_out_is_no_failure) {
  Wal wal = wal_to(9);
  store_segments(1, 2, 2, wal);
  store_segments(1, 6, 9, wal);
  add_backup(1, 2, 2);
  add_backup(1, 6, 6);
  LineageWalStatus status = look();
  ASSERT_EQ(status.timelines[0].holes.size(), 1u);
  EXPECT_TRUE(status.timelines[0].holes[0].expired);
  EXPECT_TRUE(problems(status).empty());
  ASSERT_EQ(lost_moments(status).size(), 1u);
  EXPECT_TRUE(lost_moments(status)[0].expired);
}

// Expiry takes the oldest first: it would not have left what is older than the hole.
TEST_F(WalStatusTest, a_hole_of_that_shape_with_older_wal_before_it_is_one) {
  Wal wal = wal_to(9);
  store_segments(1, 1, 2, wal);
  store_segments(1, 6, 9, wal);
  add_backup(1, 2, 2);
  add_backup(1, 6, 6);
  EXPECT_EQ(problems(look()).size(), 1u);
}

TEST_F(WalStatusTest, a_hole_before_every_backup_is_in_nobodys_way) {
  Wal wal = wal_to(9);
  store_segments(1, 1, 2, wal);
  store_segments(1, 5, 9, wal);
  add_backup(1, 6, 6);
  LineageWalStatus status = look();
  ASSERT_EQ(status.timelines[0].holes.size(), 1u);
  EXPECT_FALSE(status.timelines[0].holes[0].in_window);
  EXPECT_TRUE(problems(status).empty());
}

TEST_F(WalStatusTest, two_contents_of_a_segment_end_a_window) {  // T46
  Wal wal = wal_to(6);
  store_segments(1, 1, 6, wal);
  store_conflict(1, 4, wal);
  add_backup(1, 2, 2);
  LineageWalStatus status = look();
  ASSERT_EQ(status.timelines[0].windows.size(), 1u);
  EXPECT_EQ(status.timelines[0].windows[0].conflict, name_of(1, 4));
  EXPECT_EQ(status.timelines[0].windows[0].to, at(3));
  ASSERT_EQ(status.timelines[0].conflicts.size(), 1u);
  EXPECT_EQ(status.timelines[0].conflicts[0].contents.size(), 2u);
  EXPECT_TRUE(status.timelines[0].conflicts[0].in_window);
  EXPECT_TRUE(status.timelines[0].holes.empty());
  EXPECT_EQ(problems(status).size(), 1u);
}

TEST_F(WalStatusTest, a_promoted_timeline_has_a_window_of_its_own) {
  Wal wal = wal_to(4);
  store_segments(1, 1, 4, wal);
  add_backup(1, 2, 2);
  Wal child = wal;
  Lsn fork{5 * uint64_t{kSegment}};
  child.promote({2});
  child.commit(900, at(50));
  child.end_segment();
  store_history(pg::TimelineHistory::root({1}).branch({2}, fork, "promoted"));
  store_segment(2, 5, child);
  LineageWalStatus status = look();
  ASSERT_EQ(status.timelines.size(), 2u);
  ASSERT_EQ(status.timelines[1].windows.size(), 1u);
  EXPECT_EQ(status.timelines[1].windows[0].to, at(50));
  EXPECT_EQ(status.timelines[1].origin->end, fork);
  EXPECT_EQ(status.timelines[0].windows[0].to, at(4));
  EXPECT_TRUE(problems(status).empty());
}

TEST_F(WalStatusTest, a_history_file_that_is_missing_is_said) {
  store_segment(3, 5, wal_to(6));
  LineageWalStatus status = look();
  EXPECT_FALSE(status.timelines[0].has_history_file);
  EXPECT_EQ(problems(status).size(), 1u);
}

}  // namespace
}  // namespace lifeboat::ops
