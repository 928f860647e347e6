#include "app/cli/instant.h"

#include <nlohmann/json.hpp>

#include "app/cli/background.h"
#include "app/cli/heal_indexes.h"
#include "app/cli/restore_output.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "ops/restore/instant.h"
#include "ops/wal/commands.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kAccepting = "accepting queries";

Json or_null(double seconds) {
  return seconds > 0 ? Json(seconds) : Json(nullptr);
}

Json outcome_json(const ops::InstantOutcome& outcome) {
  Json recovery = nullptr;
  if (outcome.recovery) {
    recovery = {
        {"phase", pg::to_string(outcome.recovery->phase)},
        {"replayed_lsn",
         outcome.recovery->replayed == Lsn{} ? Json(nullptr) : Json(outcome.recovery->replayed.to_string())},
        {"port", outcome.recovery->port},
        {"socket_directory", outcome.recovery->socket_directory},
        {"pid", outcome.recovery->pid},
        {"locked", locked_json(*outcome.recovery)}};
  }
  return {{"dry_run", false},
          {"directory", outcome.state.trees.front().path},
          {"plan", {{"backup", outcome.state.backup.text}}},
          {"instant",
           {{"accepting_seconds", or_null(outcome.accepting_seconds)},
            {"recovered_seconds", or_null(outcome.recovered_seconds)},
            {"complete_seconds", or_null(outcome.complete_seconds)},
            {"switch_seconds", or_null(outcome.switch_seconds)},
            {"running", outcome.running}}},
          {"notes", outcome.notes},
          {"recovery", recovery},
          {"copy_out_commands", outcome.copy_out_commands},
          {"next_command", outcome.next_command.empty() ? Json(nullptr) : Json(outcome.next_command)}};
}

// Where it was replayed to is not known of one that had been recovered before this call.
std::string recovery_text(const ops::RecoveryResult& recovery) {
  std::string text(pg::to_string(recovery.phase));
  return recovery.replayed == Lsn{} ? text : cat(text, " at ", recovery.replayed.to_string());
}

std::string outcome_text(const ops::InstantOutcome& outcome) {
  Facts facts;
  facts.add("restored", outcome.state.trees.front().path);
  facts.add("backup", outcome.state.backup.text);
  std::string time = cat("every block after ", format_seconds(outcome.complete_seconds));
  if (outcome.recovered_seconds > 0)
    time = cat("recovered after ", format_seconds(outcome.recovered_seconds), ", ", time);
  if (outcome.accepting_seconds > 0)
    time = cat("queries after ", format_seconds(outcome.accepting_seconds), ", ", time);
  if (outcome.switch_seconds > 0)
    time += cat(", no answer for ", format_seconds(outcome.switch_seconds), " at the switch");
  facts.add("time", time);
  if (outcome.recovery) {
    facts.add("recovery", recovery_text(*outcome.recovery));
    add_locked(facts, *outcome.recovery);
  }
  if (!outcome.running) facts.add("server", "does not run");
  std::string text = facts.to_string();
  text += copy_out_text(outcome.copy_out_commands);
  if (!outcome.next_command.empty()) text += cat("next:\n", outcome.next_command, "\n");
  return text;
}

// The same command without --detach; it finds what this one has prepared.
Result<int> go_on_in_background(const Invocation& invocation, const ops::RestoreOptions& restore) {
  BackgroundCommand command;
  command.arguments = {restore.program,          "restore", "--instant",          "--to",
                       restore.directory,        "--repo",  restore.location.url, "--cluster",
                       restore.location.cluster, "--jobs",  cat(restore.jobs)};
  auto add = [&](std::string name, std::string value) {
    command.arguments.push_back(std::move(name));
    command.arguments.push_back(std::move(value));
  };
  switch (restore.location.key.kind) {
    case repo::KeySourceKind::key_file:
      add("--key-file", restore.location.key.path);
      break;
    case repo::KeySourceKind::passphrase_file:
      add("--passphrase-file", restore.location.key.path);
      break;
    default:
      break;
  }
  if (auto patience = invocation.text("retry-time")) add("--retry-time", *patience);
  if (auto rate = invocation.text("hydrate-rate")) add("--hydrate-rate", *rate);
  if (invocation.flag("rebuild-indexes")) command.arguments.emplace_back("--rebuild-indexes");
  if (restore.recovery_timeout_ms > 0) add("--recovery-timeout", cat(restore.recovery_timeout_ms, "ms"));
  if (restore.port) add("--port", cat(*restore.port));
  if (restore.socket_directory) add("--socket-dir", *restore.socket_directory);
  command.standard_input = invocation.mounter_socket();
  command.log_file = join_path(restore.directory, ops::kInstantLog);
  command.first_line = kAccepting;
  TRY_ASSIGN(std::optional<pid_t> pid, start_in_background(command, invocation.stop()));
  if (!pid)
    return make_error(ErrorKind::internal, restore.directory, "the process in the background did nothing");
  invocation.output().text(cat(kAccepting, "; process ", *pid,
                               " brings the rest and switches to the plain directory, its log is ",
                               command.log_file, "\n"));
  invocation.output().document(to_json_text({{"dry_run", false},
                                             {"directory", restore.directory},
                                             {"plan", Json::object()},
                                             {"pid", *pid},
                                             {"log_file", command.log_file}}));
  return 0;
}

}  // namespace

Result<int> restore_instantly(const Invocation& invocation, const ops::RestoreOptions& restore,
                              bool target_given) {
  const int64_t began_us = invocation.clock().monotonic_us();
  OutputReporter reporter(invocation.output());
  TRY(invocation.mounter().available());
  ops::InstantOptions options;
  options.restore = restore;
  options.target_given = target_given;
  std::vector<ops::DoubtfulIndex> indexes;
  options.restore.promoted = look_at_restored_indexes(invocation, indexes);
  options.mounter = &invocation.mounter();
  options.start_mount = [&](const std::string& directory) -> Status {
    TRY(start_mount(invocation, directory, Bring::everything));
    return {};
  };
  options.accepting = [&](const ops::InstantOptions::Accepting& now) {
    std::string line = cat(kAccepting, " after ", format_seconds(now.seconds),
                           now.recovering ? ", read only until it is promoted" : "", ": psql -h ",
                           shell_quote(now.socket_directory), " -p ", now.port, " postgres");
    invocation.output().text(line);
    if (invocation.output().json()) invocation.output().note(LogLevel::info, line);
  };
  TRY(ops::prepare_instant(options, reporter, invocation.stop()));
  if (invocation.flag("detach")) return go_on_in_background(invocation, restore);
  TRY_ASSIGN(ops::InstantOutcome outcome,
             ops::finish_instant(options, began_us, reporter, invocation.stop()));
  for (const std::string& note : outcome.notes) invocation.output().note(LogLevel::info, note);
  if (outcome.recovery)
    invocation.output().text(
        restored_indexes_text(indexes, outcome.recovery->port, outcome.recovery->socket_directory));
  invocation.output().text(outcome_text(outcome));
  Json document = outcome_json(outcome);
  document["indexes"] = indexes_json(indexes);
  invocation.output().document(to_json_text(document));
  return 0;
}

}  // namespace lifeboat::app
