#include "ops/mount/users.h"

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

std::vector<MountUser> mount_users(const std::string& directory) {
  std::vector<MountUser> users;
  auto entries = list_dir("/proc");
  if (!entries) return users;
  const std::string below = cat(directory, "/");
  for (const DirEntry& entry : *entries) {
    auto pid = parse_u64(entry.name);
    if (!pid) continue;
    auto cwd = read_link(cat("/proc/", entry.name, "/cwd"));
    if (!cwd || (*cwd != directory && !cwd->starts_with(below))) continue;
    // The server's processes work in its data directory (ChangeToDataDir in
    // src/backend/utils/init/miscinit.c).
    auto program = read_link(cat("/proc/", entry.name, "/exe"));
    users.push_back(
        {static_cast<pid_t>(*pid), *cwd == directory && program && base_name(*program) == "postgres"});
  }
  return users;
}

}  // namespace lifeboat::ops
