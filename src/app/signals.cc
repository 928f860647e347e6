#include "app/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace lifeboat::app {
namespace {

// Signal handlers take no argument, so what they touch is global by necessity.
std::atomic<StopToken*> stop_on_signal{nullptr};
std::atomic<int64_t> asked_ms{0};  // by the monotonic clock, when the first signal came; 0: none did
std::atomic<int> crash_code{0};
// A parent that is killed may tell its children to end once for each of its threads (PR_SET_PDEATHSIG is
// about the thread; forget_original_parent() in the kernel's exit.c).
constexpr int64_t kSameRequestMs = 300;
// A stack that ran over has no room for a handler.
alignas(16) char crash_stack[16 << 10];

int64_t monotonic_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

void on_stop_signal(int signal_number) {
  if (StopToken* stop = stop_on_signal.load()) stop->request();
  int64_t first = 0;
  if (asked_ms.compare_exchange_strong(first, monotonic_ms())) return;
  if (monotonic_ms() - first < kSameRequestMs) return;
  // Whoever insists gets the process ended.
  std::signal(signal_number, SIG_DFL);
  raise(signal_number);
}

// Only what signal-safety(7) allows.
void on_crash(int signal_number) {
  char text[] = "lifeboat: ended by signal 00, which is a fault in the program\n";
  char* digits = text + sizeof "lifeboat: ended by signal" - 1 + 1;
  digits[0] = static_cast<char>('0' + signal_number / 10);
  digits[1] = static_cast<char>('0' + signal_number % 10);
  (void)!write(STDERR_FILENO, text, sizeof text - 1);
  _exit(crash_code.load());
}

}  // namespace

void catch_signals(StopToken& stop) {
  stop_on_signal.store(&stop);
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (int signal_number : {SIGINT, SIGTERM, SIGHUP}) {
    // nohup and shells' background jobs ignore some of them on purpose; that stays.
    struct sigaction before = {};
    sigaction(signal_number, nullptr, &before);
    if (before.sa_handler == SIG_IGN) continue;
    sigaction(signal_number, &action, nullptr);
  }
  // What they would end is told as EPIPE and EFBIG, as PostgreSQL does (PostmasterMain, postmaster.c).
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

void exit_on_crash(int code) {
  crash_code.store(code);
  stack_t stack = {};
  stack.ss_sp = crash_stack;
  stack.ss_size = sizeof crash_stack;
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_handler = on_crash;
  action.sa_flags = SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (int signal_number : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS}) {
    sigaction(signal_number, &action, nullptr);
  }
}

}  // namespace lifeboat::app
