#include "ops/heal/amcheck.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

using Blocks = std::vector<uint32_t>;

// Messages of contrib/amcheck/verify_nbtree.c.
TEST(AmcheckMessages, name_blocks_of_the_index_and_not_of_the_table) {
  EXPECT_EQ(
      index_blocks_in("item order invariant violated for index \"t_pkey\"; Lower index tid=(3,2) "
                      "(points to heap tid=(9,5)) higher index tid=(3,3) (points to heap tid=(8,6)) page "
                      "lsn=0/1A2B3C. (XX002)"),
      Blocks{3});
  EXPECT_EQ(
      index_blocks_in("high key invariant violated for index \"t_pkey\"; Index tid=(2,9) points to heap "
                      "tid=(4,1) page lsn=0/1A2B3C. (XX002)"),
      Blocks{2});
  EXPECT_EQ(index_blocks_in("left link/right link pair in index \"t_pkey\" not in agreement; Block=4 left "
                            "block=2 left link from block=7. (XX002)"),
            (Blocks{2, 4, 7}));
  EXPECT_EQ(index_blocks_in("internal index block 12 lacks high key and/or at least one downlink"),
            Blocks{12});
  EXPECT_EQ(index_blocks_in("heap tuple (0,1) from table \"t\" lacks matching index tuple within index "
                            "\"t_pkey\" (XX002)"),
            Blocks{});
}

TEST(AmcheckMessages, name_the_page_that_cannot_be_read) {
  const auto old = invalid_page_in("invalid page in block 3 of relation base/5/16384 (XX001)");
  ASSERT_TRUE(old);
  EXPECT_EQ(old->file, "base/5/16384");
  EXPECT_EQ(old->block, 3u);
  const auto quoted =
      invalid_page_in("invalid page in block 70 of relation \"pg_tblspc/1/PG_18_202506291/5/16384\" (XX001)");
  ASSERT_TRUE(quoted);
  EXPECT_EQ(quoted->file, "pg_tblspc/1/PG_18_202506291/5/16384");
  EXPECT_EQ(quoted->block, 70u);
  EXPECT_FALSE(invalid_page_in("invalid page in block x of relation base/5/16384"));
  EXPECT_FALSE(invalid_page_in("heap tuple (0,1) lacks matching index tuple"));
}

}  // namespace
}  // namespace lifeboat::ops
