// Directories that the kernel lists, by the handles that it got for them.
#pragma once

#include <dirent.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "util/bytes.h"
#include "util/files.h"

namespace lifeboat::ops {

// Thread rule: any thread.
class Listings {
 public:
  // nullopt: not listed under this name, or not at all.
  using Shown = std::function<std::optional<std::string>(std::string_view name)>;

  // 0 and a handle, or an errno.
  int open(Fd directory, uint64_t& handle);
  // At most `room` bytes of entries as FUSE_READDIR answers them, from `offset` on: 0 or an errno.
  int read(uint64_t handle, uint64_t offset, size_t room, const Shown& shown, Bytes& entries) const;
  int sync(uint64_t handle) const;  // 0 or an errno
  void close(uint64_t handle);

 private:
  struct Listing {
    explicit Listing(DIR* stream) : directory(stream) {}
    Listing(const Listing&) = delete;
    Listing& operator=(const Listing&) = delete;
    ~Listing() { closedir(directory); }
    DIR* directory;
    std::mutex mutex;
    long at = 0;
  };
  std::shared_ptr<Listing> find(uint64_t handle) const;

  mutable std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Listing>> listings_;
  uint64_t next_ = 1;
};

}  // namespace lifeboat::ops
