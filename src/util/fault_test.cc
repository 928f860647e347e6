// Crash points kill the real process, and the environment is read once per process: each case runs this
// program again as a child that takes three steps.
#include "util/fault.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "util/files.h"

namespace lifeboat {
namespace {

void note(std::string_view text) {
  std::string path = std::getenv("FAULT_TEST_LOG");
  Fd fd = open_file(path, O_WRONLY | O_CREAT | O_APPEND, 0600).value();
  ASSERT_TRUE(write_all(fd.get(), as_bytes(text), path).has_value());
}

TEST(FaultChild, DISABLED_takes_three_steps) {
  for (int step = 0; step < 3; ++step) {
    uint64_t point = fault::point("test.step");
    note("x");
    fault::passed(point);
    note("|");
  }
}

struct Ran {
  int status = 0;   // as waitpid tells it
  std::string log;  // "x|" per step
  std::string count;
};

Ran run_child(const char* fault) {
  TempDir dir = TempDir::make("lifeboat-fault-test").value();
  pid_t child = fork();
  if (child == 0) {
    if (fault != nullptr) setenv("LIFEBOAT_FAULT", fault, 1);
    setenv("LIFEBOAT_FAULT_COUNT", (dir / "count").c_str(), 1);
    setenv("FAULT_TEST_LOG", (dir / "log").c_str(), 1);
    int silent = ::open("/dev/null", O_WRONLY);
    dup2(silent, 1);
    dup2(silent, 2);
    execl("/proc/self/exe", "util_test", "--gtest_also_run_disabled_tests",
          "--gtest_filter=FaultChild.DISABLED_takes_three_steps", nullptr);
    _exit(127);
  }
  Ran ran;
  EXPECT_EQ(waitpid(child, &ran.status, 0), child);
  if (path_exists(dir / "log").value()) ran.log = read_text(dir / "log", 1000).value();
  if (path_exists(dir / "count").value()) ran.count = read_text(dir / "count", 1000).value();
  return ran;
}

bool killed(const Ran& ran) {
  return WIFSIGNALED(ran.status) && WTERMSIG(ran.status) == SIGKILL;
}

TEST(Fault, counting_run_finishes_and_appends_the_number) {
  Ran ran = run_child(nullptr);
  EXPECT_TRUE(WIFEXITED(ran.status) && WEXITSTATUS(ran.status) == 0);
  EXPECT_EQ(ran.log, "x|x|x|");
  EXPECT_EQ(ran.count, "3\n");
}

TEST(Fault, kills_before_the_numbered_step) {
  for (const char* fault : {"2", "2:before"}) {
    Ran ran = run_child(fault);
    EXPECT_TRUE(killed(ran)) << fault;
    EXPECT_EQ(ran.log, "x|");
  }
  EXPECT_EQ(run_child("1").log, "");
}

TEST(Fault, kills_after_the_numbered_step) {
  Ran ran = run_child("2:after");
  EXPECT_TRUE(killed(ran));
  EXPECT_EQ(ran.log, "x|x");
}

TEST(Fault, number_past_the_end_kills_nothing) {
  Ran ran = run_child("4");
  EXPECT_TRUE(WIFEXITED(ran.status) && WEXITSTATUS(ran.status) == 0);
  EXPECT_EQ(ran.count, "3\n");
}

TEST(Fault, mistyped_variable_is_not_a_run_without_faults) {
  for (const char* fault : {"", "0", "x", "2:", "2:later", "-1"}) {
    Ran ran = run_child(fault);
    EXPECT_TRUE(WIFSIGNALED(ran.status) && WTERMSIG(ran.status) == SIGABRT) << fault;
    EXPECT_EQ(ran.log, "") << fault;
  }
}

TEST(Fault, point_costs_nothing_when_off) {
  EXPECT_EQ(fault::point("test.step"), 0u);
  fault::passed(0);
}

}  // namespace
}  // namespace lifeboat
