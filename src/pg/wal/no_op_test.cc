#include "pg/wal/no_op.h"

#include <gtest/gtest.h>

#include <vector>

#include "pg/wal/wal_reader.h"
#include "tests/support/wal_builder.h"

namespace lifeboat::pg {
namespace {

struct Seen : WalSink {
  void record(const WalRecord& record) override {
    records.push_back(record);
    raw.emplace_back(record.bytes.begin(), record.bytes.end());
  }
  void damage(const WalDamage& found) override { damages.push_back(found); }
  std::vector<WalRecord> records;  // their views are void
  std::vector<Bytes> raw;
  std::vector<WalDamage> damages;
};

Seen read(const testing::WalBuilder& wal) {
  Seen seen;
  WalReader reader({.version = find_version(15), .segment_size = {1 << 20}}, seen);
  reader.feed({1 << 20}, wal.padded());
  return seen;
}

// Every length where the form of the main data changes, and some that cross pages.
TEST(NoOp, takes_the_place_of_a_record_of_any_length) {
  for (size_t data : {0, 1, 2, 100, 253, 254, 255, 256, 257, 258, 259, 260, 3000, 9000, 20000}) {
    testing::WalBuilder wal(15, {1 << 20});
    wal.add(testing::filler(40));
    const Lsn lsn =
        wal.add({.rmgr = 10, .info = 0x12, .xid = 4711, .body = testing::main_data(Bytes(data, 'x'))});
    const Lsn next = wal.add(testing::filler(40));
    const Seen before = read(wal);
    ASSERT_EQ(before.records.size(), 3u);

    testing::WalBuilder changed(15, {1 << 20});
    changed.add(testing::filler(40));
    const NoOp made = no_op_in_place_of(before.raw[1]);
    Bytes raw = before.raw[1];
    std::ranges::copy(made.view(), raw.begin());
    EXPECT_EQ(changed.add_raw(raw), lsn);
    EXPECT_EQ(changed.add(testing::filler(40)), next);
    const Seen after = read(changed);
    EXPECT_TRUE(after.damages.size() <= 1) << data;  // the end
    ASSERT_EQ(after.records.size(), 3u) << data;
    const WalRecord& record = after.records[1];
    EXPECT_EQ(record.rmgr, Rmgr::xlog);
    EXPECT_EQ(record.info, 0x20);
    EXPECT_EQ(record.lsn, lsn);
    EXPECT_EQ(record.prev, before.records[1].prev);
    EXPECT_EQ(record.xid, 4711u);
    EXPECT_EQ(record.total_length, before.records[1].total_length);
    EXPECT_TRUE(record.blocks.empty());
    EXPECT_EQ(after.raw[2], before.raw[2]);
  }
}

}  // namespace
}  // namespace lifeboat::pg
