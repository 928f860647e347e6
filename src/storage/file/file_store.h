// A store in a directory: one file per object, at root/name.
//
// An object is written to ".tmp-<random>" beside its place, fsynced, and given its name by an operation that
// fails when the name is taken: renameat2(RENAME_NOREPLACE), or link(2) where the file system has no such
// rename (NFS before and in Linux 6: EINVAL). Then the directory is fsynced. A crash leaves at most temporary
// files and empty directories; remove_unfinished() takes the former, the latter stay (a creator may be about
// to use them).
//
// A missing root is `unavailable`, never an empty store or a missing object: a repository that is not mounted
// must not look like one without WAL, for recovery would end early (T29).
//
// Writers must not outlive their store; readers may.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "storage/store.h"

namespace lifeboat::storage {

class FileStore : public Store {
 public:
  // How an object gets its name; `link` is what `automatic` falls back to, and is forced by tests.
  enum class Publish : uint8_t { automatic, link };

  // `root` is absolute. Fails with `unavailable` when it does not exist (StoreMode::existing).
  static Result<std::unique_ptr<FileStore>> open_root(std::string root, StoreMode mode,
                                                      Publish publish = Publish::automatic);

  Result<std::unique_ptr<ObjectWriter>> create(std::string_view name) override;
  Result<std::unique_ptr<ObjectReader>> open(std::string_view name) override;
  Status list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) override;
  Result<std::vector<std::string>> list_dirs(std::string_view prefix) override;
  Status confirm(std::string_view name) override;
  Status remove(std::string_view name) override;
  // The file system's clock, which on NFS is the server's. This host's where the root cannot be touched.
  Result<Timestamp> now() override;
  Result<uint64_t> remove_unfinished(Timestamp older_than) override;
  std::string url() const override;
  bool atomic_create() const override { return true; }

 private:
  friend class FileWriter;
  FileStore(std::string root, Publish publish)
      : root_(std::move(root)), use_link_(publish == Publish::link) {}
  std::string path_of(std::string_view name) const;
  Status check_root() const;
  // Calls check_root() when `error` is `not_found`, so that absence is certain.
  Error certain(Error error) const;

  std::string root_;
  std::atomic<bool> use_link_;  // set once the file system has refused the other way
};

}  // namespace lifeboat::storage
