#include "ops/wal/tail.h"

#include <gmock/gmock.h>

#include "ops/wal/reach.h"
#include "tests/support/wal_fixture.h"

namespace lifeboat::ops {
namespace {

using testing::at;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

// Segments 1 to 3 whole, with a backup at their beginning; a commit in the middle of segment 4.
class TailTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    WalFixture::SetUp();
    start_ = wal_.checkpoint(at(1));
    wal_.fill(1000);
    stop_ = wal_.end();
    for (int i = 0; i < 3; ++i) {
      wal_.commit(static_cast<uint32_t>(700 + i), at(10 * (i + 1)));
      wal_.end_segment();
    }
    wal_.fill(1000);
    commit_ = wal_.commit(710, at(100));
    wal_.fill(50'000);
    end_ = wal_.end();
    store_segments(1, 1, 3, wal_);
  }
  repo::TailPiece put(uint64_t index, uint32_t begin, uint32_t end, uint32_t timeline = 1) {
    Bytes bytes = wal_.segment(index);
    auto piece = tails().put(name_of(timeline, index), begin,
                             repo::WalSource::from_bytes(ByteView(bytes).subspan(begin, end - begin)));
    EXPECT_TRUE(piece) << piece.error().to_string();
    return *piece;
  }
  repo::TailStore tails() const { return repo::TailStore(lineage().repo); }
  uint32_t filled() const { return static_cast<uint32_t>(end_.value - 4 * kSegment); }
  Result<Reach> reach(pg::TargetKind kind, Timestamp time = {}, Lsn lsn = {}) const {
    auto history = WalHistory::load(lineage());
    CHECK(history.has_value());
    ReachRequest request;
    request.backup_timeline = {1};
    request.backup_start = start_;
    request.backup_stop = stop_;
    request.target.kind = kind;
    request.target.time = time;
    request.target.lsn = lsn;
    request.unfinished = UnfinishedSegment::use;
    return find_reach(lineage(), *history, request);
  }
  bool ends_archive() const {
    auto ends = tail_ends_archive(lineage(), name_of(1, 4));
    CHECK(ends.has_value());
    return *ends;
  }

  Wal wal_;
  Lsn start_, stop_, commit_, end_;
};

TEST_F(TailTest, pieces_are_put_together) {
  put(4, 0, 3000);
  put(4, 3000, 5000);
  put(4, 1000, 4000);  // a merge that did not get to remove what it merged
  auto image = read_tail(lineage(), name_of(1, 4));
  ASSERT_TRUE(image) << image.error().to_string();
  Bytes expected = wal_.segment(4);
  expected.resize(5000);
  EXPECT_EQ(*image, expected);
  EXPECT_EQ(list_tails(lineage(), {1})->front().size, 5000u);
}

TEST_F(TailTest, a_hole_between_pieces_ends_the_tail) {
  put(4, 0, 3000);
  put(4, 3001, 5000);
  EXPECT_EQ(read_tail(lineage(), name_of(1, 4))->size(), 3000u);
  EXPECT_EQ(list_tails(lineage(), {1})->front().size, 3000u);
}

TEST_F(TailTest, pieces_that_differ_are_a_conflict) {  // T46
  put(4, 0, 3000);
  Bytes other(2000, 0xee);
  ASSERT_TRUE(tails().put(name_of(1, 4), 2000, repo::WalSource::from_bytes(other)));
  EXPECT_EQ(read_tail(lineage(), name_of(1, 4)).error().kind, ErrorKind::conflict);
  auto refused = reach(pg::TargetKind::latest);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::conflict);
}

TEST_F(TailTest, the_whole_segment_stands_in_for_its_tail) {
  put(3, 0, 3000);
  EXPECT_EQ(read_tail(lineage(), name_of(1, 3))->size(), kSegment);
  EXPECT_EQ(read_tail(lineage(), name_of(1, 9)).error().kind, ErrorKind::not_found);
}

TEST_F(TailTest, recovery_to_latest_goes_through_the_tail) {
  put(4, 0, 2000);
  put(4, 2000, filled());
  auto found = reach(pg::TargetKind::latest);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->stop, end_);
  EXPECT_EQ(found->last_commit, at(100));
  ASSERT_TRUE(found->partial);
  EXPECT_EQ(found->partial->segment, name_of(1, 4));
  EXPECT_EQ(found->partial->stored, PartialSegment::Stored::as_tail);
  EXPECT_THAT(found->notes, Contains(HasSubstr("the tail of segment")));
}

