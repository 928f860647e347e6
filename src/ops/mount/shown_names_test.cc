#include "ops/mount/shown_names.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

constexpr auto kData = TreeKind::data_directory;
constexpr auto kTablespace = TreeKind::tablespace;

TEST(ShownNamesTest, pg_control_has_another_name_below) {
  EXPECT_EQ(real_name(kData, "global", "pg_control"), "pg_control.lifeboat_restore");
  EXPECT_EQ(shown_name(kData, "global", "pg_control.lifeboat_restore"), "pg_control");
  EXPECT_FALSE(real_name(kData, "global", "pg_control.lifeboat_restore"));
  EXPECT_FALSE(shown_name(kData, "global", "pg_control"));
  EXPECT_EQ(real_name(kData, "base", "pg_control"), "pg_control");
}

TEST(ShownNamesTest, so_has_the_version_directory_of_a_tablespace) {
  EXPECT_EQ(real_name(kTablespace, "", "PG_15_202209061"), "PG_15_202209061.lifeboat_restore");
  EXPECT_EQ(shown_name(kTablespace, "", "PG_15_202209061.lifeboat_restore"), "PG_15_202209061");
  EXPECT_FALSE(shown_name(kTablespace, "", "PG_15_202209061"));
  EXPECT_EQ(real_name(kTablespace, "PG_15_202209061", "5"), "5");
  EXPECT_EQ(real_name(kData, "", "PG_VERSION"), "PG_VERSION");
}

TEST(ShownNamesTest, what_is_ours_is_not_shown) {
  EXPECT_FALSE(real_name(kData, "", "lifeboat.mount"));
  EXPECT_FALSE(shown_name(kData, "", "lifeboat.mount"));
  EXPECT_FALSE(shown_name(kData, "", "lifeboat.restore_incomplete"));
  EXPECT_EQ(shown_name(kData, "base", "lifeboat.mount"), "lifeboat.mount");
}

}  // namespace
}  // namespace lifeboat::ops
