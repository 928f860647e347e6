// SIGINT, SIGTERM and SIGHUP ask the work to stop; another one, 0.3 s later or more, ends the process.
// SIGPIPE and SIGXFSZ are ignored: a closed pipe and a limit on files are errors of write(2).
#pragma once

#include "util/stop.h"

namespace lifeboat::app {

// `stop` must outlive the process's use of signals. Handlers restart system calls (SA_RESTART).
void catch_signals(StopToken& stop);
// A crash (abort, segmentation fault, bus error …) ends the process with `code` and a line that says so,
// instead of with the signal: for commands whose caller treats signals otherwise than failures.
void exit_on_crash(int code);

}  // namespace lifeboat::app
