// Who keeps a mount from being unmounted.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace lifeboat::ops {

struct MountUser {
  pid_t pid = 0;
  bool server = false;  // PostgreSQL's, with `directory` as its data directory
};

// The processes whose working directory is `directory` or below it, as far as they may be seen. Told from
// /proc alone (the text of a link is the kernel's own): a mount that does not answer is not asked.
std::vector<MountUser> mount_users(const std::string& directory);

}  // namespace lifeboat::ops
