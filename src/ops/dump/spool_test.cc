#include "ops/dump/spool.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace lifeboat::ops {
namespace {

TEST(SpoolTest, what_a_killed_process_left_goes_and_what_is_in_use_stays) {
  TempDir parent = *TempDir::make();
  int channel[2];
  ASSERT_EQ(pipe(channel), 0);
  pid_t child = fork();
  if (child == 0) {
    auto left = Spool::make(parent.path());
    const char made = left ? 'y' : 'n';
    if (write(channel[1], &made, 1) != 1) _exit(1);
    pause();
  }
  char made = 0;
  ASSERT_EQ(read(channel[0], &made, 1), 1);
  ASSERT_EQ(made, 'y');
  {
    auto beside = Spool::make(parent.path());
    ASSERT_TRUE(beside) << beside.error().to_string();
    EXPECT_EQ(list_dir(parent.path())->size(), 2u) << "the other lives";
  }
  EXPECT_EQ(list_dir(parent.path())->size(), 1u);
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  auto next = Spool::make(parent.path());
  ASSERT_TRUE(next);
  auto there = list_dir(parent.path());
  ASSERT_EQ(there->size(), 1u);
  EXPECT_EQ(parent / there->front().name, next->path());
}

}  // namespace
}  // namespace lifeboat::ops
