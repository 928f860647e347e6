#include "app/signals.h"

#include <unistd.h>
#include <csignal>
#include <cstdlib>

#include <atomic>

namespace lifeboat::app {
namespace {

// Signal handlers take no argument, so what they touch is global by necessity.
std::atomic<StopToken*> stop_on_signal{nullptr};
std::atomic<int> abort_code{0};

void on_stop_signal(int signal_number) {
  if (StopToken* stop = stop_on_signal.load()) stop->request();
  // The second signal finds the default action: whoever insists gets the process ended.
  std::signal(signal_number, SIG_DFL);
}

void on_abort(int) {
  _exit(abort_code.load());
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

void exit_on_abort(int code) {
  abort_code.store(code);
  std::signal(SIGABRT, on_abort);
}

}  // namespace lifeboat::app
