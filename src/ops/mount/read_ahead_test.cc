#include "ops/mount/read_ahead.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

constexpr uint64_t kRequest = 128 << 10;

TEST(ReadAheadTest, one_read_fetches_nothing_more) {
  ReadAhead ahead;
  EXPECT_FALSE(ahead.observe(0, kRequest));
}

TEST(ReadAheadTest, random_reads_fetch_nothing_more) {
  ReadAhead ahead;
  for (uint64_t at : {500ull << 20, 3ull << 20, 100ull << 20, 64ull << 20, 900ull << 20}) {
    EXPECT_FALSE(ahead.observe(at, 8192)) << at;
  }
}

TEST(ReadAheadTest, reading_on_asks_for_all_that_follows_without_a_gap) {
  ReadAhead ahead;
  uint64_t covered = 0;
  uint64_t begun = 0;
  for (uint64_t at = 0; at < (64ull << 20); at += kRequest) {
    if (auto range = ahead.observe(at, kRequest)) {
      if (begun == 0) begun = range->begin;
      if (covered != 0) {
        EXPECT_EQ(range->begin, covered);
      }
      EXPECT_GE(range->begin, at + kRequest);
      covered = range->end;
    }
    if (at >= (16ull << 20)) {
      EXPECT_GE(covered, at + kRequest + ReadAhead::kMost / 4) << "16 frames are under way";
      EXPECT_LE(covered, at + kRequest + ReadAhead::kMost);
    }
  }
  EXPECT_LE(begun, 4 * kRequest);
}

TEST(ReadAheadTest, requests_out_of_order_do_not_end_it) {
  ReadAhead ahead;
  ahead.observe(0, kRequest);
  ahead.observe(kRequest, kRequest);
  ahead.observe(3 * kRequest, kRequest);
  EXPECT_FALSE(ahead.observe(2 * kRequest, kRequest)) << "late, but near";
  bool asked = false;
  for (uint64_t i = 4; i < 12; ++i) asked = ahead.observe(i * kRequest, kRequest).has_value() || asked;
  EXPECT_TRUE(asked);
}

TEST(ReadAheadTest, a_jump_ends_it) {
  ReadAhead ahead;
  for (uint64_t i = 0; i < 64; ++i) ahead.observe(i * kRequest, kRequest);
  EXPECT_FALSE(ahead.observe(900ull << 20, 8192));
  EXPECT_FALSE(ahead.observe(3ull << 20, 8192));
}

}  // namespace
}  // namespace lifeboat::ops
