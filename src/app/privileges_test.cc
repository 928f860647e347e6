#include "app/privileges.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/files.h"

namespace lifeboat::app {
namespace {

class privileges : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
    auto user = OsUser::by_name("nobody");
    if (!user) GTEST_SKIP() << "there is no user nobody";
    nobody_ = std::move(user).value();
    auto directory = TempDir::make();
    ASSERT_TRUE(directory);
    directory_.emplace(std::move(directory).value());
    ASSERT_EQ(chmod(directory_->path().c_str(), 0755), 0);
  }
  std::string owned_by_nobody(std::string_view name) {
    std::string path = *directory_ / name;
    EXPECT_EQ(mkdir(path.c_str(), 0700), 0);
    EXPECT_EQ(chown(path.c_str(), nobody_.uid, nobody_.gid), 0);
    return path;
  }
  OsUser nobody_;
  std::optional<TempDir> directory_;
};

TEST_F(privileges, the_owner_of_the_first_directory_that_exists_is_chosen) {
  std::string owned = owned_by_nobody("data");
  auto owner = choose_owner(std::nullopt, {"", *directory_ / "missing", directory_->path(), owned});
  ASSERT_TRUE(owner) << owner.error().to_string();
  EXPECT_EQ(owner->name, "nobody");
}

TEST_F(privileges, os_user_wins_and_may_not_be_root) {
  auto owner = choose_owner("nobody", {});
  ASSERT_TRUE(owner);
  EXPECT_EQ(owner->uid, nobody_.uid);
  auto root = choose_owner("root", {});
  ASSERT_FALSE(root);
  EXPECT_EQ(root.error().kind, ErrorKind::precondition);
  EXPECT_FALSE(choose_owner("no-such-user-here", {}));
}

TEST_F(privileges, root_is_given_up_for_good) {
  // In a child: there is no way back.
  pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    bool became = chdir("/root") == 0 && become(nobody_).has_value();
    char buffer[256];
    bool moved = getcwd(buffer, sizeof buffer) != nullptr && std::string_view(buffer) == "/";
    bool kept_out = setuid(0) != 0 && seteuid(0) != 0 && geteuid() == nobody_.uid && getegid() == nobody_.gid;
    gid_t groups[64];
    int count = getgroups(64, groups);
    bool no_root_group = true;
    for (int at = 0; at < count; ++at) no_root_group = no_root_group && groups[at] != 0;
    _exit(became && kept_out && moved && no_root_group && nobody_.home == getenv("HOME") ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(privileges, a_directory_is_made_for_an_owner_who_could_not) {
  std::string path = *directory_ / "repo";
  ASSERT_TRUE(create_directory_for(nobody_, path));
  struct stat status = {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, nobody_.uid);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
}

TEST_F(privileges, a_directory_that_the_owner_can_make_is_left_to_the_owner) {
  std::string path = owned_by_nobody("home") + "/repo";
  ASSERT_TRUE(create_directory_for(nobody_, path));
  EXPECT_FALSE(path_exists(path).value_or(true));
  // Nor is anything made below a parent that is not there.
  ASSERT_TRUE(create_directory_for(nobody_, *directory_ / "a/b"));
  EXPECT_FALSE(path_exists(*directory_ / "a").value_or(true));
}

TEST_F(privileges, a_directory_that_came_to_nothing_goes_again) {
  for (bool used : {false, true}) {
    std::string path = *directory_ / (used ? "used" : "empty");
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // What follows become() could not remove it from a parent of root's.
      auto made = create_directory_for(nobody_, path);
      auto guard = EmptyDirectoryGuard::watch(path);
      if (!made || !*made || !guard || !become(nobody_)) _exit(1);
      if (used && mkdir((path + "/object").c_str(), 0700) != 0) _exit(2);
      {
        auto last = std::move(*guard);  // ends here
      }
      _exit(rmdir(path.c_str()) != 0 && path_exists(path).value_or(false) == used ? 0 : 3);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << WEXITSTATUS(status);
    EXPECT_EQ(path_exists(path).value_or(!used), used);
  }
}

}  // namespace
}  // namespace lifeboat::app
