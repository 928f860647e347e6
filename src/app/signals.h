// SIGINT, SIGTERM and SIGHUP ask the work to stop; the second one ends the process. SIGPIPE is ignored: a
// closed pipe is an error of write(2).
#pragma once

#include "util/stop.h"

namespace lifeboat::app {

// `stop` must outlive the process's use of signals. Handlers restart system calls (SA_RESTART).
void catch_signals(StopToken& stop);
// An abort() ends the process with `code` instead of a signal, for commands whose caller takes signals for
// crashes.
void exit_on_abort(int code);

}  // namespace lifeboat::app
