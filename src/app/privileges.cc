#include "app/privileges.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr const char* kDefaultUser = "postgres";

// The kernel's own rule for classes: the first that applies decides.
bool may_write(const OsUser& user, const struct stat& status) {
  if (user.uid == 0) return true;
  constexpr mode_t kWriteAndEnter = 3;
  if (status.st_uid == user.uid) return ((status.st_mode >> 6) & kWriteAndEnter) == kWriteAndEnter;
  for (gid_t group : user.groups) {
    if (group == status.st_gid) return ((status.st_mode >> 3) & kWriteAndEnter) == kWriteAndEnter;
  }
  return (status.st_mode & kWriteAndEnter) == kWriteAndEnter;
}

}  // namespace

Result<OsUser> choose_owner(const std::optional<std::string>& os_user,
                            const std::vector<std::string>& paths) {
  if (os_user) {
    auto user = OsUser::by_name(*os_user);
    if (!user) return std::move(user).error().within("--os-user");
    if (user->uid == 0) {
      return make_error(ErrorKind::precondition, *os_user,
                        "--os-user may not be root: PostgreSQL refuses to run as root");
    }
    return user;
  }
  for (const std::string& path : paths) {
    struct stat status = {};
    if (path.empty() || stat(path.c_str(), &status) != 0 || status.st_uid == 0) continue;
    auto owner = OsUser::by_uid(status.st_uid);
    if (!owner) {
      return std::move(owner)
          .error()
          .within(cat("owner of ", path))
          .with_hint("name the user with --os-user");
    }
    return owner;
  }
  auto user = OsUser::by_name(kDefaultUser);
  if (user) return user;
  return make_error(ErrorKind::precondition, "started as root",
                    "no data directory or repository whose owner could run "
                    "this, and there is no user postgres")
      .with_hint("name the user with --os-user");
}

Status become(const OsUser& user) {
  if (setgroups(user.groups.size(), user.groups.data()) != 0)
    return errno_error(errno, user.name, "take on the groups of the user");
  if (setgid(user.gid) != 0) return errno_error(errno, user.name, "take on the group of the user");
  if (setuid(user.uid) != 0) return errno_error(errno, user.name, "become the user");
  if (user.uid != 0 && setuid(0) == 0) {
    return make_error(ErrorKind::internal, user.name, "could become root again after giving it up");
  }
  setenv("HOME", user.home.c_str(), 1);
  setenv("USER", user.name.c_str(), 1);
  setenv("LOGNAME", user.name.c_str(), 1);
  // Programs started from a directory that their user may not enter complain or fail.
  if (access(".", X_OK) != 0 && chdir("/") != 0) return errno_error(errno, "/", "change to");
  return {};
}

Result<bool> create_directory_for(const OsUser& user, const std::string& path) {
  struct stat status = {};
  if (stat(path.c_str(), &status) == 0 || errno != ENOENT)
    return false;  // whatever is wrong, its user will be told
  if (stat(parent_path(path).c_str(), &status) != 0 || may_write(user, status)) return false;
  if (mkdir(path.c_str(), 0700) != 0) return errno_error(errno, path, "create the directory");
  // By descriptor and without following links: somebody else might have put one there in between.
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (fchown(fd.get(), user.uid, user.gid) != 0) {
    return errno_error(errno, path, cat("give the directory to ", user.name));
  }
  return true;
}

Result<EmptyDirectoryGuard> EmptyDirectoryGuard::watch(std::string path) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "", "create a pipe");
  Fd reading(ends[0]);
  Fd writing(ends[1]);
  pid_t child = ::fork();
  if (child < 0) return errno_error(errno, "", "fork");
  if (child > 0) return EmptyDirectoryGuard(child, std::move(writing));
  // Out of reach of the terminal's signals, and no holder of anybody's pipes.
  ::setsid();
  writing = Fd();
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(fd);
  char byte;
  while (::read(reading.get(), &byte, 1) < 0 && errno == EINTR) {
  }
  ::rmdir(path.c_str());
  ::_exit(0);
}

EmptyDirectoryGuard::~EmptyDirectoryGuard() {
  if (child_ < 0) return;
  pipe_ = Fd();
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace lifeboat::app
