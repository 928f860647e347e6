#include "util/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "util/clock.h"
#include "util/cut_off.h"
#include "util/files.h"
#include "util/strings.h"

extern char** environ;

namespace lifeboat {
namespace {

Status make_pipe(Fd& read_end, Fd& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "", "create a pipe");
  read_end = Fd(ends[0]);
  write_end = Fd(ends[1]);
  return {};
}

// Readable once the process has ended; -1 on kernels before 5.3, where callers poll by time.
int open_pidfd(pid_t pid) {
#ifdef SYS_pidfd_open
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
#else
  return -1;
#endif
}

int64_t now_ms() {
  return Clock::system().monotonic_us() / 1000;
}

Result<OsUser> from_passwd(const passwd& entry) {
  OsUser user;
  user.name = entry.pw_name;
  user.uid = entry.pw_uid;
  user.gid = entry.pw_gid;
  user.home = entry.pw_dir;
  int count = 32;
  user.groups.resize(static_cast<size_t>(count));
  while (::getgrouplist(entry.pw_name, entry.pw_gid, user.groups.data(), &count) < 0) {
    // glibc has put the number needed into count.
    user.groups.resize(static_cast<size_t>(std::max(count, static_cast<int>(user.groups.size()) * 2)));
    count = static_cast<int>(user.groups.size());
  }
  user.groups.resize(static_cast<size_t>(count));
  return user;
}

// Where the child was when it could not become the program; sent to the parent through a pipe.
enum class Stage : int { stdio, user, directory, cut_off, program };
struct StartFailure {
  Stage stage;
  int error;
};

struct Prepared {
  std::string program;
  std::vector<char*> argv;
  std::vector<std::string> environment;
  std::vector<char*> envp;
};

void set_variable(std::vector<std::string>& environment, std::string_view name,
                  const std::optional<std::string>& value) {
  std::erase_if(environment, [&](const std::string& entry) {
    return entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name);
  });
  if (value) environment.push_back(cat(name, '=', *value));
}

bool switches_user(const ProcessSpec& spec) {
  return spec.user && spec.user->uid != ::geteuid();
}

Result<Prepared> prepare(const ProcessSpec& spec) {
  CHECK(!spec.argv.empty());
  Prepared prepared;
  auto program = find_program(spec.argv[0]);
  if (!program)
    return make_error(ErrorKind::not_found, spec.argv[0], "no such program")
        .with_hint(spec.argv[0].find('/') == std::string::npos
                       ? cat("PATH is ", ::getenv("PATH") ? ::getenv("PATH") : "empty")
                       : std::string());
  prepared.program = *program;
  for (const std::string& argument : spec.argv) prepared.argv.push_back(const_cast<char*>(argument.c_str()));
  prepared.argv.push_back(nullptr);
  for (char** entry = environ; *entry; ++entry) prepared.environment.emplace_back(*entry);
  if (switches_user(spec)) {
    set_variable(prepared.environment, "HOME", spec.user->home);
    set_variable(prepared.environment, "USER", spec.user->name);
    set_variable(prepared.environment, "LOGNAME", spec.user->name);
  }
  for (const auto& [name, value] : spec.env) set_variable(prepared.environment, name, value);
  for (std::string& entry : prepared.environment) prepared.envp.push_back(entry.data());
  prepared.envp.push_back(nullptr);
  return prepared;
}

// Runs in the child between fork and exec: nothing but system calls. Switching accounts is done with the raw
// calls, since the C library's ones want to tell threads that are not there any more.
[[noreturn]] void become(const ProcessSpec& spec, const Prepared& prepared, ChildProcess::Stdio stdio,
                         bool switch_user, pid_t parent, int report) {
  auto fail = [&](Stage stage) {
    StartFailure failure{stage, errno};
    ssize_t ignored = ::write(report, &failure, sizeof failure);
    (void)ignored;  // the parent sees an early end of the pipe at worst
    ::_exit(127);
  };
  if (spec.new_session) ::setsid();
  int wanted[3] = {stdio.in, stdio.out, stdio.err};
  for (int& fd : wanted) {  // out of the way of 0, 1 and 2 first
    fd = fd < 0 ? ::open("/dev/null", O_RDWR | O_CLOEXEC) : fd;
    if (fd < 0) fail(Stage::stdio);
    fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) fail(Stage::stdio);
  }
  for (int target = 0; target < 3; ++target)
    if (::dup2(wanted[target], target) < 0) fail(Stage::stdio);
