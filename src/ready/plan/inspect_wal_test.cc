#include "ready/plan/inspect_wal.h"

#include <gtest/gtest.h>

#include "storage/memory/memory_store.h"
#include "tests/support/wal_fixture.h"

namespace lifeboat::ready {
namespace {

using ops::testing::at;
using ops::testing::kSegment;
using ops::testing::name_of;

constexpr double kDay = 86'400;

// The store's clock, turned by the test.
class TurnedClock : public Clock {
 public:
  Timestamp now = at(0);
  int64_t unix_us() override { return now.unix_us; }
  int64_t monotonic_us() override { return now.unix_us; }
  void sleep_us(int64_t us) override { now = now.plus_us(us); }
};

class StoredWalTest : public ops::testing::WalFixture {
 protected:
  void SetUp() override { make_repository(std::make_unique<storage::MemoryStore>(clock_)); }

  // One segment, each with other content, stored at that moment.
  void store(uint32_t timeline, uint64_t index, Timestamp when) {
    clock_.now = when;
    Bytes content(kSegment);
    content[0] = static_cast<uint8_t>(index);
    store_file(name_of(timeline, index).to_string(), content);
  }
  StoredWal look(Timestamp now, const std::optional<ServerWal>& server = std::nullopt) {
    auto wal = read_stored_wal(lineage(), {}, server, now);
    EXPECT_TRUE(wal) << wal.error().to_string();
    return std::move(*wal);
  }
  static ServerWal server_at(uint64_t index, Timestamp time) {
    ServerWal server;
    server.system_id = ops::testing::test_lineage().system_id;
    server.timeline = {1};
    server.lsn = {index * kSegment};
    server.time = time;
    return server;
  }

 private:
  TurnedClock clock_;
};

TEST_F(StoredWalTest, of_the_last_week_tells_the_rate_and_what_it_takes) {
  store(1, 1, at(0));  // too old to count
  for (uint64_t index = 2; index <= 6; ++index) store(1, index, at(static_cast<double>(index) * 2 * kDay));
  const StoredWal wal = look(at(12 * kDay + 60));
  ASSERT_TRUE(wal.evidence);
  EXPECT_DOUBLE_EQ(wal.evidence->bytes, 3.0 * kSegment) << "segments 4 to 6, since 3 was stored on day 6";
  EXPECT_NEAR(wal.evidence->seconds, 6 * kDay, 1);
  ASSERT_TRUE(wal.stored_bytes_per_day);
  EXPECT_LT(*wal.stored_bytes_per_day, kSegment / 2.0) << "zeros take next to nothing";
}

TEST_F(StoredWalTest, goes_on_to_where_the_server_writes_although_nothing_arrives) {
  store(1, 2, at(0));
  store(1, 3, at(kDay));
  const StoredWal wal = look(at(2 * kDay), server_at(9, at(2 * kDay)));
  ASSERT_TRUE(wal.evidence);
  EXPECT_DOUBLE_EQ(wal.evidence->bytes, 6.0 * kSegment);
  EXPECT_NEAR(wal.evidence->seconds, 2 * kDay, 1);
  ServerWal other = server_at(9, at(2 * kDay));
  other.system_id.value += 1;
  EXPECT_DOUBLE_EQ(look(at(2 * kDay), other).evidence->bytes, 1.0 * kSegment) << "another cluster's position";
}

TEST_F(StoredWalTest, with_holes_that_retention_left_keeps_its_rate_and_not_its_size) {
  store(1, 2, at(0));
  store(1, 8, at(2 * kDay));
  const StoredWal wal = look(at(2 * kDay));
  EXPECT_DOUBLE_EQ(wal.evidence->bytes, 6.0 * kSegment);
  EXPECT_FALSE(wal.stored_bytes_per_day);
}

TEST_F(StoredWalTest, tells_how_long_storing_took_of_segments_that_are_still_there) {
  ServerWal server = server_at(6, at(100));
  for (uint64_t index = 2; index <= 5; ++index) {
    const double written = static_cast<double>(index) * 10;
    server.last_write[name_of(1, index).to_string()] = at(written);
    store(1, index, at(written + 2));
  }
  const StoredWal wal = look(at(100), server);
  ASSERT_TRUE(wal.archive_seconds);
  EXPECT_NEAR(*wal.archive_seconds, 2, 1e-3);
  EXPECT_FALSE(look(at(100)).archive_seconds);
}

TEST_F(StoredWalTest, of_an_empty_repository_says_nothing) {
  const StoredWal wal = look(at(0));
  EXPECT_FALSE(wal.evidence || wal.stored_bytes_per_day || wal.archive_seconds);
}

}  // namespace
}  // namespace lifeboat::ready
