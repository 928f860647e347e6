#include "pg/server/postmaster.h"

#include <signal.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

// Start time of a process in clock ticks since boot: field 22 of /proc/PID/stat, counted after the command in
// parentheses, which may hold anything. 0 when it cannot be read.
uint64_t start_ticks_of(pid_t pid) {
  auto text = read_text(cat("/proc/", pid, "/stat"), 1 << 16);
  if (!text) return 0;
  size_t close = text->rfind(')');
  if (close == std::string::npos) return 0;
  std::vector<std::string_view> fields = split(trim(std::string_view(*text).substr(close + 1)), ' ');
  constexpr size_t kStartTime = 22 - 3;  // the first field after the command is number 3
  return fields.size() > kStartTime ? parse_u64(fields[kStartTime]).value_or(0) : 0;
}

bool alive(pid_t pid) {
  return ::kill(pid, 0) == 0 || errno == EPERM;
}

// A zombie has ended already; only its parent has not looked yet.
bool zombie(pid_t pid) {
  auto text = read_text(cat("/proc/", pid, "/stat"), 1 << 16);
  if (!text) return false;
  size_t close = text->rfind(')');
  return close != std::string::npos && close + 2 < text->size() && (*text)[close + 2] == 'Z';
}

// Does /proc prove that this process is not the server of that directory? Postmaster and standalone backends
// work in their data directory, so a working directory elsewhere is proof; one that may not be read proves
// nothing.
bool proven_other(pid_t pid, const std::string& data_directory) {
  struct stat process, directory;
  if (::stat(cat("/proc/", pid, "/cwd").c_str(), &process) != 0) return false;
  if (::stat(data_directory.c_str(), &directory) != 0) return false;
  return process.st_dev != directory.st_dev || process.st_ino != directory.st_ino;
}

bool shared_memory_attached(const PidFile& file) {
  if (file.shmem_id < 0) return false;
  struct shmid_ds segment;
  if (::shmctl(file.shmem_id, IPC_STAT, &segment) == 0) return segment.shm_nattch > 0;
  // Removed: nobody. Not ours to look at (EACCES): it exists under another account, so not of this server's
  // owner.
  return false;
}

}  // namespace

std::optional<PidFile> PidFile::parse(std::string_view text) {
  std::vector<std::string_view> lines = split(text, '\n');
  auto line = [&](size_t number) {
    return number <= lines.size() ? trim(lines[number - 1]) : std::string_view();
  };
  auto pid = parse_i64(line(1));
  if (!pid || *pid == 0 || *pid > INT32_MAX || *pid < -INT32_MAX) return std::nullopt;
  PidFile file;
  file.standalone = *pid < 0;
  file.pid = static_cast<pid_t>(*pid < 0 ? -*pid : *pid);
  file.data_directory = line(2);
  file.start_time = parse_i64(line(3)).value_or(0);
  file.port = static_cast<int>(parse_u64(line(4)).value_or(0));
  file.socket_directory = line(5);
  file.listen_address = line(6);
  // "key id" of the System V segment that guards the directory.
  std::string_view shmem = line(7);
  if (size_t space = shmem.find(' '); space != std::string_view::npos) {
    auto key = parse_u64(trim(shmem.substr(0, space)));
    auto id = parse_i64(trim(shmem.substr(space)));
    if (key && id && *id <= INT32_MAX) {
      file.shmem_key = *key;
      file.shmem_id = static_cast<int>(*id);
    }
  }
  file.status = line(8);
  return file;
}

Result<std::optional<RunningServer>> running_server(const std::string& data_directory) {
  const std::string path = join_path(data_directory, "postmaster.pid");
  auto text = read_text(path, 1 << 16);
  if (!text) {
    if (text.error().kind == ErrorKind::not_found) return std::optional<RunningServer>();
    return std::move(text).error();
  }
  auto file = PidFile::parse(*text);
  if (!file)
    return make_error(ErrorKind::precondition, path, "exists, but names no process")
        .with_hint("a server is just starting or crashed while starting; if none runs, remove the file");
  RunningServer server{*file, RunningBy::process, 0};
  const bool reused = file->pid == ::getpid() || file->pid == ::getppid();
  if (!reused && alive(file->pid) && !zombie(file->pid) && !proven_other(file->pid, data_directory)) {
    server.start_ticks = start_ticks_of(file->pid);
    return std::optional(std::move(server));
  }
  if (shared_memory_attached(*file)) {
    server.by = RunningBy::shared_memory;
    return std::optional(std::move(server));
  }
  return std::optional<RunningServer>();
}

Status stop_server(const RunningServer& server, StopMode mode, int64_t timeout_ms, const StopToken* stop) {
  const pid_t pid = server.pid_file.pid;
  const std::string object = cat("server process ", pid);
  if (server.by == RunningBy::shared_memory)
    return make_error(ErrorKind::precondition, object,
                      "the postmaster has ended, but processes of it are still there")
        .with_hint("end the orphaned backends first");
  // A descriptor of the process, taken before its identity is checked, cannot come to mean another one.
  Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  auto same = [&] { return alive(pid) && !zombie(pid) && start_ticks_of(pid) == server.start_ticks; };
  if (!same()) return make_error(ErrorKind::not_found, object, "it has ended already");
  const int number = mode == StopMode::smart ? SIGTERM : mode == StopMode::fast ? SIGINT : SIGQUIT;
  const long sent = handle.valid() ? ::syscall(SYS_pidfd_send_signal, handle.get(), number, nullptr, 0)
                                   : ::kill(pid, number);
  if (sent != 0) {
    if (errno == ESRCH) return make_error(ErrorKind::not_found, object, "it has ended already");
    return errno_error(errno, object, "send a signal to");
  }
  Clock& clock = Clock::system();
  const int64_t deadline = clock.monotonic_us() + timeout_ms * 1000;
  while (same()) {
    if (stop) TRY(stop->check());
    if (clock.monotonic_us() >= deadline)
      return make_error(ErrorKind::timeout, object, cat("it did not stop within ", timeout_ms, " ms"));
    clock.sleep_us(10'000);
  }
  return {};
}

}  // namespace lifeboat::pg