TEST_F(TailTest, a_time_in_the_tail_is_reachable) {
  put(4, 0, filled());
  auto found = reach(pg::TargetKind::time, at(50));
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->stop, commit_);
  EXPECT_EQ(found->next_commit, at(100));
  EXPECT_TRUE(found->partial);
}

TEST_F(TailTest, the_recoverable_window_ends_with_the_tail) {
  auto window = [&] {
    auto history = WalHistory::load(lineage());
    CHECK(history.has_value());
    auto found = recovery_window(lineage(), *history, {1}, start_, stop_, {1});
    CHECK(found.has_value());
    return *found;
  };
  EXPECT_EQ(window().last_commit, at(30));
  put(4, 0, filled());
  RecoveryWindow with_tail = window();
  EXPECT_TRUE(with_tail.complete);
  EXPECT_EQ(with_tail.end, end_);
  EXPECT_EQ(with_tail.last_commit, at(100));
}

TEST_F(TailTest, a_record_that_the_tail_cuts_is_not_reached) {
  put(4, 0, static_cast<uint32_t>(commit_.value - 4 * kSegment) + 10);
  auto found = reach(pg::TargetKind::latest);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->stop, commit_);
}

TEST_F(TailTest, the_longer_of_a_partial_and_a_tail_is_used) {
  put(4, 0, 900);
  store_file(cat(name_of(1, 4).to_string(), ".partial"), wal_.segment(4));
  auto found = reach(pg::TargetKind::latest);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->stop, end_);
  EXPECT_EQ(found->partial->stored, PartialSegment::Stored::as_partial);
}

TEST_F(TailTest, a_later_segment_forbids_it) {  // T45
  put(4, 0, filled());
  EXPECT_TRUE(ends_archive());
  wal_.end_segment();
  wal_.fill(1000);
  wal_.end_segment();
  store_segments(1, 5, 5, wal_);
  EXPECT_FALSE(ends_archive());
  auto refused = reach(pg::TargetKind::latest);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::unreachable);
  // What was stored before the hole can be reached all the same, by who says so, and no further.
  EXPECT_NE(refused.error().hint.find("reaches to " + end_.to_string()), std::string::npos)
      << refused.error().hint;
  auto named = reach(pg::TargetKind::lsn, {}, commit_);
  ASSERT_TRUE(named) << named.error().to_string();
  EXPECT_EQ(named->last_commit, at(100));
  ASSERT_TRUE(named->partial);
  EXPECT_EQ(named->partial->segment, name_of(1, 4));
  auto whole = reach(pg::TargetKind::lsn, {}, end_);
  ASSERT_TRUE(whole) << whole.error().to_string();
  EXPECT_EQ(whole->stop, end_) << "the end itself, as wal status names it";
  EXPECT_FALSE(reach(pg::TargetKind::lsn, {}, end_ + 8));
  EXPECT_FALSE(reach(pg::TargetKind::lsn, {}, end_ + kSegment));
}

TEST_F(TailTest, a_timeline_that_left_from_beyond_it_forbids_it) {  // T45
  put(4, 0, filled());
  auto history = [&](Lsn fork) { return pg::TimelineHistory::root({1}).branch({2}, fork, "promoted"); };
  store_history(history({4 * kSegment + 2 * uint64_t{filled()}}));
  EXPECT_FALSE(ends_archive());
  auto stored = WalHistory::load(lineage());
  ASSERT_TRUE(stored);
  EXPECT_FALSE(stored->path({1}, start_).tail);
  EXPECT_TRUE(stored->path({2}, start_).tail) << "on the way to that timeline nothing else is stored";
}

TEST_F(TailTest, what_a_branch_has_from_before_its_fork_only_is_used) {
  put(4, 0, filled());
  Lsn fork{4 * kSegment + 500};
  store_history(pg::TimelineHistory::root({1}).branch({2}, fork, "promoted"));
  EXPECT_FALSE(ends_archive()) << "nobody knows which timeline is asked for";
  auto stored = WalHistory::load(lineage());
  ASSERT_TRUE(stored);
  WalPath old = stored->path({1}, start_);
  ASSERT_TRUE(old.tail);
  EXPECT_FALSE(old.tail->limit.valid());
  EXPECT_EQ(stored->path({2}, start_).tail->limit, fork);
}

TEST_F(TailTest, one_that_fills_its_segment_is_that_segment) {
  wal_.end_segment();
  wal_.commit(720, at(200));
  put(4, 0, kSegment / 2);
  put(4, kSegment / 2, kSegment);
  put(5, 0, 5000);
  auto found = reach(pg::TargetKind::latest);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->last_commit, at(200));
  EXPECT_EQ(found->partial->segment, name_of(1, 5));
}

}  // namespace
}  // namespace lifeboat::ops
