#include "ops/mount/fresh_pieces.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

TEST(FreshPieces, what_lies_side_by_side_is_copied_whole_and_nothing_else_at_all) {
  FreshPieces fresh;
  fresh.add(1, 100, Bytes(50, 'b'));
  fresh.add(1, 0, Bytes(100, 'a'));
  Bytes out(60);
  ASSERT_TRUE(fresh.copy(1, 70, out));
  EXPECT_EQ(std::string(out.begin(), out.end()), std::string(30, 'a') + std::string(30, 'b'));
  EXPECT_FALSE(fresh.copy(1, 100, out));  // ends before
  EXPECT_FALSE(fresh.copy(1, 150, MutableBytes(out).first(1)));
  EXPECT_FALSE(fresh.copy(2, 70, out));
}

TEST(FreshPieces, the_oldest_go_first_and_a_change_takes_all_of_a_file) {
  FreshPieces fresh;
  const uint64_t size = FreshPieces::kMost / 4;
  for (uint64_t i = 0; i < 5; ++i) fresh.add(i % 2, i * size, Bytes(size, static_cast<uint8_t>(i)));
  Bytes out(10);
  EXPECT_FALSE(fresh.copy(0, 0, out));
  ASSERT_TRUE(fresh.copy(0, 4 * size, out));
  EXPECT_EQ(out[0], 4);
  fresh.forget(0);
  EXPECT_FALSE(fresh.copy(0, 4 * size, out));
  EXPECT_TRUE(fresh.copy(1, 3 * size, out));
  // What was forgotten makes room.
  for (uint64_t i = 0; i < 2; ++i) fresh.add(3, i * size, Bytes(size, 9));
  EXPECT_TRUE(fresh.copy(1, 3 * size, out));
}

}  // namespace
}  // namespace lifeboat::ops
