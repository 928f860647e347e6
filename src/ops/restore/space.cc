#include "ops/restore/space.h"

#include <algorithm>

#include "ops/restore/marker.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

Result<uint64_t> allocated_below(const std::string& directory) {
  uint64_t bytes = 0;
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(directory));
  for (const DirEntry& entry : entries) {
    std::string path = join_path(directory, entry.name);
    TRY_ASSIGN(FileInfo info, lstat_path(path));
    bytes += info.allocated;
    if (entry.kind == FileKind::directory) {
      TRY_ASSIGN(uint64_t below, allocated_below(path));
      bytes += below;
    }
  }
  return bytes;
}

Result<std::string> nearest_existing(std::string path) {
  while (true) {
    TRY_ASSIGN(bool there, path_exists(path));
    if (there || path == "/") return path;
    path = parent_path(path);
  }
}

}  // namespace

Result<std::vector<SpaceNeed>> measure_space(const std::vector<Placement>& placements, uint64_t wal_bytes) {
  std::vector<SpaceNeed> needs;
  for (const Placement& place : placements) {
    TRY_ASSIGN(std::string path, nearest_existing(place.staging_path));
    TRY_ASSIGN(FileInfo info, stat_path(path));
    auto need = std::ranges::find_if(needs, [&](const SpaceNeed& n) { return n.device == info.device; });
    if (need == needs.end()) {
      TRY_ASSIGN(uint64_t free, free_bytes(path));
      needs.push_back({path, info.device, 0, free, {}});
      need = std::prev(needs.end());
    }
    need->needed += place.room.value_or(place.bytes) + (place.tablespace == 0 ? wal_bytes : 0);
    need->placements.push_back(place.final_path);
    TRY_ASSIGN(DirectoryLook look, look_at_directory(place.staging_path));
    if (look.state == DirectoryState::incomplete && !place.overwrites) {
      TRY_ASSIGN(uint64_t cleared, allocated_below(place.staging_path));
      need->free += cleared;
    }
  }
  return needs;
}

Status check_space(const std::vector<SpaceNeed>& needs) {
  for (const SpaceNeed& need : needs) {
    if (need.needed <= need.free) continue;
    return make_error(ErrorKind::space, need.path,
                      cat("the file system has ", format_bytes(need.free), " free, the restore needs ",
                          format_bytes(need.needed), " for ", join(need.placements, ", ")))
        .with_hint(
            "free space there, or put the data directory or a tablespace elsewhere (--to, --tablespace)");
  }
  return {};
}

}  // namespace lifeboat::ops
