// A request to stop: set by Ctrl-C, by a failed sibling worker or by a test; asked for by every blocking
// loop.
#pragma once

#include <atomic>

#include "util/result.h"

namespace lifeboat {

// Thread rule: any thread and signal handlers may call request(); any thread may ask.
class StopToken {
 public:
  void request() { stopped_.store(true, std::memory_order_relaxed); }
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
  // `cancelled` once stopped.
  Status check() const {
    if (stopped()) return make_error(ErrorKind::cancelled, "", "stopped by request");
    return {};
  }

 private:
  std::atomic<bool> stopped_{false};
};

}  // namespace lifeboat
