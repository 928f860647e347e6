// A wrapper that repeats calls which failed for a passing reason (ErrorKindInfo::retryable), with exponential
// back-off, jitter and a cap (X1). Any other failure is returned at once.
//
// Only calls that may be made twice are repeated: create, open, read_at, list, list_dirs, remove, now,
// remove_unfinished. append and commit are not: part of the bytes may be there, or the commit's answer may be
// lost, and only the caller knows whether finding the name taken afterwards is success.
//
// A call that was repeated in vain makes the store count as gone: until one succeeds, those that follow are
// made once and not waited for, so that a command with a thousand objects to read does not wait a thousand
// times.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>

#include "storage/store.h"
#include "util/clock.h"
#include "util/stop.h"

namespace lifeboat::storage {

struct RetryPolicy {
  int64_t patience_us = 60'000'000;  // no call is repeated longer than this after its first failure; 0: never
  int64_t in_all_us = std::numeric_limits<int64_t>::max();  // waited by all calls together
  int64_t first_delay_us = 200'000;                         // before the second call; doubles from there
  int64_t largest_delay_us = 10'000'000;
};

class RetryStore : public Store {
 public:
  // Hears of waiting when it begins and every ten seconds at most: what failed, and how long the call will be
  // repeated. Any thread may call it.
  using Tell = std::function<void(const Error& failed, int64_t left_us)>;

  // `random` gives 64 uniform bits per call. A requested `stop` (may be null) ends waiting with `cancelled`.
  // All references must outlive the store.
  RetryStore(std::unique_ptr<Store> inner, RetryPolicy policy, Clock& clock, std::function<uint64_t()> random,
             const StopToken* stop, Tell tell = {});

  Result<std::unique_ptr<ObjectWriter>> create(std::string_view name) override;
  Result<std::unique_ptr<ObjectReader>> open(std::string_view name) override;
  // After a failure in the middle the listing is taken again and continues behind the last name that `each`
  // saw. Errors from `each` are not repeated.
  Status list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) override;
  Result<std::vector<std::string>> list_dirs(std::string_view prefix) override;
  Status confirm(std::string_view name) override;
  Status remove(std::string_view name) override;
  Result<Timestamp> now() override;
  Result<uint64_t> remove_unfinished(Timestamp older_than) override;
  std::string url() const override { return inner_->url(); }
  bool atomic_create() const override { return inner_->atomic_create(); }

 private:
  friend class RetryReader;
  template <typename Call>
  auto repeat(Call call) -> decltype(call());
  // How long to wait before attempt `attempt` (from 2).
  int64_t delay_before(int attempt);
  Status wait(int64_t delay_us);  // `cancelled` when asked to stop
  void tell(const Error& failed, int64_t left_us);

  std::unique_ptr<Store> inner_;
  RetryPolicy policy_;
  Clock& clock_;
  std::mutex random_mutex_;
  std::function<uint64_t()> random_;  // guarded by random_mutex_
  const StopToken* stop_;
  Tell tell_;
  std::atomic<bool> gone_{false};
  std::atomic<int64_t> waited_us_{0};    // by all calls
  std::atomic<int64_t> told_at_us_{-1};  // -1: not yet
};

}  // namespace lifeboat::storage
