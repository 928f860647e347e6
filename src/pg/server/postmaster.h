// Is a server running in a data directory, and which process is it?
//
// The answer errs towards yes: a postmaster.pid whose process is alive, or whose shared memory segment is
// still attached by orphaned backends, counts as running unless /proc proves that the process is somebody
// else's (T35). PostgreSQL's own test is CreateLockFile in src/backend/utils/init/miscinit.c and
// PGSharedMemoryIsInUse in src/backend/port/sysv_shmem.c.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::pg {

// postmaster.pid, line by line (src/include/utils/pidfile.h).
struct PidFile {
  pid_t pid = 0;
  bool standalone = false;  // a single-user backend: the number is written negative
  std::string data_directory;
  int64_t start_time = 0;  // seconds since 1970
  int port = 0;
  std::string socket_directory;
  std::string listen_address;
  unsigned long shmem_key = 0;
  int shmem_id = -1;
  std::string status;  // "starting", "stopping", "ready", "standby"; before the line is there: ""

  // nullopt when not even a process number is there.
  static std::optional<PidFile> parse(std::string_view text);
};

enum class RunningBy : uint8_t {
  process,        // the process is alive and works in this directory, as far as can be seen
  shared_memory,  // the postmaster is gone, but processes are still attached to its shared memory
};

struct RunningServer {
  PidFile pid_file;
  RunningBy by = RunningBy::process;
  // Kernel start time of the process in clock ticks since boot, so that signals hit this very process; 0
  // unknown.
  uint64_t start_ticks = 0;
};

// nullopt: no server runs in `data_directory`. Errors: permission when postmaster.pid exists and cannot be
// read, precondition when it is there but empty (a server is just starting, or it crashed while starting).
Result<std::optional<RunningServer>> running_server(const std::string& data_directory);

enum class StopMode : uint8_t { smart, fast, immediate };

// Sends the stop signal to exactly that process (checked by its start time) and waits until it is gone.
// Errors: timeout, cancelled, permission, not_found (it had ended before).
Status stop_server(const RunningServer& server, StopMode mode, int64_t timeout_ms,
                   const StopToken* stop = nullptr);

}  // namespace lifeboat::pg
