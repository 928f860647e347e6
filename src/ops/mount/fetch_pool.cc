#include "ops/mount/fetch_pool.h"

namespace lifeboat::ops {

FetchThreads::FetchThreads(const repo::LineageRepo& repo, uint32_t block_size, int threads)
    : repo_(repo), block_size_(block_size) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

FetchThreads::~FetchThreads() {
  finish();
}

void FetchThreads::submit(std::function<void(FetchHands&)> job) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  then_.push_back(std::move(job));
  wake_one();
}

void FetchThreads::submit_first(std::function<void(FetchHands&)> job) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  first_.push_back(std::move(job));
  wake_one();
}

void FetchThreads::finish() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    while (!sleepers_.empty()) wake_one();
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void FetchThreads::wake_one() {
  if (sleepers_.empty()) return;
  Sleeper* sleeper = sleepers_.back();
  sleepers_.pop_back();
  sleeper->called = true;
  sleeper->woken.notify_one();
}

void FetchThreads::run() {
  FetchHands hands(repo_, block_size_, *this);
  Sleeper self;
  std::unique_lock lock(mutex_);
  for (;;) {
    while (first_.empty() && then_.empty()) {
      if (closed_) return;
      self.called = false;
      sleepers_.push_back(&self);
      self.woken.wait(lock, [&] { return self.called; });
    }
    auto& queue = first_.empty() ? then_ : first_;
    auto job = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    job(hands);
    job = nullptr;  // what it held goes without the lock
    lock.lock();
  }
}

}  // namespace lifeboat::ops
