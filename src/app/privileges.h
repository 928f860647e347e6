// Who runs what: a command started as root becomes the owner of the data directory before it creates anything
// or starts PostgreSQL (which refuses to run as root).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "util/process.h"
#include "util/result.h"

namespace lifeboat::app {

// Chooses whom root becomes: `os_user` when given (--os-user), else the owner of the first of `paths` that
// exists and is not owned by root, else `postgres`. precondition error when none of them can be had, or
// `os_user` is root.
Result<OsUser> choose_owner(const std::optional<std::string>& os_user, const std::vector<std::string>& paths);

// Makes the calling process that user for good: supplementary groups, group, user; HOME, USER and LOGNAME
// follow. The working directory becomes / when the user may not enter the present one. Call before threads
// exist.
Status become(const OsUser& user);

// Makes `path` (mode 0700, owned by `user`) when it is not there and `user` could not make it. The parent
// must exist. For root, before become().
Status create_directory_for(const OsUser& user, const std::string& path);

}  // namespace lifeboat::app
