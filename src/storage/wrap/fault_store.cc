#include "storage/wrap/fault_store.h"

#include <utility>

#include "util/strings.h"

namespace lifeboat::storage {

using Domain = FaultPlan::Domain;
using Action = FaultPlan::Action;

namespace {
Error crash_error() {
  return make_error(ErrorKind::cancelled, "", "crashed");
}
}  // namespace

template <typename Call>
auto FaultStore::at_point(Domain domain, std::string_view what, Call call) -> decltype(call()) {
  if (crashed_) return crash_error();
  uint64_t number = ++(domain == Domain::writes ? writes_ : reads_);
  if (hook_) hook_(domain, number, what);
  bool hit = plan_.action != Action::none && domain == plan_.domain && number >= plan_.at &&
             number - plan_.at < plan_.times;
  if (!hit) return call();

  if (plan_.action == Action::crash_before || plan_.action == Action::crash_after) crashed_ = true;
  bool works = plan_.action == Action::fail_after || plan_.action == Action::crash_after;
  if (works) {
    auto done = call();
    if (!done) return done;
  }
  if (crashed_) return crash_error();
  return make_error(plan_.kind, std::string(what), cat("injected fault at point ", number));
}

class FaultWriter : public ObjectWriter {
 public:
  FaultWriter(FaultStore& store, std::unique_ptr<ObjectWriter> inner)
      : store_(store), inner_(std::move(inner)) {}
  Status append(ByteView bytes) override {
    return store_.at_point(Domain::writes, "append", [&] { return inner_->append(bytes); });
  }
  Status sync() override {
    return store_.at_point(Domain::writes, "sync", [&] { return inner_->sync(); });
  }
  Status commit() override {
    return store_.at_point(Domain::writes, "commit", [&] { return inner_->commit(); });
  }

 private:
  FaultStore& store_;
  std::unique_ptr<ObjectWriter> inner_;
};

class FaultReader : public ObjectReader {
 public:
  FaultReader(FaultStore& store, std::unique_ptr<ObjectReader> inner)
      : store_(store), inner_(std::move(inner)) {}
  uint64_t size() const override { return inner_->size(); }
  Status read_at(uint64_t offset, MutableBytes out) override {
    return store_.at_point(Domain::reads, "read_at", [&] { return inner_->read_at(offset, out); });
  }

 private:
  FaultStore& store_;
  std::unique_ptr<ObjectReader> inner_;
};

void FaultStore::set_plan(FaultPlan plan) {
  plan_ = plan;
  writes_ = 0;
  reads_ = 0;
  crashed_ = false;
}

Result<std::unique_ptr<ObjectWriter>> FaultStore::create(std::string_view name) {
  return at_point(Domain::writes, "create", [&]() -> Result<std::unique_ptr<ObjectWriter>> {
    TRY_ASSIGN(auto inner, inner_.create(name));
    return std::unique_ptr<ObjectWriter>(std::make_unique<FaultWriter>(*this, std::move(inner)));
  });
}

Result<std::unique_ptr<ObjectReader>> FaultStore::open(std::string_view name) {
  return at_point(Domain::reads, "open", [&]() -> Result<std::unique_ptr<ObjectReader>> {
    TRY_ASSIGN(auto inner, inner_.open(name));
    return std::unique_ptr<ObjectReader>(std::make_unique<FaultReader>(*this, std::move(inner)));
  });
}

Status FaultStore::list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) {
  return at_point(Domain::reads, "list", [&] { return inner_.list(prefix, each); });
}

Result<std::vector<std::string>> FaultStore::list_dirs(std::string_view prefix) {
  return at_point(Domain::reads, "list_dirs", [&] { return inner_.list_dirs(prefix); });
}

Status FaultStore::confirm(std::string_view name) {
  return at_point(Domain::writes, "confirm", [&] { return inner_.confirm(name); });
}

Status FaultStore::remove(std::string_view name) {
  return at_point(Domain::writes, "remove", [&] { return inner_.remove(name); });
}

Result<Timestamp> FaultStore::now() {
  return at_point(Domain::reads, "now", [&] { return inner_.now(); });
}

Result<uint64_t> FaultStore::remove_unfinished(Timestamp older_than) {
  return at_point(Domain::writes, "remove_unfinished", [&] { return inner_.remove_unfinished(older_than); });
}

}  // namespace lifeboat::storage
