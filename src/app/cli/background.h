// A command of ours that goes on without the one that starts it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "app/invocation.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::app {

struct BackgroundCommand {
  std::vector<std::string> arguments;  // with the program, absolute
  int standard_input = -1;             // -1: /dev/null
  std::string log_file;                // what it says is appended there
  std::string first_line;              // how the line begins that says that it is at work
};
// Starts it in a session of its own and waits until it has said a line that begins so. Returns its process
// number; nullopt when it ended well before that, because nothing was left to do. When it failed, the error
// has the last line of its log as cause; `cancelled` ends it.
Result<std::optional<pid_t>> start_in_background(const BackgroundCommand& command, const StopToken& stop);

// A process that mounts and serves the mount that `directory` holds; returns when it is mounted. nullopt: all
// that was left to do was to end it.
enum class Bring : uint8_t { what_is_read, everything };
Result<std::optional<pid_t>> start_mount(const Invocation& invocation, const std::string& directory,
                                         Bring bring);

}  // namespace lifeboat::app
