#include "ops/scratch/scratch.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/files.h"

namespace lifeboat::ops {
namespace {

constexpr uid_t kNobody = 65534;

ScratchOptions in(const std::string& directory) {
  ScratchOptions options;
  options.directory = directory;
  options.medium = ScratchMedium::copy;
  return options;
}

class ScratchDirectory : public testing::Test {
 protected:
  // Something that is like a cluster of somebody's.
  void put(const std::string& path) {
    ASSERT_TRUE(create_dirs(path, 0777));
    ASSERT_TRUE(write_file_durable(path + "/PG_VERSION", as_bytes("15\n"), 0644));
    ASSERT_EQ(chmod(path.c_str(), 0777), 0);
  }
  TempDir parent_ = std::move(*TempDir::make());
  std::string directory_ = parent_.path() + "/pg";
};

TEST_F(ScratchDirectory, is_made_and_taken_away_again) {
  {
    auto scratch = Scratch::make(in(directory_));
    ASSERT_TRUE(scratch) << scratch.error().to_string();
    EXPECT_EQ(access((directory_ + "/run").c_str(), F_OK), 0);
  }
  EXPECT_NE(access(directory_.c_str(), F_OK), 0);
}

TEST_F(ScratchDirectory, that_was_there_and_empty_stays) {
  ASSERT_TRUE(create_dirs(directory_, 0700));
  ASSERT_TRUE(Scratch::make(in(directory_)));
  auto listing = list_dir(directory_);
  ASSERT_TRUE(listing);
  EXPECT_TRUE(listing->empty());
}

TEST_F(ScratchDirectory, that_is_not_empty_keeps_what_is_in_it) {
  put(directory_ + "/data");
  auto scratch = Scratch::make(in(directory_));
  ASSERT_FALSE(scratch);
  EXPECT_EQ(scratch.error().kind, ErrorKind::precondition);
  EXPECT_EQ(access((directory_ + "/data/PG_VERSION").c_str(), F_OK), 0);
}

// One that others may pass through and not list: root's, with a cluster of ours in it.
TEST_F(ScratchDirectory, that_cannot_be_listed_keeps_what_is_in_it) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  put(directory_ + "/data");
  ASSERT_EQ(chmod(parent_.path().c_str(), 0711), 0);
  ASSERT_EQ(chmod(directory_.c_str(), 0711), 0);
  ASSERT_EQ(seteuid(kNobody), 0);
  const bool refused = !Scratch::make(in(directory_));
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_TRUE(refused);
  EXPECT_EQ(access((directory_ + "/data/PG_VERSION").c_str(), F_OK), 0);
}

}  // namespace
}  // namespace lifeboat::ops
