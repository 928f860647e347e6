// Directory format on its way into the repository, and archives on their way out of it.
//
// pg_dump's parallel jobs write only directory format, and only into a directory. There each file is read
// while it grows, stored, and given back to the file system as far as it was read, so that the spool holds
// what pg_dump is ahead of us and no second copy. (fallocate(2) with FALLOC_FL_PUNCH_HOLE; where the file
// system cannot do that, finished files are removed and the rest stays, and there must be room for the
// database.) pg_dump writes each of its files once, from front to end
// (src/bin/pg_dump/pg_backup_directory.c).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "ops/dump/program.h"
#include "ops/dump/stream_store.h"
#include "util/files.h"

namespace lifeboat::ops {

// A directory of ours below `parent`, taken away with all that is in it at the end; by the next one that is
// made there, where its process was killed: what lies in it is plain, beside a repository that may be
// encrypted.
class Spool {
 public:
  static Result<Spool> make(const std::string& parent);
  Spool(Spool&& other) noexcept : path_(std::move(other.path_)), lock_(std::move(other.lock_)) {
    other.path_.clear();
  }
  Spool& operator=(Spool&&) = delete;
  ~Spool();
  const std::string& path() const { return path_; }
  // `space` unless so many bytes are free.
  Status require(uint64_t bytes) const;
  // Whether read parts of a file can be given back.
  Result<bool> gives_back() const;

 private:
  Spool(std::string path, Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::string path_;
  Fd lock_;  // of the directory, for as long as this process lives
};

// Stores what `program` writes into `directory`, which exists and is empty when this is called, until the
// program has ended. `path` is the directory's place in the tree. The program's failure is the error.
// `start` begins it.
struct FollowedFiles {
  std::map<std::string, repo::Entry> entries;
  uint64_t bytes = 0;
};
Result<FollowedFiles> follow_directory(const std::string& directory, const std::string& path,
                                       StreamStore& store, const std::function<Result<Program>()>& start,
                                       const std::function<void(uint64_t)>& progress, const StopToken& stop);

}  // namespace lifeboat::ops
