#include "app/cli/background.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "ops/mount/shown_names.h"
#include "ops/wal/commands.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr int64_t kPollUs = 2'000;
constexpr uint64_t kLogLimit = 64 << 20;
constexpr int64_t kEndMs = 10'000;

// What it complained of: without the prefix, which the caller's message has again.
std::string last_line(const std::string& log_file) {
  auto text = read_text(log_file, kLogLimit);
  if (!text) return {};
  return std::string(trim(split(trim(*text), '\n').back()));
}

}  // namespace

Result<std::optional<pid_t>> start_in_background(const BackgroundCommand& command, const StopToken& stop) {
  TRY_ASSIGN(Fd log, open_file(command.log_file, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
  off_t read_to = lseek(log.get(), 0, SEEK_END);
  ProcessSpec spec;
  spec.argv = command.arguments;
  spec.new_session = true;
  spec.cwd.assign(1, '/');
  TRY_ASSIGN(ChildProcess child, ChildProcess::start(spec, {command.standard_input, log.get(), log.get()}));
  std::string said;
  for (;;) {
    if (auto stopped = stop.check(); !stopped) {
      child.end(kEndMs);
      return std::move(stopped).error();
    }
    const bool running = child.running();
    std::array<char, 4096> piece{};
    const ssize_t size = pread(log.get(), piece.data(), piece.size(), read_to);
    if (size > 0) {
      read_to += size;
      said.append(piece.data(), static_cast<size_t>(size));
      for (std::string_view line : split(said, '\n')) {
        if (line.starts_with(command.first_line)) return std::optional(child.release());
      }
    } else if (running) {
      Clock::system().sleep_us(kPollUs);
    } else {
      break;
    }
  }
  if (child.outcome()->ok()) return std::optional<pid_t>();
  return make_error(ErrorKind::failed, command.arguments[1],
                    cat("the process in the background ended: ", child.outcome()->describe()))
      .with_cause(last_line(command.log_file))
      .with_hint(cat("its log is ", command.log_file));
}

Result<std::optional<pid_t>> start_mount(const Invocation& invocation, const std::string& directory,
                                         Bring bring) {
  TRY_ASSIGN(std::string program, ops::own_program_path());
  BackgroundCommand command;
  command.arguments = {program, "mount", directory, "--jobs", cat(invocation.jobs())};
  if (auto patience = invocation.text("retry-time")) {
    command.arguments.emplace_back("--retry-time");
    command.arguments.push_back(*patience);
  }
  if (auto rate = invocation.text("hydrate-rate")) {
    command.arguments.emplace_back("--hydrate-rate");
    command.arguments.push_back(*rate);
  }
  if (bring == Bring::everything) command.arguments.emplace_back("--hydrate");
  command.standard_input = invocation.mounter_socket();
  command.log_file = join_path(directory, ops::kMountLog);
  command.first_line = "mounted ";
  return start_in_background(command, invocation.stop());
}

}  // namespace lifeboat::app