#ifdef SYS_close_range
  // Descriptors that some library opened without O_CLOEXEC; kernels before 5.11 do not know the flag, which
  // is fine.
  ::syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
#endif
  if (switch_user) {
    const OsUser& user = *spec.user;
    if (::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0) fail(Stage::user);
    if (::syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0) fail(Stage::user);
    if (::syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0) fail(Stage::user);
  }
  if (!spec.cwd.empty() && ::chdir(spec.cwd.c_str()) != 0) fail(Stage::directory);
  if (spec.ends_with_us) {  // a change of the user would have taken it back
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(127);  // it ended before it could be told
  }
  if (spec.cut_off && !cut_off_from_others()) fail(Stage::cut_off);
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number)
    ::sigaction(number, &standard, nullptr);  // KILL and STOP refuse
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(prepared.program.c_str(), prepared.argv.data(), prepared.envp.data());
  fail(Stage::program);
  ::_exit(127);
}

Error start_error(const ProcessSpec& spec, const Prepared& prepared, StartFailure failure) {
  switch (failure.stage) {
    case Stage::stdio:
      return errno_error(failure.error, prepared.program, "set up standard input and output of");
    case Stage::user: {
      Error error =
          errno_error(failure.error, prepared.program, cat("become user ", spec.user->name, " to run"));
      if (error.kind == ErrorKind::permission) error.hint = cat("run as root or as ", spec.user->name);
      return error;
    }
    case Stage::directory:
      return errno_error(failure.error, spec.cwd, cat("enter the working directory of ", prepared.program));
    case Stage::cut_off:
      return errno_error(failure.error, prepared.program, "keep the network from");
    case Stage::program:
      break;
  }
  return errno_error(failure.error, prepared.program, "execute");
}

