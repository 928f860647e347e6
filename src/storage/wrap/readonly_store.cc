#include "storage/wrap/readonly_store.h"

namespace lifeboat::storage {

namespace {
Error refused(std::string_view what, std::string_view object) {
  return make_error(ErrorKind::permission, std::string(object),
                    std::string("the repository is open for reading only: cannot ") + std::string(what));
}
}  // namespace

Result<std::unique_ptr<ObjectWriter>> ReadOnlyStore::create(std::string_view name) {
  return refused("create", name);
}

Status ReadOnlyStore::remove(std::string_view name) {
  return refused("remove", name);
}

Result<uint64_t> ReadOnlyStore::remove_unfinished(Timestamp) {
  return refused("remove unfinished objects", inner_->url());
}

}  // namespace lifeboat::storage
