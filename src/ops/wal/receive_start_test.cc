#include "ops/wal/receive_start.h"

#include <gtest/gtest.h>

#include "ops/wal/receive.h"
#include "tests/support/wal_fixture.h"

namespace lifeboat::ops {
namespace {

using testing::kSegment;
using testing::name_of;
using testing::Wal;

Lsn position(uint64_t index, uint64_t offset = 0) {
  return {index * kSegment + offset};
}

class ReceiveStartTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    WalFixture::SetUp();
    for (int i = 0; i < 8; ++i) {
      wal_.fill(1000);
      wal_.end_segment();
    }
  }
  WalHistory stored() const {
    auto history = WalHistory::load(lineage());
    CHECK(history.has_value());
    return *std::move(history);
  }
  void store_tail(uint32_t timeline, uint64_t index, uint32_t size) {
    Bytes bytes = wal_.segment(index);
    bytes.resize(size);
    ASSERT_TRUE(
        repo::TailStore(lineage().repo).put(name_of(timeline, index), 0, repo::WalSource::from_bytes(bytes)));
  }
  StreamStart start(const pg::TimelineHistory& server, Lsn flushed, Lsn reserved = {}) const {
    return start_of_stream(stored(), server, flushed, reserved);
  }
  pg::TimelineHistory one_ = pg::TimelineHistory::root({1});
  Wal wal_;
};

TEST_F(ReceiveStartTest, with_nothing_stored_the_slot_says_where_else_the_server) {
  StreamStart from_slot = start(one_, position(7, 5), position(4, 9));
  EXPECT_EQ(from_slot.at, position(4));
  EXPECT_FALSE(from_slot.follows_stored);
  EXPECT_EQ(start(one_, position(7, 5)).at, position(7));
}

TEST_F(ReceiveStartTest, it_goes_on_where_the_repository_ends) {
  store_segments(1, 2, 4, wal_);
  StreamStart next = start(one_, position(7, 5), position(6));
  EXPECT_EQ(next.at, position(5)) << "and not at the slot's position (T24)";
  EXPECT_TRUE(next.follows_stored);
  store_tail(1, 5, 700);
  EXPECT_EQ(start(one_, position(7, 5)).at, position(5)) << "what the tail holds is compared";
  EXPECT_EQ(end_of_tail(stored(), one_, position(5)), position(5, 700));
  EXPECT_EQ(end_of_tail(stored(), one_, position(6)), position(6));
}

TEST_F(ReceiveStartTest, a_hole_that_the_slot_still_reserves_is_filled) {
  store_segments(1, 2, 3, wal_);
  store_segments(1, 5, 6, wal_);
  EXPECT_EQ(start(one_, position(7, 5), position(1)).at, position(4));
  EXPECT_EQ(start(one_, position(7, 5), position(5)).at, position(7));
  EXPECT_EQ(start(one_, position(7, 5)).at, position(7));
}

TEST_F(ReceiveStartTest, a_tail_that_fills_its_segment_counts_as_it) {
  store_segments(1, 2, 3, wal_);
  store_tail(1, 4, kSegment);
  EXPECT_EQ(start(one_, position(7, 5)).at, position(5));
}

TEST_F(ReceiveStartTest, after_a_promotion_the_old_timeline_is_received_to_its_end) {  // T24
  store_segments(1, 2, 4, wal_);
  pg::TimelineHistory two = one_.branch({2}, position(6, 100), "promoted");
  store_history(two);
  StreamStart next = start(two, position(7, 5), position(7));
  EXPECT_EQ(next.at, position(5));
  EXPECT_EQ(next.timeline, Timeline{1});
  // The old server's own copy of the segment with the fork is another branch.
  store_segments(1, 5, 7, wal_);
  next = start(two, position(7, 5));
  EXPECT_EQ(next.at, position(6));
  EXPECT_EQ(next.timeline, Timeline{1});
  store_segments(2, 6, 6, wal_);
  next = start(two, position(7, 5));
  EXPECT_EQ(next.at, position(7));
  EXPECT_EQ(next.timeline, Timeline{2});
}

TEST_F(ReceiveStartTest, past_a_hole_the_slot_comes_first) {
  const SegmentSize size{kSegment};
  EXPECT_EQ(start_past_hole(one_, size, position(2), position(7, 5), position(5, 3)).at, position(5));
  EXPECT_EQ(start_past_hole(one_, size, position(2), position(7, 5), {}).at, position(7));
  EXPECT_EQ(start_past_hole(one_, size, position(7), position(7, 5), position(5)).at, position(7));
}

TEST_F(ReceiveStartTest, a_branch_behind_the_server_is_seen) {  // T25
  store_segments(1, 2, 4, wal_);
  EXPECT_EQ(branch_behind(stored(), {1}, position(7)), std::nullopt);
  store_history(one_.branch({2}, position(5, 100), "promoted"));
  EXPECT_EQ(branch_behind(stored(), {1}, position(7)), std::nullopt) << "it has no WAL";
  store_segments(2, 5, 5, wal_);
  EXPECT_EQ(branch_behind(stored(), {1}, position(7)), Timeline{2});
  EXPECT_EQ(branch_behind(stored(), {1}, position(5)), std::nullopt);
}

TEST(SlotNameTest, it_is_made_of_the_clusters_name) {
  EXPECT_EQ(default_slot_name("main"), "lifeboat_main");
  EXPECT_EQ(default_slot_name("my-db"), "lifeboat_my_db");
}

}  // namespace
}  // namespace lifeboat::ops
