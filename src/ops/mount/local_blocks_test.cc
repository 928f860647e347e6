#include "ops/mount/local_blocks.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

constexpr uint32_t kBlock = 8192;

TEST(LocalBlocksTest, everything_is_missing_at_first) {
  LocalBlocks blocks(kBlock, 130);
  EXPECT_EQ(blocks.missing(), 130u);
  EXPECT_EQ(blocks.first_missing(0, 1000), (BlockRange{0, 130}));
  EXPECT_EQ(blocks.first_missing(64, 66), (BlockRange{64, 66}));
  EXPECT_FALSE(blocks.is_missing(130));
}

TEST(LocalBlocksTest, runs_end_where_local_blocks_begin) {
  LocalBlocks blocks(kBlock, 200);
  blocks.set_local(0, 64);
  blocks.set_local(70, 128);
  EXPECT_EQ(blocks.first_missing(0, 200), (BlockRange{64, 70}));
  EXPECT_EQ(blocks.first_missing(70, 200), (BlockRange{128, 200}));
  EXPECT_FALSE(blocks.first_missing(70, 128));
  EXPECT_EQ(blocks.missing(), 200u - 64 - 58);
  blocks.set_local(60, 75);  // counted once
  EXPECT_EQ(blocks.missing(), 200u - 128);
}

TEST(LocalBlocksTest, what_is_past_the_limit_is_the_files_own) {
  LocalBlocks blocks(kBlock, 10);
  blocks.set_local(5, 1000);
  EXPECT_EQ(blocks.missing(), 5u);
  blocks.lower_limit(3);
  EXPECT_EQ(blocks.missing(), 3u);
  EXPECT_FALSE(blocks.is_missing(4));
  blocks.lower_limit(8);  // never rises
  EXPECT_EQ(blocks.limit(), 3u);
  EXPECT_FALSE(blocks.is_missing(4));
}

TEST(LocalBlocksTest, a_block_is_local_only_if_all_of_it_is_data) {  // T48
  LocalBlocks blocks(kBlock, 10);
  blocks.add_data(4096, 3 * kBlock + 4096, 10 * kBlock);
  EXPECT_TRUE(blocks.is_missing(0));
  EXPECT_FALSE(blocks.is_missing(1));
  EXPECT_FALSE(blocks.is_missing(2));
  EXPECT_TRUE(blocks.is_missing(3));
  blocks.add_data(3 * kBlock, 3 * kBlock + 4096, 10 * kBlock);
  EXPECT_TRUE(blocks.is_missing(3));
}

TEST(LocalBlocksTest, the_last_block_ends_with_the_file) {
  const uint64_t size = 9 * kBlock + 100;
  LocalBlocks blocks(kBlock, 10);
  blocks.add_data(9 * kBlock, 9 * kBlock + 100, size);
  EXPECT_FALSE(blocks.is_missing(9));
  EXPECT_EQ(blocks.missing(), 9u);
}

TEST(LocalBlocksTest, partial_writes_touch_more_than_they_cover) {
  LocalBlocks blocks(kBlock, 10);
  EXPECT_EQ(blocks.touched(100, 8192), (BlockRange{0, 2}));
  EXPECT_EQ(blocks.covered(100, 8192, 10 * kBlock), (BlockRange{1, 1}));
  EXPECT_EQ(blocks.touched(8192, 16384), (BlockRange{1, 3}));
  EXPECT_EQ(blocks.covered(8192, 16384, 10 * kBlock), (BlockRange{1, 3}));
  EXPECT_EQ(blocks.touched(8192, 0), (BlockRange{1, 1}));
  EXPECT_EQ(blocks.covered(100, 50, 10 * kBlock), (BlockRange{1, 1}));
}

TEST(LocalBlocksTest, an_empty_file_has_nothing_missing) {
  LocalBlocks blocks(kBlock, 0);
  EXPECT_EQ(blocks.missing(), 0u);
  EXPECT_FALSE(blocks.first_missing(0, 10));
  blocks.set_local(0, 10);
  blocks.lower_limit(0);
}

}  // namespace
}  // namespace lifeboat::ops
