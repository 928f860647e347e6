// What the daemon knows of the signals of its clusters: it lets `alert check` run at an interval, as a
// process of its own, and keeps what that found. Old findings are not handed on as if they were new.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "model/timestamp.h"
#include "ready/metrics/exposition.h"
#include "ready/signals/signal.h"

namespace lifeboat::app {

// Thread rule: any thread.
class SignalWatch {
 public:
  // `document` is what the check printed; `problem` why it failed, or empty. `interval_us`: until the next is
  // due.
  void ran(const std::string& cluster, const std::string& document, std::string problem, double seconds,
           int64_t interval_us);
  void add_to(ready::Exposition& exposition, Timestamp now) const;
  // Empty: as far as known all is being watched.
  std::string problem(Timestamp now) const;

 private:
  struct ReceiverCounts {
    double sent = 0;
    double failed_attempts = 0;
    double failures_in_a_row = 0;
  };
  struct Known {
    bool read = false;  // `report` is one
    ready::SignalReport report;
    int64_t interval_us = 0;
    std::string problem;
    double runs = 0;
    double failures = 0;
    double seconds = 0;  // of all runs
    double firing = 0;
    double waiting = 0;
    std::map<std::string, ReceiverCounts> receivers;
  };
  static bool is_stale(const Known& known, Timestamp now);

  mutable std::mutex mutex_;
  std::map<std::string, Known> clusters_;
};

}  // namespace lifeboat::app
