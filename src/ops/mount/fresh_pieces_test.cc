#include "ops/mount/fresh_pieces.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

std::string text_of(const FreshParts& parts) {
  std::string text;
  for (ByteView view : parts.views) text.append(view.begin(), view.end());
  return text;
}

TEST(FreshPieces, what_lies_side_by_side_is_found_whole_and_nothing_else_at_all) {
  FreshPieces fresh;
  fresh.add(1, 100, Bytes(50, 'b'));
  fresh.add(1, 0, Bytes(100, 'a'));
  FreshParts parts;
  ASSERT_TRUE(fresh.find(1, 70, 60, parts));
  EXPECT_EQ(text_of(parts), std::string(30, 'a') + std::string(30, 'b'));
  EXPECT_FALSE(fresh.find(1, 100, 60, parts)) << "it ends before";
  EXPECT_TRUE(parts.views.empty());
  EXPECT_FALSE(fresh.find(1, 150, 1, parts));
  EXPECT_FALSE(fresh.find(2, 70, 60, parts));
}

TEST(FreshPieces, the_oldest_go_first_and_a_change_takes_all_of_a_file) {
  FreshPieces fresh;
  const uint64_t size = FreshPieces::kMost / 4;
  for (uint64_t i = 0; i < 5; ++i) fresh.add(i % 2, i * size, Bytes(size, static_cast<uint8_t>(i)));
  FreshParts parts;
  EXPECT_FALSE(fresh.find(0, 0, 10, parts));
  ASSERT_TRUE(fresh.find(0, 4 * size, 10, parts));
  fresh.forget(0);
  EXPECT_EQ(text_of(parts), std::string(10, 4)) << "who found it holds it";
  EXPECT_FALSE(fresh.find(0, 4 * size, 10, parts));
  EXPECT_TRUE(fresh.find(1, 3 * size, 10, parts));
  // What was forgotten makes room.
  for (uint64_t i = 0; i < 2; ++i) fresh.add(3, i * size, Bytes(size, 9));
  EXPECT_TRUE(fresh.find(1, 3 * size, 10, parts));
}

}  // namespace
}  // namespace lifeboat::ops
