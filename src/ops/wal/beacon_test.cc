#include "ops/wal/beacon.h"

#include <gtest/gtest.h>

#include "tests/support/wal_fixture.h"

namespace lifeboat::ops {
namespace {

TEST(beacon, what_is_written_is_read) {
  Beacon beacon{{1'795'000'000'123'456}, "shop"};
  EXPECT_EQ(decode_beacon(encode_beacon(beacon)), beacon);
}

TEST(beacon, a_later_form_may_add_fields) {
  auto beacon = decode_beacon("beacon 1 1795000000000000 main something");
  ASSERT_TRUE(beacon);
  EXPECT_EQ(beacon->cluster, "main");
}

TEST(beacon, other_messages_are_no_beacons) {
  for (std::string_view content :
       {"", "beacon", "beacon 1 ", "beacon 1 x main", "beacon 1 17", "beacon 1 17 ", "beacon 1 -5 main",
        "beacon 2 17 main", "check 1 abcdef"}) {
    EXPECT_FALSE(decode_beacon(content)) << content;
  }
}

class NewestBeacon : public testing::WalFixture {
 protected:
  static void message(testing::Wal& wal, uint32_t xid, std::string_view prefix, std::string_view content) {
    Bytes data;
    ByteWriter out(data);
    out.u32(5);
    out.u32(1);  // transactional, and padding
    out.u64(prefix.size() + 1);
    out.u64(content.size());
    out.bytes(as_bytes(prefix));
    out.u8(0);
    out.bytes(as_bytes(content));
    wal.builder().add({.rmgr = 21, .info = 0, .xid = xid, .body = pg::testing::main_data(data)});
  }

  std::optional<FoundBeacon> find(const testing::Wal& wal, Lsn to = {}) {
    store_segments(1, 1, wal.last_index(), wal);
    auto history = WalHistory::load(lineage());
    EXPECT_TRUE(history);
    Lsn from{testing::kSegment};
    auto found = newest_beacon(lineage(), history->path({1}, from), from, to, "main");
    EXPECT_TRUE(found) << found.error().to_string();
    return *found;
  }
};

TEST_F(NewestBeacon, is_the_last_one_that_was_committed) {
  testing::Wal wal;
  message(wal, 701, kMessagePrefix, encode_beacon({testing::at(1), "main"}));
  wal.commit(701, testing::at(1));
  message(wal, 702, kMessagePrefix, encode_beacon({testing::at(2), "main"}));
  Lsn commit = wal.commit(702, testing::at(2));
  message(wal, 703, kMessagePrefix, encode_beacon({testing::at(3), "main"}));
  wal.abort(703, testing::at(3));
  message(wal, 704, kMessagePrefix, encode_beacon({testing::at(4), "another"}));
  wal.commit(704, testing::at(4));
  message(wal, 705, "other", encode_beacon({testing::at(5), "main"}));
  wal.commit(705, testing::at(5));
  message(wal, 706, kMessagePrefix, encode_beacon({testing::at(6), "main"}));
  wal.end_segment();
  auto found = find(wal);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->beacon.time, testing::at(2));
  EXPECT_EQ(found->commit, commit);
  auto before = find(wal, commit);
  ASSERT_TRUE(before);
  EXPECT_EQ(before->beacon.time, testing::at(1));
}

TEST_F(NewestBeacon, is_found_from_the_end_too) {
  testing::Wal wal;
  message(wal, 701, kMessagePrefix, encode_beacon({testing::at(1), "main"}));
  wal.commit(701, testing::at(1));
  wal.end_segment();
  message(wal, 702, kMessagePrefix, encode_beacon({testing::at(2), "main"}));
  Lsn commit = wal.commit(702, testing::at(2));
  wal.end_segment();
  wal.commit(703, testing::at(3));
  wal.end_segment();
  store_segments(1, 1, wal.last_index(), wal);
  auto history = WalHistory::load(lineage());
  ASSERT_TRUE(history);
  const Lsn from{testing::kSegment};
  const WalPath path = history->path({1}, from);
  auto newest = last_beacon(lineage(), path, from, path.end, "main");
  ASSERT_TRUE(newest) << newest.error().to_string();
  ASSERT_TRUE(*newest);
  EXPECT_EQ((*newest)->commit, commit);
  auto older = last_beacon(lineage(), path, from, commit, "main");
  ASSERT_TRUE(older && *older);
  EXPECT_EQ((*older)->beacon.time, testing::at(1));
  auto other = last_beacon(lineage(), path, from, path.end, "shop");
  ASSERT_TRUE(other);
  EXPECT_FALSE(*other);
}

TEST_F(NewestBeacon, is_none_where_none_was_written) {
  testing::Wal wal;
  wal.commit(701, testing::at(1));
  wal.end_segment();
  EXPECT_FALSE(find(wal));
}

}  // namespace
}  // namespace lifeboat::ops
