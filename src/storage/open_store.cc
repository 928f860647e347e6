#include "storage/file/file_store.h"
#include "storage/memory/memory_store.h"
#include "storage/store.h"
#include "util/strings.h"

namespace lifeboat::storage {

Result<std::unique_ptr<Store>> open_store(std::string_view url, StoreMode mode) {
  constexpr std::string_view kFile = "file://";
  if (url == "memory:") return std::unique_ptr<Store>(std::make_unique<MemoryStore>());
  if (!url.starts_with(kFile)) {
    // What stands before "://" is shown and the rest is not: it may hold credentials.
    size_t colon = url.find("://");
    std::string scheme =
        colon == std::string_view::npos ? "without a scheme" : cat(url.substr(0, colon), "://…");
    return make_error(ErrorKind::config, cat("repository ", scheme),
                      "no store for this kind of URL is built in")
        .with_hint("a directory is written file:///absolute/path");
  }
  std::string_view path = url.substr(kFile.size());
  if (!path.starts_with('/')) {
    return make_error(ErrorKind::config, std::string(url), "not an absolute path")
        .with_hint("write file:// and three slashes in all: file:///absolute/path");
  }
  if (path.find('\0') != std::string_view::npos) {
    return make_error(ErrorKind::config, "repository file://…", "a path cannot hold a zero byte");
  }
  TRY_ASSIGN(auto store, FileStore::open_root(std::string(path), mode));
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace lifeboat::storage
