#include "app/signals.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>

namespace lifeboat::app {
namespace {

// The commands of archive_command and of a standby must not end by a signal, whatever happens: the archiver
// ends with them, and pg_stat_archiver counts no failure (T21).

void crash_by_signal(int signal_number) {
  exit_on_crash(70);
  raise(signal_number);
}

TEST(CrashDeathTest, a_crash_ends_with_the_code) {
  for (int signal_number : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS}) {
    EXPECT_EXIT(crash_by_signal(signal_number), ::testing::ExitedWithCode(70), "ended by signal")
        << signal_number;
  }
}

TEST(CrashDeathTest, a_page_that_went_away_ends_with_the_code) {
  auto read_past_the_end = [] {
    exit_on_crash(70);
    char name[] = "/tmp/lifeboat-signals-test-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    auto* page = static_cast<volatile char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
    _exit(page[0]);  // SIGBUS: the file is empty
  };
  EXPECT_EXIT(read_past_the_end(), ::testing::ExitedWithCode(70), "ended by signal 07");
}

// The child of a daemon that was killed hears of it several times, and has to note that its backup is
// aborted.
TEST(StopDeathTest, what_is_told_twice_at_once_is_one_request_and_insisting_ends_the_process) {
  auto told = [](bool insist) {
    static StopToken stop;
    catch_signals(stop);
    for (int i = 0; i < 3; ++i) raise(SIGTERM);
    if (insist) {
      usleep(400'000);
      raise(SIGTERM);
    }
    _exit(stop.stopped() ? 42 : 1);
  };
  EXPECT_EXIT(told(false), ::testing::ExitedWithCode(42), "");
  EXPECT_EXIT(told(true), ::testing::KilledBySignal(SIGTERM), "");
}

TEST(StopDeathTest, a_limit_on_the_size_of_files_is_an_error_of_the_write) {
  auto write_past_it = [] {
    static StopToken stop;
    catch_signals(stop);
    char name[] = "/tmp/lifeboat-signals-test-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    const rlimit none{0, 0};
    setrlimit(RLIMIT_FSIZE, &none);
    _exit(write(fd, "x", 1) < 0 && errno == EFBIG ? 42 : 1);
  };
  EXPECT_EXIT(write_past_it(), ::testing::ExitedWithCode(42), "");
}

// Not endless, so that the compiler lets it be; deeper than any stack all the same.
int overflow(volatile char* before, uint64_t depth) {
  volatile char here[4096];
  here[0] = before[0];
  return depth == 0 ? here[0] : overflow(here, depth - 1) + here[0];
}

TEST(CrashDeathTest, a_stack_that_ran_over_ends_with_the_code) {
  auto run_over = [] {
    exit_on_crash(70);
    volatile char first = 1;
    _exit(overflow(&first, 1ull << 40));
  };
  EXPECT_EXIT(run_over(), ::testing::ExitedWithCode(70), "ended by signal 11");
}

}  // namespace
}  // namespace lifeboat::app
