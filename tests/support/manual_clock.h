// A clock that stands still until a test turns it; sleeping turns it too, and is recorded.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "util/clock.h"

namespace lifeboat {

// Thread rule: any thread.
class ManualClock : public Clock {
 public:
  explicit ManualClock(int64_t unix_us = 1'800'000'000'000'000) : unix_us_(unix_us) {}
  int64_t unix_us() override { return unix_us_; }
  int64_t monotonic_us() override { return monotonic_us_; }
  void sleep_us(int64_t us) override {
    {
      std::lock_guard lock(mutex_);
      sleeps_.push_back(us);
    }
    advance_us(us);
  }
  void advance_us(int64_t us) {
    unix_us_ += us;
    monotonic_us_ += us;
  }
  std::vector<int64_t> sleeps() const {
    std::lock_guard lock(mutex_);
    return sleeps_;
  }

 private:
  std::atomic<int64_t> unix_us_;
  std::atomic<int64_t> monotonic_us_{0};
  mutable std::mutex mutex_;
  std::vector<int64_t> sleeps_;  // guarded by mutex_
};

}  // namespace lifeboat
