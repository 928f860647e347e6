#include "app/cli/background.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "ops/mount/shown_names.h"
#include "ops/wal/commands.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr int kPollMs = 100;
constexpr uint64_t kLogLimit = 64 << 20;
constexpr int64_t kEndMs = 10'000;

// What it complained of: without the prefix, which the caller's message has again.
std::string last_line(const std::string& log_file) {
  auto text = read_text(log_file, kLogLimit);
  if (!text) return {};
  return std::string(trim(split(trim(*text), '\n').back()));
}

}  // namespace

Result<pid_t> start_in_background(const BackgroundCommand& command, const StopToken& stop) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "", "create a pipe");
  Fd reading(ends[0]);
  Fd writing(ends[1]);
  TRY_ASSIGN(Fd log,
             open_file(command.log_file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
  ProcessSpec spec;
  spec.argv = command.arguments;
  spec.new_session = true;
  spec.cwd.assign(1, '/');
  TRY_ASSIGN(ChildProcess child,
             ChildProcess::start(spec, {command.standard_input, writing.get(), log.get()}));
  writing = Fd();
  std::string said;
  for (;;) {
    if (auto stopped = stop.check(); !stopped) {
      child.end(kEndMs);
      return std::move(stopped).error();
    }
    pollfd watched{reading.get(), POLLIN, 0};
    if (poll(&watched, 1, kPollMs) <= 0) continue;
    std::array<char, 4096> piece{};
    ssize_t size = read(reading.get(), piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    said.append(piece.data(), static_cast<size_t>(size));
    for (std::string_view line : split(said, '\n')) {
      if (line.starts_with(command.first_line)) return child.release();
    }
  }
  TRY_ASSIGN(ProcessOutcome outcome, child.wait(kEndMs));
  return make_error(ErrorKind::failed, command.arguments[1],
                    cat("the process in the background ended: ", outcome.describe()))
      .with_cause(last_line(command.log_file))
      .with_hint(cat("its log is ", command.log_file));
}

Result<pid_t> start_mount(const Invocation& invocation, const std::string& directory, Bring bring) {
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
