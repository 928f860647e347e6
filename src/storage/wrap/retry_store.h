// A wrapper that repeats calls which failed for a passing reason (ErrorKindInfo::retryable), with exponential
// back-off, jitter and a cap (X1).
//
// Only calls that may be made twice are repeated: create, open, read_at, list, list_dirs, remove, now,
// remove_unfinished. append and commit are not: part of the bytes may be there, or the commit's answer may be
// lost, and only the caller knows whether finding the name taken afterwards is success.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "storage/store.h"
#include "util/clock.h"
#include "util/stop.h"

namespace lifeboat::storage {

struct RetryPolicy {
  int attempts = 6;                  // calls in all; at least 1
  int64_t first_delay_us = 200'000;  // before the second call; doubles from there
  int64_t largest_delay_us = 10'000'000;
};

class RetryStore : public Store {
 public:
  // `random` gives 64 uniform bits per call. A requested `stop` (may be null) ends waiting with `cancelled`.
  // All references must outlive the store.
  RetryStore(std::unique_ptr<Store> inner, RetryPolicy policy, Clock& clock, std::function<uint64_t()> random,
             const StopToken* stop);

  Result<std::unique_ptr<ObjectWriter>> create(std::string_view name) override;
  Result<std::unique_ptr<ObjectReader>> open(std::string_view name) override;
  // After a failure in the middle the listing is taken again and continues behind the last name that `each`
  // saw. Errors from `each` are not repeated.
  Status list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) override;
  Result<std::vector<std::string>> list_dirs(std::string_view prefix) override;
  Status remove(std::string_view name) override;
  Result<Timestamp> now() override;
  Result<uint64_t> remove_unfinished(Timestamp older_than) override;
  std::string url() const override { return inner_->url(); }
  bool atomic_create() const override { return inner_->atomic_create(); }

 private:
  friend class RetryReader;
  template <typename Call>
  auto repeat(Call call) -> decltype(call());
  // Waits before attempt `attempt` (from 2); `cancelled` when asked to stop.
  Status wait_before(int attempt);

  std::unique_ptr<Store> inner_;
  RetryPolicy policy_;
  Clock& clock_;
  std::mutex random_mutex_;
  std::function<uint64_t()> random_;  // guarded by random_mutex_
  const StopToken* stop_;
};

}  // namespace lifeboat::storage
