#include "util/nearest.h"

#include <gtest/gtest.h>

namespace lifeboat {
namespace {

TEST(Nearest, knows_slips_and_beginnings) {
  std::vector<std::string_view> known = {"backup", "restore", "verify", "target-time"};
  EXPECT_EQ(nearest("bakcup", known), "backup");
  EXPECT_EQ(nearest("restor", known), "restore");
  EXPECT_EQ(nearest("targettime", known), "target-time");
  EXPECT_EQ(nearest("ver", known), "verify");
  EXPECT_EQ(nearest("frobnicate", known), "");
  EXPECT_EQ(nearest("", known), "");
}

}  // namespace
}  // namespace lifeboat
