#include "ops/wal/wal_filter.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/support/wal_fixture.h"

namespace lifeboat::ops {
namespace {

using testing::kSegment;
using testing::name_of;
using testing::Wal;

struct Records : pg::WalSink {
  void record(const pg::WalRecord& record) override {
    found[record.lsn] = Bytes(record.bytes.begin(), record.bytes.end());
  }
  void damage(const pg::WalDamage&) override {}
  std::map<Lsn, Bytes> found;
};

std::map<Lsn, Bytes> records_of(const std::vector<Bytes>& segments) {
  Records records;
  pg::WalReader reader({.version = pg::find_version(testing::kMajor), .segment_size = {kSegment}}, records);
  for (size_t i = 0; i < segments.size(); ++i) reader.feed({(i + 1) * uint64_t{kSegment}}, segments[i]);
  return records.found;
}

bool is_no_op(const Bytes& record) {
  return record[16] == 0x20 && record[17] == 0;
}

class WalFilterTest : public testing::WalFixture {
 protected:
  // The segments from the first on, up to where a record begins at `to` or behind it.
  Status filter(Lsn to, const WalFilter::Needless& needless, const WalFilter::Place& place) {
    TRY_ASSIGN(WalHistory history, WalHistory::load(lineage()));
    const WalPath path = history.path({1}, {kSegment});
    WalFilter made({kSegment}, needless, place);
    ScanOptions options;
    options.tap = &made;
    Status passed;
    auto visit = [&](const pg::WalRecord& record) {
      passed = made.pass(record.lsn);
      return passed ? ScanNext::more : ScanNext::stop;
    };
    TRY(scan_wal(lineage(), path, {kSegment}, to, visit, options));
    TRY(passed);
    return made.finish();
  }
  Wal wal_;
};

// Records of any size, some of which go through pages and segments.
TEST_F(WalFilterTest, what_is_needless_does_nothing_and_the_rest_stays_as_it_was) {
  std::mt19937_64 random(20261130);
  uint32_t xid = 0;
  while (wal_.last_index() < 9) {
    const size_t kind = random() % 100;
    const size_t size = kind == 0 ? random() % (3 * kSegment) : kind < 20 ? random() % 20000 : random() % 400;
    auto record = pg::testing::filler(size);
    record.xid = ++xid;
    wal_.builder().add(record);
  }
  store_segments(1, 1, wal_.last_index(), wal_);
  auto needless = [](const pg::WalRecord& record) { return record.xid % 3 == 0; };
  std::vector<Bytes> placed;
  ASSERT_TRUE(filter({}, needless, [&](const SegmentName& name, ByteView content) -> Status {
    EXPECT_EQ(name, name_of(1, placed.size() + 1));
    placed.emplace_back(content.begin(), content.end());
    return {};
  }));
  std::vector<Bytes> stored;
  for (uint64_t index = 1; index <= wal_.last_index(); ++index) stored.push_back(wal_.segment(index));
  ASSERT_EQ(placed.size(), stored.size());
  const auto before = records_of(stored);
  const auto after = records_of(placed);
  ASSERT_GT(before.size(), 500u);
  ASSERT_EQ(after.size(), before.size());
  for (const auto& [lsn, record] : before) {
    ASSERT_TRUE(after.contains(lsn)) << lsn.to_string();
    const bool wanted = load_le<uint32_t>(record.data() + 4) % 3 != 0;
    EXPECT_EQ(after.at(lsn) == record, wanted) << lsn.to_string();
    EXPECT_EQ(is_no_op(after.at(lsn)), !wanted) << lsn.to_string();
  }
}

// PostgreSQL looks at the record behind a target to know that it is one.
TEST_F(WalFilterTest, the_record_behind_the_end_is_there_and_nothing_behind_it_is_needed) {
  wal_.fill(100);
  const Lsn target = wal_.fill(100);
  wal_.fill(kSegment);  // ends in the next segment
  wal_.fill(3 * kSegment);
  store_segments(1, 1, wal_.last_index(), wal_);
  std::vector<Bytes> placed;
  ASSERT_TRUE(filter(
      target + 1, [](const pg::WalRecord&) { return false; },
      [&](const SegmentName&, ByteView content) -> Status {
        placed.emplace_back(content.begin(), content.end());
        return {};
      }));
  EXPECT_EQ(placed.size(), 2u);
  EXPECT_EQ(records_of(placed).size(), 3u);
}

TEST_F(WalFilterTest, what_cannot_be_handed_on_ends_the_scan) {
  wal_.fill(5 * kSegment);
  store_segments(1, 1, wal_.last_index(), wal_);
  auto ended = filter(
      {}, [](const pg::WalRecord&) { return false; },
      [](const SegmentName&, ByteView) -> Status {
        return make_error(ErrorKind::space, "pg_wal", "is full");
      });
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::space);
}

// It is dropped from within the scan, which reads the memory of the filter.
TEST_F(WalFilterTest, what_is_dropped_is_read_to_its_end_and_not_handed_on) {
  while (wal_.last_index() < 6) wal_.fill(300);
  store_segments(1, 1, wal_.last_index(), wal_);
  std::vector<Bytes> stored;
  for (uint64_t index = 1; index <= wal_.last_index(); ++index) stored.push_back(wal_.segment(index));
  auto history = WalHistory::load(lineage());
  ASSERT_TRUE(history);
  const WalPath path = history->path({1}, {kSegment});
  size_t placed = 0;
  WalFilter made(
      {kSegment}, [](const pg::WalRecord&) { return true; },
      [&](const SegmentName&, ByteView) -> Status {
        ++placed;
        return {};
      });
  ScanOptions options;
  options.tap = &made;
  std::map<Lsn, Bytes> seen;
  auto visit = [&](const pg::WalRecord& record) {
    seen[record.lsn] = Bytes(record.bytes.begin(), record.bytes.end());
    EXPECT_TRUE(made.pass(record.lsn));
    if (seen.size() == 100) made.drop();
    return ScanNext::more;
  };
  ASSERT_TRUE(scan_wal(lineage(), path, {kSegment}, {}, visit, options));
  const size_t before = placed;
  EXPECT_TRUE(made.finish());
  EXPECT_EQ(placed, before);
  EXPECT_LT(placed, stored.size() - 1);
  EXPECT_EQ(seen, records_of(stored));
}

TEST_F(WalFilterTest, memory_is_bounded) {
  wal_.fill(100);
  wal_.fill(10 * kSegment);
  wal_.fill(100);
  store_segments(1, 1, wal_.last_index(), wal_);
  auto ended = filter(
      {}, [](const pg::WalRecord&) { return false; },
      [](const SegmentName&, ByteView) -> Status { return {}; });
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::unsupported);
}

}  // namespace
}  // namespace lifeboat::ops
