#include "ops/restore/lost_server.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "ops/mount/users.h"
#include "pg/server/postmaster.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kKillUs = 10'000'000;

std::vector<pid_t> servers_in(const std::string& directory) {
  std::vector<pid_t> found;
  for (const MountUser& user : mount_users(directory)) {
    if (user.server) found.push_back(user.pid);
  }
  return found;
}

// A socket of that name may be another server's by now, whose process its lock file names
// (CreateSocketLockFile in src/backend/utils/init/miscinit.c).
Status remove_stale_socket(const pg::PidFile& file) {
  const std::string socket = cat(file.socket_directory, "/.s.PGSQL.", file.port);
  const std::string lock = cat(socket, ".lock");
  auto text = read_text(lock, 64 << 10);
  if (!text) return {};
  auto owner = pg::PidFile::parse(*text);
  if (!owner || owner->pid != file.pid) return {};
  TRY(remove_file(socket));
  return remove_file(lock);
}

}  // namespace

bool process_ended(pid_t pid) {
  if (kill(pid, 0) != 0 && errno == ESRCH) return true;
  auto text = read_text(cat("/proc/", pid, "/stat"), 4096);
  if (!text) return true;
  size_t name_end = text->rfind(')');
  return name_end != std::string::npos && text->size() > name_end + 2 && (*text)[name_end + 2] == 'Z';
}

Status end_lost_server(const std::string& directory) {
  for (int number : {SIGQUIT, SIGKILL}) {
    std::vector<pid_t> lost = servers_in(directory);
    for (pid_t pid : lost) {
      if (kill(pid, number) != 0 && errno != ESRCH) return errno_error(errno, cat("process ", pid), "end");
    }
    const int64_t began = Clock::system().monotonic_us();
    while (!std::ranges::all_of(lost, process_ended) && Clock::system().monotonic_us() - began < kKillUs)
      Clock::system().sleep_us(20'000);
  }
  if (servers_in(directory).empty()) return {};
  return make_error(ErrorKind::timeout, directory, "the server that lost its mount does not end");
}

Status remove_stale_pid_file(const std::string& directory) {
  const std::string path = join_path(directory, "postmaster.pid");
  auto text = read_text(path, 64 << 10);
  if (!text) return {};
  auto file = pg::PidFile::parse(*text);
  if (file && file->pid > 0 && !process_ended(file->pid)) return {};
  // Its children may have outlived it.
  if (!servers_in(directory).empty()) return {};
  if (file && !file->socket_directory.empty()) TRY(remove_stale_socket(*file));
  return remove_file(path);
}

}  // namespace lifeboat::ops
