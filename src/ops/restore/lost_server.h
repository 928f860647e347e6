// Servers of a directory whose mount is gone, and what a crash leaves of their locks.
#pragma once

#include <sys/types.h>

#include <string>

#include "util/result.h"

namespace lifeboat::ops {

// One that nobody has waited for has ended as far as anybody is concerned.
bool process_ended(pid_t pid);

// A server whose files answer nothing can only be ended: SIGQUIT, then SIGKILL. `timeout` when it stays.
Status end_lost_server(const std::string& directory);

// Removes postmaster.pid and the socket's files when their process and its children are certainly gone.
// (Where process 1 does not reap, they seem alive.)
Status remove_stale_pid_file(const std::string& directory);

}  // namespace lifeboat::ops
