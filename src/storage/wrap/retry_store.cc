#include "storage/wrap/retry_store.h"

#include <algorithm>
#include <utility>

#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::storage {

namespace {
// How often a wait looks whether it should end.
constexpr int64_t kLookUs = 50'000;
constexpr int64_t kTellAgainUs = 10'000'000;
}  // namespace

RetryStore::RetryStore(std::unique_ptr<Store> inner, RetryPolicy policy, Clock& clock,
                       std::function<uint64_t()> random, const StopToken* stop, Tell tell)
    : inner_(std::move(inner)),
      policy_(policy),
      clock_(clock),
      random_(std::move(random)),
      stop_(stop),
      tell_(std::move(tell)) {
  CHECK(policy_.patience_us >= 0 && policy_.first_delay_us >= 0 && policy_.largest_delay_us >= 0);
}

int64_t RetryStore::delay_before(int attempt) {
  // 2^20 first delays are beyond any cap that makes sense; the shift must not overflow.
  int64_t longest = std::min(policy_.first_delay_us << std::min(attempt - 2, 20), policy_.largest_delay_us);
  // Between half and all of it: clients that failed together do not come back together.
  uint64_t random = 0;
  {
    std::lock_guard lock(random_mutex_);
    random = random_();
  }
  return longest / 2 + static_cast<int64_t>(random % static_cast<uint64_t>(longest / 2 + 1));
}

Status RetryStore::wait(int64_t delay_us) {
  waited_us_ += delay_us;
  for (int64_t left = delay_us; left > 0; left -= kLookUs) {
    if (stop_ != nullptr) TRY(stop_->check());
    clock_.sleep_us(std::min(left, kLookUs));
  }
  return stop_ != nullptr ? stop_->check() : Status();
}

void RetryStore::tell(const Error& failed, int64_t left_us) {
  if (!tell_) return;
  const int64_t now = clock_.monotonic_us();
  int64_t before = told_at_us_;
  if (before >= 0 && now - before < kTellAgainUs) return;
  if (told_at_us_.compare_exchange_strong(before, now)) tell_(failed, left_us);
}

template <typename Call>
auto RetryStore::repeat(Call call) -> decltype(call()) {
  int64_t first_failure = 0;
  for (int attempt = 1;; ++attempt) {
    auto result = call();
    if (result) {
      gone_ = false;
      return result;
    }
    if (!info(result.error().kind).retryable) return result;
    const int64_t now = clock_.monotonic_us();
    if (attempt == 1) first_failure = now;
    const int64_t left =
        std::min(policy_.patience_us - (now - first_failure), policy_.in_all_us - waited_us_);
    if (gone_ || left <= 0) {
      gone_ = true;
      if (attempt == 1) return result;
      Error error = std::move(result).error();
      error.message += cat("; tried ", attempt, " times in ",
                           format_seconds(static_cast<double>(now - first_failure) / 1e6));
      return error;
    }
    tell(result.error(), left);
    TRY(wait(std::min(delay_before(attempt + 1), left)));
  }
}

// Opens the object again before it repeats a read, for the old handle may be what is broken.
class RetryReader : public ObjectReader {
 public:
  RetryReader(RetryStore& store, std::string name, std::shared_ptr<ObjectReader> inner)
      : store_(store), name_(std::move(name)), size_(inner->size()), inner_(std::move(inner)) {}

  uint64_t size() const override { return size_; }

  Status read_at(uint64_t offset, MutableBytes out) override {
    bool first = true;
    return store_.repeat([&]() -> Status {
      if (!std::exchange(first, false)) TRY(reopen());
      return current()->read_at(offset, out);
    });
  }

 private:
  std::shared_ptr<ObjectReader> current() {
    std::lock_guard lock(mutex_);
    return inner_;
  }

  Status reopen() {
    TRY_ASSIGN(std::shared_ptr<ObjectReader> fresh, store_.inner_->open(name_));
    if (fresh->size() != size_) {
      return make_error(ErrorKind::damaged, name_,
                        "an object that cannot change has another size than before");
    }
    std::lock_guard lock(mutex_);
    inner_ = std::move(fresh);
    return {};
  }

  RetryStore& store_;
  std::string name_;
  uint64_t size_;
  std::mutex mutex_;
  std::shared_ptr<ObjectReader> inner_;  // guarded by mutex_
};

Result<std::unique_ptr<ObjectWriter>> RetryStore::create(std::string_view name) {
  return repeat([&] { return inner_->create(name); });
}

Result<std::unique_ptr<ObjectReader>> RetryStore::open(std::string_view name) {
  TRY_ASSIGN(std::shared_ptr<ObjectReader> inner, repeat([&] { return inner_->open(name); }));
  return std::unique_ptr<ObjectReader>(
      std::make_unique<RetryReader>(*this, std::string(name), std::move(inner)));
}

Status RetryStore::list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) {
  std::string last;
  Status verdict;  // of `each`
  Status listed = repeat([&]() -> Status {
    Status done = inner_->list(prefix, [&](const ObjectInfo& info) -> Status {
      if (info.name <= last) return {};
      last = info.name;
      verdict = each(info);
      if (!verdict) return make_error(ErrorKind::cancelled, "", "the caller ended the listing");
      return {};
    });
    return verdict ? done : Status();
  });
  return verdict ? listed : verdict;
}

Result<std::vector<std::string>> RetryStore::list_dirs(std::string_view prefix) {
  return repeat([&] { return inner_->list_dirs(prefix); });
}

Status RetryStore::confirm(std::string_view name) {
  return repeat([&] { return inner_->confirm(name); });
}

Status RetryStore::remove(std::string_view name) {
  return repeat([&] { return inner_->remove(name); });
}

Result<Timestamp> RetryStore::now() {
  return repeat([&] { return inner_->now(); });
}

Result<uint64_t> RetryStore::remove_unfinished(Timestamp older_than) {
  return repeat([&] { return inner_->remove_unfinished(older_than); });
}

}  // namespace lifeboat::storage
