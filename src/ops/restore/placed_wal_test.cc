#include "ops/restore/placed_wal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr SegmentSize kSize{64 << 20};
constexpr size_t kMost = 4;  // of that size

class PlacedWalTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_dirs(scratch_ / "data/pg_wal"));
    ASSERT_TRUE(create_dirs(scratch_ / "placed"));
  }
  static SegmentName segment(uint64_t index) {
    return SegmentName::containing(Timeline{1}, Lsn{index * kSize.bytes}, kSize);
  }
  // Large ones, of which few may be there.
  Status put(uint64_t index) {
    Bytes content(kSize.bytes);
    content[0] = static_cast<uint8_t>(index);
    return placed_.put(segment(index), content);
  }
  std::string path(uint64_t index) { return scratch_ / "data/pg_wal/" + segment(index).to_string(); }
  bool is_marked(uint64_t index) { return *path_exists(scratch_ / "placed/" + segment(index).to_string()); }
  int first_byte(uint64_t index) {
    auto fd = open_file(path(index), O_RDONLY);
    Bytes byte(1);
    return fd && pread_some(fd->get(), 0, byte, "") ? byte[0] : -1;
  }

  TempDir scratch_ = *TempDir::make();
  PlacedWal placed_{scratch_ / "data",
                    scratch_ / "placed",
                    {"", getuid(), getgid()},
                    PlacedSegments::written_over,
                    kSize,
                    Lsn{0}};
};

TEST_F(PlacedWalTest, is_there_whole_and_a_bounded_way_ahead) {
  for (uint64_t i = 1; i <= kMost; ++i) ASSERT_TRUE(put(i));
  EXPECT_EQ(first_byte(kMost), static_cast<int>(kMost));
  EXPECT_TRUE(is_marked(1));
  std::atomic<bool> done{false};
  std::thread more([&] {
    EXPECT_TRUE(put(kMost + 1));
    done = true;
  });
  Clock::system().sleep_us(50'000);
  EXPECT_FALSE(done);
  // The one before may still be read.
  placed_.replaying(segment(2));
  Clock::system().sleep_us(20'000);
  EXPECT_FALSE(done);
  placed_.replaying(segment(3));
  more.join();
  // The room of what is done with is used again, and it is not taken for what it was.
  EXPECT_EQ(first_byte(kMost + 1), static_cast<int>(kMost + 1));
  EXPECT_EQ(first_byte(1), -1);
  EXPECT_FALSE(is_marked(1));
  EXPECT_EQ(first_byte(2), 2);
}

// A server that waits for the next one has done with all before, and one that took a file away does no harm.
TEST_F(PlacedWalTest, goes_on_when_the_server_waits_for_what_is_not_there_yet) {
  for (uint64_t i = 1; i <= kMost; ++i) ASSERT_TRUE(put(i));
  placed_.replaying(segment(kMost + 1));
  ASSERT_TRUE(remove_file(path(1)));
  for (uint64_t i = kMost + 1; i < 2 * kMost; ++i) ASSERT_TRUE(put(i));
  EXPECT_EQ(first_byte(kMost + 1), static_cast<int>(kMost + 1));
  EXPECT_TRUE(is_marked(2 * kMost - 1));
}

// The checkpoint's segment is read first, and then those before it.
TEST_F(PlacedWalTest, nothing_goes_away_before_the_checkpoint_is_behind) {
  PlacedWal placed(scratch_ / "data", scratch_ / "placed", {"", getuid(), getgid()},
                   PlacedSegments::written_over, kSize, segment(6).start(kSize));
  Bytes content(kSize.bytes);
  for (uint64_t i = 1; i <= 7; ++i) {
    content[0] = static_cast<uint8_t>(i);
    ASSERT_TRUE(placed.put(segment(i), content));
    placed.replaying(segment(6));
  }
  EXPECT_EQ(first_byte(1), 1);
  placed.replaying(segment(1));
  placed.replaying(segment(8));
  ASSERT_TRUE(placed.put(segment(8), content));
  EXPECT_EQ(first_byte(1), -1);
}

TEST_F(PlacedWalTest, what_is_kept_stays_when_it_was_replayed) {
  PlacedWal placed(scratch_ / "data", scratch_ / "placed", {"", getuid(), getgid()}, PlacedSegments::kept,
                   kSize, Lsn{0});
  Bytes content(kSize.bytes);
  for (uint64_t i = 1; i <= 2 * kMost; ++i) {
    content[0] = static_cast<uint8_t>(i);
    ASSERT_TRUE(placed.put(segment(i), content));
    placed.replaying(segment(i));
  }
  for (uint64_t i = 1; i <= 2 * kMost; ++i) EXPECT_EQ(first_byte(i), static_cast<int>(i));
}

TEST_F(PlacedWalTest, ended_it_puts_nothing_and_waits_for_nobody) {
  for (uint64_t i = 1; i <= kMost; ++i) ASSERT_TRUE(put(i));
  std::thread more([&] { EXPECT_TRUE(put(kMost + 1)); });
  placed_.end();
  more.join();
  EXPECT_EQ(first_byte(kMost + 1), -1);
}

}  // namespace
}  // namespace lifeboat::ops
