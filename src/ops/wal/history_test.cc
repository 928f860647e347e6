#include "ops/wal/history.h"

#include <gmock/gmock.h>

#include "ops/wal/scan.h"
#include "repo/tombstone.h"
#include "tests/support/wal_fixture.h"

namespace lifeboat::ops {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

class WalHistoryTest : public testing::WalFixture {
 protected:
  WalHistory load() {
    auto history = WalHistory::load(lineage());
    EXPECT_TRUE(history) << history.error().to_string();
    return std::move(*history);
  }
  // Content does not matter to listings.
  void store_names(uint32_t timeline, std::initializer_list<uint64_t> indexes) {
    for (uint64_t index : indexes)
      store_file(name_of(timeline, index).to_string(), as_bytes(cat(timeline, ":", index)));
  }
  static Lsn lsn(double segments) { return {static_cast<uint64_t>(segments * kSegment)}; }
  static pg::TimelineHistory second(Lsn fork) {
    return pg::TimelineHistory::root({1}).branch({2}, fork, "test");
  }
};

TEST_F(WalHistoryTest, an_empty_repository_has_no_timelines) {
  EXPECT_THAT(load().timelines(), IsEmpty());
}

TEST_F(WalHistoryTest, runs_show_holes_and_conflicts) {
  store_names(1, {1, 2, 5, 6, 7, 9});
  Wal wal;
  wal.commit(700, testing::at(1));
  store_file(name_of(1, 8).to_string(), as_bytes("one"));
  auto other =
      repo::WalStore(lineage().repo, {.conflict_check = false})
          .push(*WalFileName::parse(name_of(1, 8).to_string()), repo::WalSource::from_bytes(as_bytes("two")));
  ASSERT_TRUE(other);
  WalHistory history = load();
  const StoredTimeline& stored = *history.find({1});
  ASSERT_EQ(stored.runs.size(), 3u);
  EXPECT_TRUE(stored.has(2));
  EXPECT_FALSE(stored.has(3));
  EXPECT_EQ(stored.run_end(5), 7u);
  EXPECT_FALSE(stored.has(8));
  EXPECT_THAT(stored.conflicts, ElementsAre(name_of(1, 8)));
  EXPECT_THAT(history.problems(),
              ElementsAre(HasSubstr("2 segments are missing from 000000010000000000000003"),
                          HasSubstr("000000010000000000000008 is stored with different contents")));
}

TEST_F(WalHistoryTest, a_path_ends_at_a_hole_and_names_it) {
  store_names(1, {1, 2, 4});
  WalPath path = load().path({1}, lsn(1.5));
  EXPECT_EQ(path.end, lsn(3));
  EXPECT_EQ(path.missing, name_of(1, 3));
  EXPECT_EQ(path.file_at(2), name_of(1, 2));
  EXPECT_EQ(path.file_at(3), std::nullopt);
}

TEST_F(WalHistoryTest, a_path_that_ends_with_what_is_stored_has_no_hole) {
  store_names(1, {1, 2, 3});
  WalPath path = load().path({1}, lsn(1.5));
  EXPECT_EQ(path.end, lsn(4));
  EXPECT_EQ(path.missing, std::nullopt);
}

TEST_F(WalHistoryTest, a_path_ends_at_a_conflict) {  // T46
  store_names(1, {1, 3});
  Wal wal;
  wal.fill(kSegment);
  store_segment(1, 2, wal);
  store_conflict(1, 2, wal);
  WalPath path = load().path({1}, lsn(1));
  EXPECT_EQ(path.end, lsn(2));
  EXPECT_EQ(path.conflict, name_of(1, 2));
}

TEST_F(WalHistoryTest, the_segment_of_a_fork_comes_from_the_new_timeline) {
  store_names(1, {1, 2, 3, 4});
  store_names(2, {3, 4, 5});
  store_history(second(lsn(3.5)));
  WalPath path = load().path({2}, lsn(1));
  EXPECT_EQ(path.file_at(2), name_of(1, 2));
  EXPECT_EQ(path.file_at(3), name_of(2, 3));
  EXPECT_EQ(path.end, lsn(6));
  EXPECT_EQ(path.missing, std::nullopt);
}

TEST_F(WalHistoryTest, the_old_timelines_segment_serves_up_to_the_fork_only) {
  store_names(1, {1, 2, 3, 4});
  store_names(2, {4, 5});
  store_history(second(lsn(3.5)));
  WalPath path = load().path({2}, lsn(1));
  EXPECT_EQ(path.file_at(3), name_of(1, 3));
  EXPECT_EQ(path.end, lsn(3.5));
  EXPECT_EQ(path.file_at(4), std::nullopt);
}

TEST_F(WalHistoryTest, a_fork_at_a_segment_boundary_does_not_use_the_abandoned_branch) {
  store_names(1, {1, 2, 3, 4});
  store_history(second(lsn(3)));
  WalPath path = load().path({2}, lsn(1));
  EXPECT_EQ(path.end, lsn(3));
  EXPECT_EQ(path.file_at(3), std::nullopt);
  EXPECT_EQ(path.missing, std::nullopt);
}

TEST_F(WalHistoryTest, a_partial_is_shown_and_not_used) {  // T22
  store_names(1, {1, 2});
  store_file(cat(name_of(1, 3).to_string(), ".partial"), as_bytes("partial"));
  store_history(second(lsn(3.5)));
  WalPath path = load().path({2}, lsn(1));
  EXPECT_EQ(path.end, lsn(3));
  ASSERT_TRUE(path.partial);
  EXPECT_EQ(path.partial->segment, name_of(1, 3));
  EXPECT_EQ(path.partial->limit, lsn(3.5));
}

TEST_F(WalHistoryTest, a_partial_of_an_abandoned_branch_does_not_continue_the_path) {  // T46
  store_names(1, {1, 2, 3});
  store_file(cat(name_of(1, 3).to_string(), ".partial"), as_bytes("partial"));
  store_file(cat(name_of(1, 4).to_string(), ".partial"), as_bytes("partial"));
  store_history(second(lsn(3)));
  store_history(pg::TimelineHistory::root({1}).branch({3}, lsn(3.5), "test"));
  WalHistory history = load();
  WalPath at_boundary = history.path({2}, lsn(1));
  EXPECT_EQ(at_boundary.end, lsn(3));
  EXPECT_FALSE(at_boundary.partial);
  WalPath within = history.path({3}, lsn(1));
  EXPECT_EQ(within.end, lsn(3.5));
  EXPECT_FALSE(within.partial);
  EXPECT_EQ(history.path({1}, lsn(1)).partial->segment, name_of(1, 4));
}

TEST_F(WalHistoryTest, three_timelines_with_two_forks_in_one_segment) {
  store_names(1, {1, 2});
  store_names(2, {2});
  store_names(3, {2, 3});
  pg::TimelineHistory two = second(lsn(2.25));
  store_history(two);
  store_history(two.branch({3}, lsn(2.5), "test"));
  WalPath path = load().path({3}, lsn(1));
  EXPECT_EQ(path.file_at(1), name_of(1, 1));
  EXPECT_EQ(path.file_at(2), name_of(3, 2));
  EXPECT_EQ(path.end, lsn(4));
}

TEST_F(WalHistoryTest, descendants_pass_through_the_position) {
  store_names(1, {1, 2, 3});
  store_names(2, {2});
  store_names(3, {3});
  store_history(second(lsn(2.5)));
  store_history(pg::TimelineHistory::root({1}).branch({3}, lsn(3.5), "test"));
  WalHistory history = load();
  EXPECT_THAT(history.descendants({1}, lsn(2.25)), ElementsAre(Timeline{1}, Timeline{2}, Timeline{3}));
  EXPECT_THAT(history.descendants({1}, lsn(3)), ElementsAre(Timeline{1}, Timeline{3}));
  EXPECT_THAT(history.descendants({2}, lsn(3)), ElementsAre(Timeline{2}));
}

TEST_F(WalHistoryTest, missing_history_files_are_problems) {  // T23
  store_names(2, {2});
  pg::TimelineHistory three = second(lsn(2.5)).branch({3}, lsn(3.5), "test");
  store_history(three);
  WalHistory history = load();
  EXPECT_FALSE(history.find({2})->has_history_file);
  EXPECT_TRUE(history.find({2})->history.has_value());
  EXPECT_THAT(history.problems(), ElementsAre(HasSubstr("00000002.history is not stored"),
                                              HasSubstr("ancestor 2 is not stored")));
}

TEST_F(WalHistoryTest, contradicting_histories_are_not_followed) {  // T46
  store_history(second(lsn(2.5)));
  store_history(second(lsn(2.75)).branch({3}, lsn(3.5), "test"));
  WalHistory history = load();
  EXPECT_FALSE(history.find({3})->history.has_value());
  EXPECT_THAT(history.problems(), ElementsAre(HasSubstr("contradicts")));
}

TEST_F(WalHistoryTest, condemned_wal_counts_as_absent) {  // T37
  store_names(1, {1, 2, 3});
  repo::Tombstone tombstone;
  tombstone.created = testing::at(0);
  tombstone.grace_us = 1'000'000;
  tombstone.wal = {{name_of(1, 1), name_of(1, 2)}};
  ASSERT_TRUE(repo::write_tombstone(lineage().repo, tombstone));
  WalHistory history = load();
  EXPECT_FALSE(history.find({1})->has(1));
  EXPECT_TRUE(history.find({1})->has(2));
}

TEST_F(WalHistoryTest, missing_segments_are_those_that_hold_a_byte_of_the_range) {  // T03
  store_names(1, {2, 4});
  auto missing = missing_segments(lineage(), {1}, lsn(1.5), lsn(5.5));
  ASSERT_TRUE(missing);
  EXPECT_THAT(*missing, ElementsAre(name_of(1, 1), name_of(1, 3), name_of(1, 5)));
  auto none = missing_segments(lineage(), {1}, lsn(2), lsn(3));
  ASSERT_TRUE(none);
  EXPECT_THAT(*none, IsEmpty());
}

// --- scans

class WalScanTest : public testing::WalFixture {
 protected:
  std::vector<Lsn> scan(Lsn from, Lsn to, ScanResult* result = nullptr) {
    auto history = WalHistory::load(lineage());
    EXPECT_TRUE(history);
    WalPath path = history->path({1}, from);
    std::vector<Lsn> seen;
    auto scanned = scan_wal(lineage(), path, from, to, [&](const pg::WalRecord& record) {
      seen.push_back(record.lsn);
      return ScanNext::more;
    });
    EXPECT_TRUE(scanned) << scanned.error().to_string();
    if (result != nullptr) *result = *scanned;
    return seen;
  }
};

TEST_F(WalScanTest, records_from_to_are_visited_over_segment_ends) {
  Wal wal;
  std::vector<Lsn> placed;
  for (int i = 0; i < 10; ++i) placed.push_back(wal.fill(300'000));
  store_segments(1, 1, wal.last_index(), wal);
  EXPECT_EQ(scan({kSegment}, {}), placed);
  EXPECT_EQ(scan(placed[3], placed[7]), std::vector<Lsn>(placed.begin() + 3, placed.begin() + 7));
}

TEST_F(WalScanTest, damage_before_the_last_segment_is_told_and_behind_it_is_an_end) {
  Wal wal;
  for (int i = 0; i < 10; ++i) wal.fill(300'000);
  uint64_t last = wal.last_index();
  for (uint64_t index = 1; index < last; ++index) {
    Bytes bytes = wal.segment(index);
    if (index == 2) bytes[500'000] ^= 1;
    store_file(name_of(1, index).to_string(), bytes);
  }
  store_segment(1, last, wal);
  ScanResult result;
  scan({kSegment}, {}, &result);
  ASSERT_TRUE(result.damage.has_value());
  EXPECT_EQ(result.damage->lsn.value / kSegment, 2u);
  // The last segment ends in zeros, which is how segments end that were being filled.
  scan({last * kSegment}, {}, &result);
  EXPECT_FALSE(result.damage.has_value());
  EXPECT_EQ(result.end_of_records, wal.end());
}

TEST_F(WalScanTest, continuous_segments_have_no_breaks) {
  Wal wal;
  for (int i = 0; i < 10; ++i) wal.fill(300'000);
  wal.end_segment();
  for (int i = 0; i < 5; ++i) wal.fill(300'000);
  uint64_t last = wal.last_index();
  store_segments(1, 1, last, wal);
  auto breaks = check_segments_continuous(lineage(), {1}, {1, last});
  ASSERT_TRUE(breaks) << breaks.error().to_string();
  EXPECT_THAT(*breaks, IsEmpty());
}

TEST_F(WalScanTest, a_segment_of_another_history_is_a_break) {
  Wal ours;
  Wal theirs;
  ours.fill(1000);
  theirs.fill(5000);
  for (int i = 0; i < 10; ++i) {
    ours.fill(300'000);
    theirs.fill(300'000);
  }
  store_segment(1, 1, ours);
  store_segment(1, 2, theirs);
  store_segment(1, 3, ours);
  auto breaks = check_segments_continuous(lineage(), {1}, {1, 3});
  ASSERT_TRUE(breaks);
  ASSERT_FALSE(breaks->empty());
  EXPECT_LE(breaks->front().lsn.value / kSegment, 2u);
}

TEST_F(WalScanTest, a_flipped_bit_is_a_break_in_the_last_segment_too) {
  Wal wal;
  for (int i = 0; i < 10; ++i) wal.fill(200'000);
  uint64_t last = wal.last_index();
  ASSERT_EQ(last, 2u);
  store_segment(1, 1, wal);
  Bytes bytes = wal.segment(2);
  bytes[100'000] ^= 4;
  store_file(name_of(1, 2).to_string(), bytes);
  auto breaks = check_segments_continuous(lineage(), {1}, {1, 2});
  ASSERT_TRUE(breaks);
  EXPECT_FALSE(breaks->empty());
}

}  // namespace
}  // namespace lifeboat::ops
