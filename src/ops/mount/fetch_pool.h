// The threads that fetch: as many as requests to the store may be under way, since most of their time is
// waiting.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "ops/mount/base_file.h"

namespace lifeboat::ops {

// Thread rule: any thread may submit. The destructor waits for what was submitted.
class FetchThreads : public FetchPool {
 public:
  FetchThreads(const repo::LineageRepo& repo, uint32_t block_size, int threads);
  ~FetchThreads() override;
  void submit(std::function<void(FetchHands&)> job) override;
  void submit_first(std::function<void(FetchHands&)> job) override;
  // Does what was submitted and ends; what comes later is dropped.
  void finish();

 private:
  void run();
  repo::LineageRepo repo_;
  uint32_t block_size_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::function<void(FetchHands&)>> first_;
  std::deque<std::function<void(FetchHands&)>> then_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lifeboat::ops
