// Reads ranges of a file that a running server may extend, truncate or remove at any moment (T07). Each of
// these is a value, not an error: the caller knows whether WAL replay will repair it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::pg {

struct FileState {
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  uint64_t inode = 0;
};

// Thread rule: read() may be called by several threads at once.
class RangeReader {
 public:
  // nullopt: no such file (any more). Opened without touching the access time where the kernel lets us
  // (O_NOATIME needs the file's owner), never following a symbolic link as the last element. Errors:
  // permission, unavailable (I/O), precondition (not a regular file).
  static Result<std::optional<RangeReader>> open(const std::string& path);

  RangeReader(RangeReader&& other) noexcept;
  RangeReader& operator=(RangeReader&& other) noexcept;
  ~RangeReader();

  // Reads up to into.size() bytes at `offset`; fewer only where the file ends. Returns the count: 0 at or
  // past the end.
  Result<size_t> read(uint64_t offset, MutableBytes into) const;
  Result<FileState> state() const;
  // Tells the kernel that the range will be read soon, front to back.
  void will_read(uint64_t offset, uint64_t length) const;
  // Tells the kernel that the range is not needed in its cache on our behalf.
  void done_with(uint64_t offset, uint64_t length) const;
  const std::string& path() const { return path_; }

 private:
  RangeReader(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_ = -1;
  std::string path_;
};

}  // namespace lifeboat::pg
