// How WAL files arrive where PostgreSQL wants them: whole or not at all (T30).
#pragma once

#include <string>
#include <utility>

#include "ops/wal/segment_check.h"
#include "repo/wal_store.h"
#include "util/bytes.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

// A file that has no name yet, in the directory where it will get one. Where the file system cannot make a
// file without a name (NFS) it has a temporary one, which goes away with this object.
class Delivery {
 public:
  static Result<Delivery> begin(std::string target);
  Delivery(Delivery&& other) noexcept
      : target_(std::move(other.target_)),
        directory_(std::move(other.directory_)),
        temporary_(std::exchange(other.temporary_, {})),
        fd_(std::move(other.fd_)) {}
  Delivery& operator=(Delivery&&) = delete;
  ~Delivery();

  Status append(ByteView piece) { return write_all(fd_.get(), piece, target_); }
  // Synced, then named, in the place of what has that name. The name itself is not synced: a server that lost
  // it asks again.
  Status finish();

 private:
  explicit Delivery(std::string target) : target_(std::move(target)), directory_(parent_path(target_)) {}
  Status name();

  std::string target_;
  std::string directory_;
  std::string temporary_;  // empty: the file has no name
  Fd fd_;
};

// A whole segment out of the repository, checked against its name, hash, size, system identifier and position
// before it gets its name. Errors: damaged, foreign, the store's, those of the target's file system.
Status deliver_segment(const repo::WalStore& store, const repo::WalObject& object,
                       const SegmentExpectation& expected, const std::string& target);

}  // namespace lifeboat::ops
