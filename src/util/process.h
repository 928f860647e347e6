// Child processes: no shell, no inherited descriptors, no surprise environment.
//
// Two forms: run_process() for a command that ends and whose output is wanted, ChildProcess for one that
// keeps running beside us. Both take a ProcessSpec. The child gets default signal handlers, an empty signal
// mask and only descriptors 0, 1 and 2. Everything between fork and exec is async-signal-safe, so calling
// from a program with threads is allowed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "util/result.h"
#include "util/stop.h"

namespace lifeboat {

// An account of the operating system, with its supplementary groups, ready for a switch after fork.
struct OsUser {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
  std::vector<gid_t> groups;

  static Result<OsUser> by_name(const std::string& name);  // not_found when there is no such account
  static Result<OsUser> by_uid(uid_t uid);                 // not_found when the number has no account
};

struct ProcessSpec {
  std::vector<std::string> argv;  // argv[0]: a path, or a name that is looked up in PATH
  // Changes to the inherited environment, in order; nullopt removes the variable.
  std::vector<std::pair<std::string, std::optional<std::string>>> env = {};
  std::string cwd = {};  // empty: ours
  std::optional<OsUser> user =
      {};  // switch to this account before exec (needs root unless it is already ours)
  // setsid(): the child survives our terminal and does not see its Ctrl-C. end() then signals its whole
  // group.
  bool new_session = false;
  // The child gets SIGTERM when the thread that starts it ends, however that happens (PR_SET_PDEATHSIG,
  // prctl(2)).
  bool ends_with_us = false;
  bool cut_off = false;  // it reaches nobody (cut_off.h)
};

struct RunOptions {
  std::string_view stdin_text;     // fed to the child; empty: /dev/null
  size_t capture_limit = 1 << 20;  // bytes kept of each of stdout and stderr; the rest is read and dropped
  int64_t timeout_ms = 0;          // 0: no limit
  int64_t kill_after_ms = 5000;    // after a stop or a time-out: SIGTERM, then SIGKILL this much later
  const StopToken* stop = nullptr;
};

struct ProcessOutcome {
  int exit_code = -1;  // valid when signal is 0
  int signal = 0;      // the signal that ended the child; 0: it exited
  std::string out;
  std::string err;
  bool out_truncated = false;  // more came than capture_limit
  bool err_truncated = false;

  bool ok() const { return signal == 0 && exit_code == 0; }
  std::string describe() const;  // "exit code 3", "ended by signal 9 (Killed)"
};

// Runs the command to its end. Any exit is a value; errors: not_found / permission when it cannot be
// executed, timeout, cancelled (the child is ended first in both cases).
Result<ProcessOutcome> run_process(const ProcessSpec& spec, const RunOptions& options = {});
// The same, where anything but exit code 0 is an error too (kind failed; the cause is the last line of
// stderr).
Result<ProcessOutcome> run_checked(const ProcessSpec& spec, const RunOptions& options = {});

// A child that runs beside us. The destructor ends it: SIGTERM, up to two seconds, SIGKILL, wait.
// Thread rule: one thread at a time.
class ChildProcess {
 public:
  // Descriptors that become the child's 0, 1 and 2; they stay the caller's. -1: /dev/null.
  struct Stdio {
    int in = -1;
    int out = -1;
    int err = -1;
  };
  static Result<ChildProcess> start(const ProcessSpec& spec, Stdio stdio);
  static Result<ChildProcess> start(const ProcessSpec& spec) { return start(spec, Stdio()); }

  ChildProcess() = default;
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  bool running();                                                            // reaps; false once it has ended
  const std::optional<ProcessOutcome>& outcome() const { return outcome_; }  // set once it has ended
  // Waits for the end. timeout (also when timeout_ms is 0 and it still runs; negative: no limit), cancelled.
  Result<ProcessOutcome> wait(int64_t timeout_ms, const StopToken* stop = nullptr);
  Status signal(int number);  // not_found once it has ended: the number may belong to somebody else by then
  void end(int64_t grace_ms = 2000);  // SIGTERM, grace, SIGKILL, wait
  pid_t release();                    // leaves it running and forgets it

 private:
  pid_t pid_ = -1;
  bool leads_group_ = false;
  std::optional<ProcessOutcome> outcome_;
};

// Runs `work` in a process that is left behind: not our child, in a session of its own, in /, with /dev/null
// for 0, 1 and 2 and no other descriptor. It shares nothing with us from here on, has a copy of our memory,
// and ends with exit code 0 when `work` returns; nothing of ours is destroyed in it. Signal handlers stay.
// The caller must have one thread. Errors of starting it only.
Status run_detached(const std::function<void()>& work);

// The path that PATH gives for a program name; a name with a slash is returned as it is when executable.
std::optional<std::string> find_program(std::string_view name);

}  // namespace lifeboat
