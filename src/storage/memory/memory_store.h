// A store in memory, for tests and model checks: the same contract as the others, with a clock that the test
// turns and a copy that can be taken at any moment.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "storage/store.h"
#include "util/clock.h"

namespace lifeboat::storage {

class MemoryStore : public Store {
 public:
  // `clock` gives `modified` and now(); it must outlive the store.
  explicit MemoryStore(Clock& clock = Clock::system());

  // A store of its own that holds what was committed so far. Content is shared, so a copy costs the names.
  std::unique_ptr<MemoryStore> clone() const;
  // Replaces the content of an existing object, which no other store can do: damage for tests. `not_found`.
  Status overwrite(std::string_view name, Bytes content);
  size_t object_count() const;

  Result<std::unique_ptr<ObjectWriter>> create(std::string_view name) override;
  Result<std::unique_ptr<ObjectReader>> open(std::string_view name) override;
  Status list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) override;
  Result<std::vector<std::string>> list_dirs(std::string_view prefix) override;
  Status confirm(std::string_view name) override;
  Status remove(std::string_view name) override;
  Result<Timestamp> now() override;
  Result<uint64_t> remove_unfinished(Timestamp older_than) override;  // there never are any
  std::string url() const override { return "memory:"; }
  bool atomic_create() const override { return true; }

 private:
  friend class MemoryWriter;
  struct Object {
    std::shared_ptr<const Bytes> content;
    Timestamp modified;
  };
  // Writers hold it too, so one that outlives the store harms nobody.
  struct State {
    explicit State(Clock& which) : clock(which) {}
    Clock& clock;
    mutable std::mutex mutex;
    std::map<std::string, Object, std::less<>> objects;  // guarded by mutex
  };
  std::shared_ptr<State> state_;
};

}  // namespace lifeboat::storage