ProcessOutcome from_wait_status(int status) {
  ProcessOutcome outcome;
  if (WIFSIGNALED(status))
    outcome.signal = WTERMSIG(status);
  else
    outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

std::string last_line(std::string_view text) {
  text = trim(text);
  size_t at = text.rfind('\n');
  return std::string(trim(at == std::string_view::npos ? text : text.substr(at + 1)));
}

// Reads what is there; false at the end of the pipe.
bool drain(const Fd& from, std::string& into, bool& truncated, size_t limit) {
  std::array<char, 65536> buffer;
  while (true) {
    ssize_t count = ::read(from.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN;
    if (count == 0) return false;
    size_t kept = std::min(static_cast<size_t>(count), limit - std::min(limit, into.size()));
    into.append(buffer.data(), kept);
    if (kept < static_cast<size_t>(count)) truncated = true;
  }
}

}  // namespace

Result<OsUser> OsUser::by_name(const std::string& name) {
  std::vector<char> buffer(16384);
  passwd entry;
  passwd* found = nullptr;
  int err = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (err != 0) return errno_error(err, name, "look up the user account");
  if (!found) return make_error(ErrorKind::not_found, name, "no such user account");
  return from_passwd(entry);
}

Result<OsUser> OsUser::by_uid(uid_t uid) {
  std::vector<char> buffer(16384);
  passwd entry;
  passwd* found = nullptr;
  int err = ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
  if (err != 0) return errno_error(err, cat("uid ", uid), "look up the user account");
  if (!found) return make_error(ErrorKind::not_found, cat("uid ", uid), "no user account has this number");
  return from_passwd(entry);
}

namespace {

void close_everything() {
#ifdef SYS_close_range
  if (::syscall(SYS_close_range, 0u, ~0u, 0u) == 0) return;
#endif
  for (int fd = 0; fd < static_cast<int>(::sysconf(_SC_OPEN_MAX)); ++fd) ::close(fd);
}

[[noreturn]] void live_detached(const std::function<void()>& work) {
  close_everything();
  bool stdio = ::open("/dev/null", O_RDWR) == 0 && ::dup(0) == 1 && ::dup(0) == 2;
  if (stdio && ::chdir("/") == 0) {
    try {
      work();
    } catch (...) {
      // Nobody is left to be told.
    }
  }
  ::_exit(0);
}

}  // namespace

Status run_detached(const std::function<void()>& work) {
  pid_t between = ::fork();
  if (between < 0) return errno_error(errno, "", "start a process");
  if (between == 0) {
    // Its parent goes at once, so that it is nobody's child; no leader of a session, so that it never gets a
    // terminal.
    pid_t detached = ::setsid() < 0 ? -1 : ::fork();
    if (detached == 0) live_detached(work);
    ::_exit(detached < 0 ? 1 : 0);
  }
  int status = 0;
  while (::waitpid(between, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return make_error(ErrorKind::failed, "", "a process could not be left behind");
}

std::optional<std::string> find_program(std::string_view name) {
  auto executable = [](const std::string& path) {
    struct stat st;
    return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && ::access(path.c_str(), X_OK) == 0;
  };
  if (name.empty()) return std::nullopt;
  if (name.find('/') != std::string_view::npos) {
    std::string path(name);
    return executable(path) ? std::optional(path) : std::nullopt;
  }
  const char* path = ::getenv("PATH");
  for (std::string_view directory : split(path ? path : "/usr/local/bin:/usr/bin:/bin", ':')) {
    std::string candidate = cat(directory.empty() ? "." : directory, '/', name);
    if (executable(candidate)) return candidate;
  }
  return std::nullopt;
}

std::string ProcessOutcome::describe() const {
  if (signal == 0) return cat("exit code ", exit_code);
  const char* name = ::sigdescr_np(signal);
  return name ? cat("ended by signal ", signal, " (", name, ")") : cat("ended by signal ", signal);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      leads_group_(other.leads_group_),
      outcome_(std::move(other.outcome_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this != &other) {
    end();
    pid_ = std::exchange(other.pid_, -1);
    leads_group_ = other.leads_group_;
    outcome_ = std::move(other.outcome_);
  }
  return *this;
}

ChildProcess::~ChildProcess() {
  end();
}

Result<ChildProcess> ChildProcess::start(const ProcessSpec& spec, Stdio stdio) {
  TRY_ASSIGN(Prepared prepared, prepare(spec));
  Fd report_read, report_write;
  TRY(make_pipe(report_read, report_write));
  const bool switch_user = switches_user(spec);

  // No handler of ours may run in the child before it has reset them.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid == 0) become(spec, prepared, stdio, switch_user, parent, report_write.get());
  int fork_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return errno_error(fork_error, prepared.program, "fork for");

  ChildProcess child;
  child.pid_ = pid;
  child.leads_group_ = spec.new_session;
  report_write = Fd();
  StartFailure failure;
  ssize_t count;
  do count = ::read(report_read.get(), &failure, sizeof failure);
  while (count < 0 && errno == EINTR);
  if (count == static_cast<ssize_t>(sizeof failure)) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    child.pid_ = -1;
    return start_error(spec, prepared, failure);
  }
  return child;
}

bool ChildProcess::running() {
  if (pid_ < 0 || outcome_) return false;
  int status = 0;
  pid_t got;
  do got = ::waitpid(pid_, &status, WNOHANG);
  while (got < 0 && errno == EINTR);
  if (got == 0) return true;
  // ECHILD: somebody else reaped it (SIGCHLD ignored by the host program); its status is lost, its end is
  // not.
  outcome_ = got > 0 ? from_wait_status(status) : ProcessOutcome();
  return false;
}

Result<ProcessOutcome> ChildProcess::wait(int64_t timeout_ms, const StopToken* stop) {
  CHECK(pid_ >= 0);
  const int64_t deadline = now_ms() + timeout_ms;
  Fd pidfd(open_pidfd(pid_));
  while (running()) {
    if (stop) TRY(stop->check());
    int64_t left = timeout_ms < 0 ? 100 : deadline - now_ms();
    if (left <= 0)
      return make_error(ErrorKind::timeout, cat("process ", pid_),
                        cat("still running after ", timeout_ms, " ms"));
    pollfd watched = {pidfd.get(), POLLIN, 0};
    ::poll(&watched, pidfd.valid() ? 1 : 0,
           static_cast<int>(std::min<int64_t>(left, pidfd.valid() ? 100 : 10)));
  }
  return *outcome_;
}

Status ChildProcess::signal(int number) {
  if (!running()) return make_error(ErrorKind::not_found, cat("process ", pid_), "it has ended already");
  if (::kill(pid_, number) != 0) return errno_error(errno, cat("process ", pid_), "send a signal to");
  return {};
}

void ChildProcess::end(int64_t grace_ms) {
  if (!running()) return;
  const pid_t whom = leads_group_ ? -pid_ : pid_;
  ::kill(whom, SIGTERM);
  if (grace_ms > 0 && wait(grace_ms)) return;
  if (!running()) return;
  ::kill(whom, SIGKILL);
  (void)wait(-1).has_value();  // cannot fail: no time limit, no stop token
}

pid_t ChildProcess::release() {
  pid_t pid = std::exchange(pid_, -1);
  outcome_.reset();
  return pid;
}

Result<ProcessOutcome> run_process(const ProcessSpec& spec, const RunOptions& options) {
  Fd in, out_read, out_write, err_read, err_write;
  if (!options.stdin_text.empty()) {
    // A file in memory: the child reads at its own pace and nothing can block or raise SIGPIPE here.
    in = Fd(::memfd_create("stdin", MFD_CLOEXEC));
    if (!in.valid()) return errno_error(errno, spec.argv[0], "create the input of");
    TRY(write_all(in.get(), as_bytes(options.stdin_text), "standard input of a child"));
    ::lseek(in.get(), 0, SEEK_SET);
  }
  TRY(make_pipe(out_read, out_write));
  TRY(make_pipe(err_read, err_write));
  for (const Fd* fd : {&out_read, &err_read}) ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);

  TRY_ASSIGN(ChildProcess child, ChildProcess::start(spec, {in.get(), out_write.get(), err_write.get()}));
  in = Fd();
  out_write = Fd();
  err_write = Fd();

  ProcessOutcome captured;
  const int64_t started = now_ms();
  int64_t ended_at = 0;
  Fd pidfd(open_pidfd(child.pid()));
  std::optional<Error> broken;
  while (out_read.valid() || err_read.valid() || child.running()) {
    std::array<pollfd, 3> watched = {
        {{out_read.get(), POLLIN, 0}, {err_read.get(), POLLIN, 0}, {-1, POLLIN, 0}}};
    const bool running = child.running();
    if (running) watched[2].fd = pidfd.get();
    if (!running) {
      // A grandchild that outlives the child (pg_ctl start) may hold the pipes for ever: what is in them now
      // is all.
      if (ended_at == 0) ended_at = now_ms();
      if (now_ms() - ended_at > 200) break;
    }
    ::poll(watched.data(), watched.size(), running && pidfd.valid() ? 100 : 10);
    if (out_read.valid() && watched[0].revents != 0 &&
        !drain(out_read, captured.out, captured.out_truncated, options.capture_limit))
      out_read = Fd();
    if (err_read.valid() && watched[1].revents != 0 &&
        !drain(err_read, captured.err, captured.err_truncated, options.capture_limit))
      err_read = Fd();
    if (!running) continue;
    if (options.stop && options.stop->stopped())
      broken = make_error(ErrorKind::cancelled, spec.argv[0], "stopped by request");
    else if (options.timeout_ms > 0 && now_ms() - started >= options.timeout_ms)
      broken =
          make_error(ErrorKind::timeout, spec.argv[0], cat("still running after ", options.timeout_ms, " ms"))
              .with_cause(last_line(captured.err));
    if (broken) {
      child.end(options.kill_after_ms);
      return *std::move(broken);
    }
  }
  ProcessOutcome outcome = *child.outcome();
  outcome.out = std::move(captured.out);
  outcome.err = std::move(captured.err);
  outcome.out_truncated = captured.out_truncated;
  outcome.err_truncated = captured.err_truncated;
  return outcome;
}

Result<ProcessOutcome> run_checked(const ProcessSpec& spec, const RunOptions& options) {
  TRY_ASSIGN(ProcessOutcome outcome, run_process(spec, options));
  if (outcome.ok()) return outcome;
  return make_error(ErrorKind::failed, spec.argv[0], outcome.describe()).with_cause(last_line(outcome.err));
}

}  // namespace lifeboat
