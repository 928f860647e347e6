#include "app/run.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "app/help.h"
#include "app/hooks.h"
#include "app/invocation.h"
#include "app/output.h"
#include "app/parse.h"
#include "app/privileges.h"
#include "app/render.h"
#include "app/signals.h"
#include "util/strings.h"

#include <nlohmann/json.hpp>

namespace lifeboat::app {
namespace {

// Handlers reach it by signal, so it lives as long as the process.
StopToken stop_token;

std::string_view variable(const std::vector<std::string_view>& environment, std::string_view name) {
  for (std::string_view entry : environment) {
    if (entry.starts_with(name) && entry.substr(name.size()).starts_with('='))
      return entry.substr(name.size() + 1);
  }
  return {};
}

std::string current_directory() {
  char buffer[PATH_MAX];
  // "(unreachable)…" is what the kernel says of a directory outside of the root.
  return getcwd(buffer, sizeof buffer) != nullptr && buffer[0] == '/' ? buffer : "";
}

void set_up_output(const Invocation& invocation) {
  Output& output = invocation.output();
  if (find_option(invocation.command(), "output") != nullptr) {
    output.set_mode(invocation.value("output") == "json" ? OutputMode::json : OutputMode::text);
  }
  if (find_option(invocation.command(), "log-level") == nullptr) return;
  std::string level = invocation.value("log-level");
  output.set_level(level == "error"     ? LogLevel::error
                   : level == "warning" ? LogLevel::warning
                   : level == "debug"   ? LogLevel::debug
                                        : LogLevel::info);
  std::string progress = invocation.value("progress");
  output.set_progress(progress == "on"    ? Output::ShowProgress::on
                      : progress == "off" ? Output::ShowProgress::off
                                          : Output::ShowProgress::automatic);
  if (invocation.flag("quiet")) {
    if (level == "info" || level == "debug") output.set_level(LogLevel::warning);
    output.set_progress(Output::ShowProgress::off);
  }
}

// The directory that a command makes, or "" when it makes none (in this run).
std::string directory_to_create(const Invocation& invocation) {
  const Command& command = invocation.command();
  // With one argument only it is there already.
  if (command.mounts && command.creates.empty())
    return invocation.positionals().size() > 1 ? invocation.mount_directory() : "";
  if (command.creates.empty()) return {};
  if (find_option(command, "dry-run") != nullptr && invocation.flag("dry-run")) return {};
  if (command.creates != "repo") return invocation.text(command.creates).value_or("");
  auto url = invocation.repo();
  return url && url->starts_with("file://") ? url->substr(7) : std::string();
}

// "Who runs what": root becomes the owner of the data before anything is created or started. The guard is of
// a directory that root made for the command.
Status authorise(Invocation& invocation, std::optional<EmptyDirectoryGuard>& guard) {
  if (invocation.command().run_as == RunAs::caller) return {};
  auto os_user =
      find_option(invocation.command(), "os-user") != nullptr ? invocation.text("os-user") : std::nullopt;
  if (geteuid() != 0) {
    if (!os_user) return {};
    TRY_ASSIGN(OsUser wanted, OsUser::by_name(*os_user));
    if (wanted.uid == geteuid()) return {};
    return make_error(ErrorKind::precondition, cat("--os-user ", *os_user),
                      "only root can become another user");
  }
  std::vector<std::string> paths;
  for (std::string_view name : {"pgdata", "to"}) {
    if (find_option(invocation.command(), name) == nullptr) continue;
    auto path = name == "pgdata" ? invocation.pgdata() : invocation.text(name);
    if (path) paths.push_back(*path);
  }
  if (find_option(invocation.command(), "repo") != nullptr) {
    auto url = invocation.repo();
    if (url && url->starts_with("file://")) paths.push_back(url->substr(7));
  }
  if (std::string directory = invocation.mounts() ? invocation.mount_directory() : ""; !directory.empty())
    paths.push_back(std::move(directory));
  TRY_ASSIGN(OsUser owner, choose_owner(os_user, paths));
  if (invocation.mounts()) {
    TRY_ASSIGN(Fd mounter, ops::start_root_mounter(owner.uid, owner.gid));
    invocation.set_mounter(std::move(mounter));
  }
  if (std::string directory = directory_to_create(invocation); !directory.empty()) {
    TRY_ASSIGN(bool made, create_directory_for(owner, directory));
    if (made) {
      TRY_ASSIGN(EmptyDirectoryGuard watching, EmptyDirectoryGuard::watch(std::move(directory)));
      guard.emplace(std::move(watching));
    }
  }
  TRY(become(owner));
  invocation.output().note(LogLevel::debug, cat("running as ", owner.name));
  return {};
}

Result<int> show_help(const Command& command, Output& output) {
  output.text(command_help(command));
  if (output.json()) {
    output.document(to_json_text({{"commands", nlohmann::ordered_json::array({command_json(command)})}}));
  }
  return 0;
}

// Exceptions end here: what runs after a command runs also when memory ran out in it.
template <typename Call>
Result<int> caught(Call call) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return make_error(ErrorKind::failed, "memory", "not enough of it for this command");
  } catch (const std::exception& exception) {
    return make_error(ErrorKind::internal, "", "unexpected exception").with_cause(exception.what());
  }
}

