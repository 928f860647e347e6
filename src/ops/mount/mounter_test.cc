#include "ops/mount/mounter.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

constexpr std::string_view kMountinfo =
    "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    "40 22 0:50 / /srv/copy rw,nosuid,nodev shared:7 - fuse.lifeboat lifeboat rw,user_id=107\n"
    "41 22 0:51 / /srv/two\\040words rw - fuse.lifeboat lifeboat rw\n"
    "42 22 0:52 / /srv/covered rw - fuse.lifeboat lifeboat rw\n"
    "43 42 0:53 / /srv/covered rw - tmpfs tmpfs rw\n";

TEST(MounterTest, a_mount_is_found_by_its_exact_place) {
  EXPECT_EQ(mounted_type(kMountinfo, "/srv/copy"), "fuse.lifeboat");
  EXPECT_EQ(mounted_type(kMountinfo, "/srv/cop"), "");
  EXPECT_EQ(mounted_type(kMountinfo, "/srv/copy/base"), "");
  EXPECT_EQ(mounted_type(kMountinfo, "/srv/two words"), "fuse.lifeboat");
  EXPECT_EQ(mounted_type(kMountinfo, "/"), "ext4");
}

TEST(MounterTest, the_last_mount_at_a_place_is_what_is_seen_there) {
  EXPECT_EQ(mounted_type(kMountinfo, "/srv/covered"), "tmpfs");
}

}  // namespace
}  // namespace lifeboat::ops
