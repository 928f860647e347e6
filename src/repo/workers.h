// A few threads that do jobs in the order they were added.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lifeboat::repo {

// A bounded queue of jobs and the threads that do them. The destructor waits for what was accepted.
class Workers {
 public:
  explicit Workers(int count) {
    for (int i = 0; i < std::max(count, 1); ++i) threads_.emplace_back([this] { run(); });
  }
  ~Workers() { finish(); }

  // Waits while too many jobs wait already.
  void add(std::function<void()> job) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return jobs_.size() < kMostWaiting; });
    jobs_.push_back(std::move(job));
    work_.notify_one();
  }

  // Waits until all jobs are done.
  void drain() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return jobs_.empty() && busy_ == 0; });
  }

  // Waits for all jobs and ends the threads; nothing may be added any more.
  void finish() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  static constexpr size_t kMostWaiting = 1024;

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [&] { return closed_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      auto job = std::move(jobs_.front());
      jobs_.pop_front();
      ++busy_;
      room_.notify_one();
      lock.unlock();
      job();
      lock.lock();
      --busy_;
      if (jobs_.empty() && busy_ == 0) idle_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable room_;
  std::condition_variable idle_;
  std::deque<std::function<void()>> jobs_;
  int busy_ = 0;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lifeboat::repo
