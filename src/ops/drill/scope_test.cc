#include "ops/drill/scope.h"

#include <gtest/gtest.h>

#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr int64_t kDayUs = 86'400'000'000;

TEST(DrillScope, every_table_has_its_turn_once_in_the_rotation) {
  std::vector<int> sizes;
  for (int day = 0; day < 7; ++day) {
    DrillScope scope = DrillScope::of(7, {20'000 * kDayUs + day * kDayUs + 5});
    int here = 0;
    for (int i = 0; i < 1000; ++i) here += scope.has("shop", "public", cat("t", i)) ? 1 : 0;
    sizes.push_back(here);
  }
  int sum = 0;
  for (int size : sizes) {
    EXPECT_GT(size, 80);
    sum += size;
  }
  EXPECT_EQ(sum, 1000);
}

TEST(DrillScope, a_week_later_it_is_the_same_part) {
  EXPECT_EQ(DrillScope::of(7, {20'001 * kDayUs}), DrillScope::of(7, {20'008 * kDayUs + 17}));
  EXPECT_NE(DrillScope::of(7, {20'001 * kDayUs}), DrillScope::of(7, {20'002 * kDayUs}));
}

TEST(DrillScope, one_day_is_everything) {
  EXPECT_TRUE(DrillScope::of(1, {5}).all());
  EXPECT_TRUE(DrillScope::of(1, {5}).has("a", "b", "c"));
  EXPECT_EQ(DrillScope::of(1, {5}).to_string(), "everything");
}

}  // namespace
}  // namespace lifeboat::ops
