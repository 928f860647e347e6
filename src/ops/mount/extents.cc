#include "ops/mount/extents.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

namespace lifeboat::ops {

namespace {

constexpr uint32_t kExtents = 256;  // asked for at once

using Found = std::function<Status(uint64_t begin, uint64_t end, ExtentKind kind)>;

Status by_seeking(int fd, std::string_view path, uint64_t size, const Found& found) {
  for (uint64_t at = 0; at < size;) {
    off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return errno_error(errno, std::string(path), "look for data in");
    off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return errno_error(errno, std::string(path), "look for holes in");
    at = static_cast<uint64_t>(hole);
    TRY(found(static_cast<uint64_t>(data), std::min(at, size), ExtentKind::written));
  }
  return {};
}

// Joins what follows on each other: an extent may end in the middle of a block.
class Joined {
 public:
  Joined(uint64_t size, const Found& found) : size_(size), found_(found) {}

  Status add(uint64_t begin, uint64_t end, ExtentKind kind) {
    end = std::min(end, size_);
    if (begin >= end) return {};
    if (begin == end_ && kind == kind_) {
      end_ = end;
      return {};
    }
    TRY(finish());
    begin_ = begin;
    end_ = end;
    kind_ = kind;
    return {};
  }

  Status finish() { return begin_ < end_ ? found_(begin_, end_, kind_) : Status(); }

 private:
  uint64_t size_;
  const Found& found_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  ExtentKind kind_ = ExtentKind::written;
};

}  // namespace

Status each_extent(int fd, std::string_view path, uint64_t size, const Found& found) {
  const size_t room = sizeof(fiemap) + kExtents * sizeof(fiemap_extent);
  auto buffer = std::make_unique<uint64_t[]>((room + sizeof(uint64_t) - 1) / sizeof(uint64_t));
  auto* map = reinterpret_cast<fiemap*>(buffer.get());
  Joined joined(size, found);
  for (uint64_t at = 0; at < size;) {
    std::memset(map, 0, sizeof *map);
    map->fm_start = at;
    map->fm_length = size - at;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = kExtents;
    if (ioctl(fd, FS_IOC_FIEMAP, map) != 0) {
      if (at == 0 && (errno == EOPNOTSUPP || errno == ENOTTY)) return by_seeking(fd, path, size, found);
      return errno_error(errno, std::string(path), "read the map of extents of");
    }
    if (map->fm_mapped_extents == 0) break;
    for (uint32_t i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& extent = map->fm_extents[i];
      const bool reserved =
          (extent.fe_flags & (FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_DELALLOC)) == FIEMAP_EXTENT_UNWRITTEN;
      const uint64_t begin = std::max<uint64_t>(at, extent.fe_logical);
      const uint64_t end = extent.fe_logical + extent.fe_length;
      TRY(joined.add(begin, end, reserved ? ExtentKind::reserved : ExtentKind::written));
      at = std::max(at, end);
    }
    if ((map->fm_extents[map->fm_mapped_extents - 1].fe_flags & FIEMAP_EXTENT_LAST) != 0) break;
  }
  return joined.finish();
}

}  // namespace lifeboat::ops
