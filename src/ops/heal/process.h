// Processes that healing may look at and end: the archiver's command, and our daemon (SH1).
//
// A process is named by its number and its start together, so that what is ended is what was looked at.
// "Ours" is a process that runs this program: by the file that it executes, and by the words it was started
// with. Nothing else is ever signalled.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct ProcessFacts {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // of the kernel's clock, since boot
  double seconds = 0;        // that it has run
  std::string command;       // its words, for people
  bool ours = false;
};

// What runs below the archiver of the server whose postmaster is `postmaster`, the leaves of it: a shell that
// waits for our program is not what hangs. Empty: the archiver runs no command, or there is none.
std::vector<ProcessFacts> archiver_commands(pid_t postmaster);

// `words` are those that a process of ours was started with, in order ("wal", "push"). nullopt: there is no
// such process, or it may not be looked at.
std::optional<ProcessFacts> look_at_process(pid_t pid, const std::vector<std::string_view>& words);

// SIGTERM, and SIGKILL when it is still there after `grace_ms`; waits until it is gone. Errors: precondition
// (it is not ours, or another process has its number now), permission, timeout, cancelled.
Status end_process(const ProcessFacts& process, int64_t grace_ms, const StopToken& stop);

}  // namespace lifeboat::ops
