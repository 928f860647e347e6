// A bounded queue between one thread that finds work and the workers that do it. Bounded, so that memory does
// not grow with the number of files (T42).
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "util/result.h"

namespace lifeboat::ops {

// Thread rule: any thread may call anything.
template <typename T>
class WorkQueue {
 public:
  explicit WorkQueue(size_t room) : room_(room) {}

  // Waits while the queue is full; the workers' first failure once there is one.
  Status push(T item) {
    std::unique_lock lock(mutex_);
    room_ready_.wait(lock, [&] { return items_.size() < room_ || error_; });
    if (error_) return *error_;
    items_.push_back(std::move(item));
    item_ready_.notify_one();
    return {};
  }
  // nullopt: nothing more will come, or somebody failed.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    item_ready_.wait(lock, [&] { return !items_.empty() || closed_ || error_; });
    if (error_ || items_.empty()) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    room_ready_.notify_one();
    return item;
  }
  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    item_ready_.notify_all();
  }
  // The first error is kept; what is queued is dropped.
  void fail(Error error) {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    item_ready_.notify_all();
    room_ready_.notify_all();
  }
  std::optional<Error> error() const {
    std::lock_guard lock(mutex_);
    return error_;
  }

 private:
  const size_t room_;
  mutable std::mutex mutex_;
  std::condition_variable item_ready_;
  std::condition_variable room_ready_;
  std::deque<T> items_;
  bool closed_ = false;
  std::optional<Error> error_;
};

}  // namespace lifeboat::ops
