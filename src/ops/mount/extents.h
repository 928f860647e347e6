// Which parts of a sparse file hold what was written into it.
//
// SEEK_DATA alone does not tell. A file system allocates space before it writes into it, and marks it as not
// written until that is done (ext4, XFS, Btrfs); a power cut in between leaves it so. Such space is a hole
// for SEEK_DATA only until somebody reads it, or the kernel reads ahead over it: from then on there are pages
// of zeros in its cache, and those count as data (folio_seek_hole_data in mm/filemap.c). The file system's
// own map (FIEMAP, Documentation/filesystems/fiemap.rst) keeps the two apart.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "util/result.h"

namespace lifeboat::ops {

enum class ExtentKind : uint8_t {
  written,
  reserved,  // allocated, never written
};

// Calls `found` for each run of one kind in [0, size), front to back; what it is not called for is a hole.
// What is in the page cache only is written back first; nobody else may write meanwhile. Where a file system
// has no such map (tmpfs, ZFS, NFS), by SEEK_DATA.
Status each_extent(int fd, std::string_view path, uint64_t size,
                   const std::function<Status(uint64_t begin, uint64_t end, ExtentKind kind)>& found);

}  // namespace lifeboat::ops
