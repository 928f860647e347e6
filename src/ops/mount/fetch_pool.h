// The threads that fetch: as many as requests to the store may be under way, since most of their time is
// waiting. Work goes to the thread that worked last, which has the packs open that are in use: opening one is
// a request of its own.
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
  struct Sleeper {
    std::condition_variable woken;
    bool called = false;
  };
  void run();
  void wake_one();
  repo::LineageRepo repo_;
  uint32_t block_size_;
  std::mutex mutex_;
  std::deque<std::function<void(FetchHands&)>> first_;
  std::deque<std::function<void(FetchHands&)>> then_;
  std::vector<Sleeper*> sleepers_;  // the last to fall asleep is woken first
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lifeboat::ops
