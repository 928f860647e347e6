#include "app/signals.h"

#include <unistd.h>
#include <csignal>
#include <cstdlib>

#include <atomic>

namespace lifeboat::app {
namespace {

// Signal handlers take no argument, so what they touch is global by necessity.
std::atomic<StopToken*> stop_on_signal{nullptr};
std::atomic<int> crash_code{0};
// A stack that ran over has no room for a handler.
alignas(16) char crash_stack[16 << 10];

void on_stop_signal(int signal_number) {
  if (StopToken* stop = stop_on_signal.load()) stop->request();
  // The second signal finds the default action: whoever insists gets the process ended.
  std::signal(signal_number, SIG_DFL);
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
  std::signal(SIGPIPE, SIG_IGN);
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
