// Who runs what: a command started as root becomes the owner of the data directory before it creates anything
// or starts PostgreSQL (which refuses to run as root).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "util/files.h"
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

// Makes `path` (mode 0700, owned by `user`) when it is not there and `user` could not make it; true when it
// did. The parent must exist. For root, before become().
Result<bool> create_directory_for(const OsUser& user, const std::string& path);

// Removes a directory at its end if it is still empty then: one that was made for a command which came to
// nothing. A small child process stays root for that, because become() is for good. Make it before become()
// and before threads exist.
class EmptyDirectoryGuard {
 public:
  static Result<EmptyDirectoryGuard> watch(std::string path);
  EmptyDirectoryGuard(EmptyDirectoryGuard&& other) noexcept
      : child_(std::exchange(other.child_, -1)), pipe_(std::move(other.pipe_)) {}
  EmptyDirectoryGuard& operator=(EmptyDirectoryGuard&&) = delete;
  ~EmptyDirectoryGuard();

 private:
  EmptyDirectoryGuard(pid_t child, Fd pipe) : child_(child), pipe_(std::move(pipe)) {}
  pid_t child_;
  Fd pipe_;  // its end, also when we are killed, is the child's sign
};

}  // namespace lifeboat::app
