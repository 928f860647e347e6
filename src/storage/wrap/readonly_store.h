// A wrapper that refuses every change with `permission`: for commands that must not write, whatever the
// rights of the user who runs them.
#pragma once

#include <memory>
#include <string>

#include "storage/store.h"

namespace lifeboat::storage {

class ReadOnlyStore : public Store {
 public:
  explicit ReadOnlyStore(std::unique_ptr<Store> inner) : inner_(std::move(inner)) {}

  Result<std::unique_ptr<ObjectWriter>> create(std::string_view name) override;
  Status remove(std::string_view name) override;
  Result<uint64_t> remove_unfinished(Timestamp older_than) override;

  Result<std::unique_ptr<ObjectReader>> open(std::string_view name) override { return inner_->open(name); }
  Status list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) override {
    return inner_->list(prefix, each);
  }
  Result<std::vector<std::string>> list_dirs(std::string_view prefix) override {
    return inner_->list_dirs(prefix);
  }
  Status confirm(std::string_view name) override { return inner_->confirm(name); }
  Result<Timestamp> now() override { return inner_->now(); }
  std::string url() const override { return inner_->url(); }
  bool atomic_create() const override { return inner_->atomic_create(); }

 private:
  std::unique_ptr<Store> inner_;
};

}  // namespace lifeboat::storage
