// A wrapper that fails, stalls or "crashes" a store at a chosen point, deterministically by number, so that a
// test can enumerate them all. Crashes of the real program are util/fault.h's business.
//
// Points are counted from 1, in order of arrival. Write points: create, every append and sync, commit,
// remove, remove_unfinished; put() is create + append + commit. Read points: open, every read_at, list,
// list_dirs, now.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "storage/store.h"

namespace lifeboat::storage {

struct FaultPlan {
  enum class Action : uint8_t {
    none,          // only count
    fail,          // the call fails with `kind` and does nothing
    fail_after,    // the call does its work and fails all the same: its answer was lost
    crash_before,  // the call and all later ones, reads too, fail with `cancelled`: the process died before
                   // it
    crash_after,   // the same, but the call did its work
  };
  enum class Domain : uint8_t { writes, reads };
  Action action = Action::none;
  Domain domain = Domain::writes;
  uint64_t at = 0;     // which point
  uint64_t times = 1;  // how many points in a row, for fail and fail_after
  ErrorKind kind = ErrorKind::unavailable;
};

// Thread rule: as any store; set the plan before threads start.
class FaultStore : public Store {
 public:
  // Called at every point with its number before anything else happens: to stall, or to interleave other
  // work.
  using Hook = std::function<void(FaultPlan::Domain domain, uint64_t number, std::string_view what)>;

  explicit FaultStore(Store& inner, FaultPlan plan = {})
      : inner_(inner), plan_(plan) {}  // inner must outlive this
  void set_plan(FaultPlan plan);       // counting begins anew, and a crash is over
  void set_hook(Hook hook) { hook_ = std::move(hook); }

  uint64_t write_points() const { return writes_; }  // seen since the plan was set
  uint64_t read_points() const { return reads_; }
  bool crashed() const { return crashed_; }

  Result<std::unique_ptr<ObjectWriter>> create(std::string_view name) override;
  Result<std::unique_ptr<ObjectReader>> open(std::string_view name) override;
  Status list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) override;
  Result<std::vector<std::string>> list_dirs(std::string_view prefix) override;
  Status confirm(std::string_view name) override;
  Status remove(std::string_view name) override;
  Result<Timestamp> now() override;
  Result<uint64_t> remove_unfinished(Timestamp older_than) override;
  std::string url() const override { return inner_.url(); }
  bool atomic_create() const override { return inner_.atomic_create(); }

 private:
  friend class FaultWriter;
  friend class FaultReader;
  // Runs `call`, which returns a Result, as the next point.
  template <typename Call>
  auto at_point(FaultPlan::Domain domain, std::string_view what, Call call) -> decltype(call());

  Store& inner_;
  FaultPlan plan_;
  Hook hook_;
  std::atomic<uint64_t> writes_{0};
  std::atomic<uint64_t> reads_{0};
  std::atomic<bool> crashed_{false};
};

}  // namespace lifeboat::storage
