#include "storage/memory/memory_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "storage/names.h"
#include "util/strings.h"

namespace lifeboat::storage {

class MemoryWriter : public ObjectWriter {
 public:
  MemoryWriter(std::shared_ptr<MemoryStore::State> state, std::string name)
      : state_(std::move(state)), name_(std::move(name)) {}

  Status append(ByteView bytes) override {
    content_.insert(content_.end(), bytes.begin(), bytes.end());
    return {};
  }

  Status commit() override {
    std::lock_guard lock(state_->mutex);
    MemoryStore::Object object{std::make_shared<const Bytes>(std::move(content_)),
                               Timestamp{state_->clock.unix_us()}};
    if (!state_->objects.emplace(name_, std::move(object)).second) {
      return make_error(ErrorKind::conflict, name_, "an object of this name is there already");
    }
    return {};
  }

 private:
  std::shared_ptr<MemoryStore::State> state_;
  std::string name_;
  Bytes content_;
};

namespace {

class MemoryReader : public ObjectReader {
 public:
  MemoryReader(std::string name, std::shared_ptr<const Bytes> content)
      : name_(std::move(name)), content_(std::move(content)) {}

  uint64_t size() const override { return content_->size(); }

  Status read_at(uint64_t offset, MutableBytes out) override {
    uint64_t size = content_->size();
    if (offset > size || out.size() > size - offset) {
      return make_error(
          ErrorKind::damaged, name_,
          cat("object has ", size, " bytes, expected at least ", out.size(), " at offset ", offset));
    }
    if (!out.empty()) std::memcpy(out.data(), content_->data() + offset, out.size());
    return {};
  }

 private:
  std::string name_;
  std::shared_ptr<const Bytes> content_;
};

Error no_object(std::string_view name) {
  return make_error(ErrorKind::not_found, std::string(name), "no such object");
}

}  // namespace

MemoryStore::MemoryStore(Clock& clock) : state_(std::make_shared<State>(clock)) {}

std::unique_ptr<MemoryStore> MemoryStore::clone() const {
  auto copy = std::make_unique<MemoryStore>(state_->clock);
  std::lock_guard lock(state_->mutex);
  copy->state_->objects = state_->objects;
  return copy;
}

Status MemoryStore::overwrite(std::string_view name, Bytes content) {
  std::lock_guard lock(state_->mutex);
  auto found = state_->objects.find(name);
  if (found == state_->objects.end()) return no_object(name);
  found->second.content = std::make_shared<const Bytes>(std::move(content));
  return {};
}

size_t MemoryStore::object_count() const {
  std::lock_guard lock(state_->mutex);
  return state_->objects.size();
}

Result<std::unique_ptr<ObjectWriter>> MemoryStore::create(std::string_view name) {
  TRY(check_name(name));
  return std::unique_ptr<ObjectWriter>(std::make_unique<MemoryWriter>(state_, std::string(name)));
}

Result<std::unique_ptr<ObjectReader>> MemoryStore::open(std::string_view name) {
  TRY(check_name(name));
  std::lock_guard lock(state_->mutex);
  auto found = state_->objects.find(name);
  if (found == state_->objects.end()) return no_object(name);
  return std::unique_ptr<ObjectReader>(std::make_unique<MemoryReader>(found->first, found->second.content));
}

Status MemoryStore::list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) {
  TRY(check_prefix(prefix));
  // `each` may call the store, so it runs without the lock, and the place is found again by name.
  std::string last;
  bool started = false;
  while (true) {
    ObjectInfo info;
    {
      std::lock_guard lock(state_->mutex);
      const auto& objects = state_->objects;
      auto next = started ? objects.upper_bound(last) : objects.lower_bound(prefix);
      if (next == objects.end() || !next->first.starts_with(prefix)) return {};
      info = {next->first, next->second.content->size(), next->second.modified};
    }
    last = info.name;
    started = true;
    TRY(each(info));
  }
}

Result<std::vector<std::string>> MemoryStore::list_dirs(std::string_view prefix) {
  TRY(check_directory_prefix(prefix));
  std::vector<std::string> names;
  std::lock_guard lock(state_->mutex);
  const auto& objects = state_->objects;
  auto next = objects.lower_bound(prefix);
  while (next != objects.end() && next->first.starts_with(prefix)) {
    std::string_view rest = std::string_view(next->first).substr(prefix.size());
    size_t slash = rest.find('/');
    if (slash == std::string_view::npos) {
      ++next;
      continue;
    }
    std::string_view element = rest.substr(0, slash);
    names.emplace_back(element);
    constexpr char kAfterSlash = '/' + 1;
    next = objects.lower_bound(cat(prefix, element, kAfterSlash));
  }
  std::sort(names.begin(), names.end());  // "a-b/" comes before "a/", but "a" before "a-b"
  return names;
}

Status MemoryStore::confirm(std::string_view name) {
  TRY(check_name(name));
  std::lock_guard lock(state_->mutex);
  if (!state_->objects.contains(name))
    return make_error(ErrorKind::not_found, std::string(name), "no such object");
  return {};
}

Status MemoryStore::remove(std::string_view name) {
  TRY(check_name(name));
  std::lock_guard lock(state_->mutex);
  auto found = state_->objects.find(name);
  if (found != state_->objects.end()) state_->objects.erase(found);
  return {};
}

Result<Timestamp> MemoryStore::now() {
  return Timestamp{state_->clock.unix_us()};
}

Result<uint64_t> MemoryStore::remove_unfinished(Timestamp) {
  return uint64_t{0};
}

}  // namespace lifeboat::storage
