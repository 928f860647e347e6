#include "ops/mount/mounter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

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

TEST(MounterTest, those_who_share_the_way_to_ask_get_their_own_answers) {
  auto directory = TempDir::make();
  ASSERT_TRUE(directory) << directory.error().to_string();
  // The directory is not that user's.
  auto socket = start_root_mounter(geteuid() + 1, getegid());
  ASSERT_TRUE(socket) << socket.error().to_string();
  Fd copy(fcntl(socket->get(), F_DUPFD_CLOEXEC, 3));
  auto one = ask_root_mounter(std::move(*socket));
  auto other = ask_root_mounter(std::move(copy));
  std::atomic<int> refused{0};
  std::thread mounting([&] {
    for (int i = 0; i < 2000; ++i) refused += !one->mount(directory->path(), MountAccess::read_only);
  });
  int gone = 0;
  for (int i = 0; i < 2000; ++i) gone += bool(other->unmount(directory->path()));
  mounting.join();
  EXPECT_EQ(refused, 2000);
  EXPECT_EQ(gone, 2000);
}

}  // namespace
}  // namespace lifeboat::ops