Result<int> handle(const Invocation& invocation) {
  auto result = caught([&] { return invocation.command().handler(invocation); });
  if (!result && invocation.stop().stopped() && result.error().kind != ErrorKind::cancelled) {
    // What failed after the signal failed because of it.
    std::string cause = result.error().to_string();
    return make_error(ErrorKind::cancelled, cat("lifeboat ", invocation.command().path),
                      "stopped by a signal")
        .with_cause(std::move(cause));
  }
  return result;
}

Result<int> call(Invocation& invocation) {
  std::optional<EmptyDirectoryGuard> guard;
  if (invocation.mounts()) {
    if (auto inherited = ops::inherited_root_mounter()) invocation.set_mounter(std::move(*inherited));
  }
  TRY(authorise(invocation, guard));
  Hooks hooks(invocation);
  TRY(hooks.before());
  auto result = hooks.after(handle(invocation));
  if (result) {
    for (std::string_view name : invocation.unused()) {
      invocation.output().note(LogLevel::warning, cat("--", name, " had no effect on this call"));
    }
  }
  return result;
}

}  // namespace

int run(std::span<const std::string_view> arguments, const std::vector<std::string_view>& environment) {
  bool json = wants_json(arguments, variable(environment, "LIFEBOAT_OUTPUT"));
  Output output(STDOUT_FILENO, STDERR_FILENO, json ? OutputMode::json : OutputMode::text);
  const Command* command = guess_command(arguments);
  bool lenient = std::ranges::find(arguments, "--standby") != arguments.end();
  if (command != nullptr && command->exit_rule != ExitRule::standard) {
    bool signals_are_right = command->exit_rule == ExitRule::wal_get && !lenient;
    if (!signals_are_right) exit_on_crash(exit_code(command->exit_rule, lenient, ErrorKind::internal));
  }
  Result<int> result = caught([&]() -> Result<int> {
    std::string working_directory = current_directory();
    TRY_ASSIGN(CommandLine line, parse_command_line(arguments, working_directory));
    command = line.command;
    if (line.help) {
      const Command& asked = *std::exchange(command, find_command("help"));
      lenient = false;
      return show_help(asked, output);
    }
    TRY_ASSIGN(Invocation invocation, Invocation::resolve(std::move(line), environment,
                                                          std::move(working_directory), output, stop_token));
    set_up_output(invocation);
    catch_signals(stop_token);
    return call(invocation);
  });
  return output.finish(command, lenient, result);
}

}  // namespace lifeboat::app
