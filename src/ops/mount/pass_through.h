// Files that the kernel reads and writes itself, without asking us: FUSE pass-through, Linux 6.9 and later.
//
// Only a file that has nothing to do with the backup any more may be: one that was made since, WAL above all,
// or one whose every block is there and durable. All openings of a file at one time are of one kind, so it is
// decided when nobody has it open. The names below stand in include/uapi/linux/fuse.h since 6.9, which is
// newer than the headers that we build with.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "ops/mount/mounter.h"

namespace lifeboat::ops {

inline constexpr uint32_t kFuseInitExt = 1u << 30;                  // FUSE_INIT_EXT
inline constexpr uint32_t kFusePassThroughFlag2 = 1u << (37 - 32);  // FUSE_PASSTHROUGH
inline constexpr uint32_t kOpenPassThrough = 1u << 7;               // FOPEN_PASSTHROUGH
// The data may itself lie on one stacked file system: overlayfs, in a container.
inline constexpr uint32_t kStackDepth = 2;

struct BackingMap {  // struct fuse_backing_map
  int32_t fd = -1;
  uint32_t flags = 0;
  uint64_t padding = 0;
};
inline constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);  // FUSE_DEV_IOC_BACKING_OPEN
inline constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);   // FUSE_DEV_IOC_BACKING_CLOSE

// A file that the kernel knows by a number, as long as this lives. Thread rule: one thread at a time.
class Backing {
 public:
  // nullopt where that does not work: an older kernel, or nobody who may.
  static std::optional<Backing> open(Mounter& mounter, int device, int file) {
    auto id = mounter.open_backing(device, file);
    if (!id) return std::nullopt;
    return Backing(mounter, device, *id);
  }
  Backing(Backing&& other) noexcept
      : mounter_(std::exchange(other.mounter_, nullptr)), device_(other.device_), id_(other.id_) {}
  Backing& operator=(Backing&&) = delete;
  ~Backing() {
    if (mounter_ != nullptr) mounter_->close_backing(device_, id_);
  }
  uint32_t id() const { return id_; }

 private:
  Backing(Mounter& mounter, int device, uint32_t id) : mounter_(&mounter), device_(device), id_(id) {}
  Mounter* mounter_;
  int device_;
  uint32_t id_;
};

}  // namespace lifeboat::ops
