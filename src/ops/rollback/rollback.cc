#include "ops/rollback/rollback.h"

#include <algorithm>

#include "ops/follow_up.h"
#include "ops/restore/marker.h"
#include "ops/restore/start.h"
#include "ops/scratch/isolate.h"
#include "ops/scratch/named_database.h"
#include "ops/wal/status.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kStopMs = 300'000;

Result<std::optional<pg::RunningServer>> server_there(const RestoreOptions& options) {
  if (!options.replace) return std::optional<pg::RunningServer>();
  TRY_ASSIGN(bool there, path_exists(options.directory));
  if (!there) return std::optional<pg::RunningServer>();
  return pg::running_server(options.directory);
}

std::string owner_name(const std::string& path) {
  auto info = stat_path(path);
  if (!info) return "postgres";
  auto user = OsUser::by_uid(info->uid);
  return user ? user->name : "postgres";
}

// "pg_ctl -D DIRECTORY" by the owner, with the pg_ctl beside the program that runs.
std::string pg_ctl_command(const std::string& directory, const pg::RunningServer& running) {
  auto program = read_link(cat("/proc/", running.pid_file.pid, "/exe"));
  std::string pg_ctl = program ? join_path(parent_path(*program), "pg_ctl") : "pg_ctl";
  return cat(as_owner(person_at_keyboard(), owner_name(directory)), shell_quote(pg_ctl), " -D ",
             shell_quote(directory));
}

std::string stop_command(const std::string& directory, const pg::RunningServer& running) {
  return cat(pg_ctl_command(directory, running), " -m fast stop");
}

// Where an earlier call may have left what was there: a copy of its own that was never promoted is not the
// state before, and recovery.signal tells it.
Result<std::vector<std::string>> kept_before(const std::string& directory) {
  std::vector<std::string> kept;
  for (const std::string& prefix : {kept_beside(directory), kept_inside(directory)}) {
    auto entries = list_dir(parent_path(prefix));
    if (!entries && entries.error().kind == ErrorKind::not_found) continue;
    if (!entries) return std::move(entries).error();
    for (const DirEntry& entry : *entries) {
      const std::string path = join_path(parent_path(prefix), entry.name);
      if (entry.kind != FileKind::directory || !path.starts_with(prefix)) continue;
      TRY_ASSIGN(bool copy, path_exists(join_path(path, "recovery.signal")));
      TRY_ASSIGN(bool cluster, path_exists(join_path(path, "PG_VERSION")));
      if (cluster && !copy) kept.push_back(path);
    }
  }
  std::ranges::sort(kept);
  return kept;
}

// What was there before this call, or before the call that it goes on with.
Result<std::string> state_before(const std::string& directory, const std::string& kept) {
  TRY_ASSIGN(bool copy, path_exists(join_path(kept, "recovery.signal")));
  if (!copy) return kept;
  TRY_ASSIGN(std::vector<std::string> before, kept_before(directory));
  auto behind = std::ranges::lower_bound(before, kept);
  return behind == before.begin() ? kept : *std::prev(behind);
}

// In its place nothing comes into being that was not there: a mistyped name would make a second primary.
Status check_is_there(const RollbackRequest& request) {
  const RestoreOptions& options = request.restore;
  if (!options.replace || !request.needs_cluster) return {};
  TRY_ASSIGN(DirectoryLook look, look_at_directory(options.directory));
  if (look.state != DirectoryState::absent && look.state != DirectoryState::empty) return {};
  TRY_ASSIGN(std::vector<std::string> kept, kept_before(options.directory));
  if (!kept.empty()) return {};
  return make_error(ErrorKind::precondition, options.directory, "holds no cluster that could go back")
      .with_hint("a copy in a new directory: --to, or lifeboat restore --to");
}

Error still_running(const std::string& directory, const pg::RunningServer& running) {
  return make_error(ErrorKind::precondition, directory,
                    running.by == pg::RunningBy::process
                        ? cat("a server is running there, process ", running.pid_file.pid)
                        : "processes of a server that ended are still attached to its shared memory")
      .with_hint(cat("stop it first, or give --stop: ", stop_command(directory, running)));
}

bool must_stop_first(const RollbackRequest& request, const std::optional<pg::RunningServer>& running) {
  return running && (!request.stops_server || running->by != pg::RunningBy::process);
}

bool asks_database(const RollbackChecks& checks) {
  return checks.wanted && (!checks.assertions.empty() || !checks.programs.empty());
}

Status ask_operators_checks(pg::PgServer& server, const RollbackChecks& asked,
                            std::vector<DrillCheck>& checks, const StopToken& stop) {
  // The directory is replaced already: a name that is not there is told with what to do now.
  if (Status there = require_database(server, asked.assertion_database); !there) {
    if (there.error().kind != ErrorKind::not_found) return there;
    checks.push_back({"assertion", CheckResult::failed, there.error().to_string(), 0});
    return {};
  }
  for (const std::string& sql : asked.assertions) {
    TRY_ASSIGN(DrillCheck check, check_assertion(server, asked.assertion_database, sql, stop));
    checks.push_back(std::move(check));
  }
  for (const DrillProgram& program : asked.programs) {
    TRY_ASSIGN(DrillCheck check,
               check_by_program(server, program, asked.assertion_database, asked.program_timeout_ms, stop));
    checks.push_back(std::move(check));
  }
  return {};
}

// The commands that lead on from a copy that is not as it should be.
std::string what_to_do(const pg::PgServer& server, const RestorePlan& plan) {
  const pg::LaunchOptions& launch = server.options();
  const Placement& data = plan.placements.front();
  auto program = [&](std::string_view name) {
    return cat(as_owner(person_at_keyboard(), plan.owner), shell_quote(launch.bin.program(name)));
  };
  std::string text =
      cat("look at it, then promote it: ", program("psql"), " -h ", shell_quote(launch.socket_directory),
          " -p ", launch.port, launch.role.empty() ? "" : cat(" -U ", shell_quote(launch.role)),
          " postgres -c 'SELECT pg_promote()'");
  if (data.kept_as.empty()) return text;
  auto before = state_before(data.final_path, data.kept_as);
  const std::string kept = before ? *before : data.kept_as;
  const std::string& directory = data.final_path;
  text += cat("; or put back what was there, which is in ", kept);
  if (data.moves_contents || plan.placements.size() > 1) return text;
  return cat(text, ": ", program("pg_ctl"), " -D ", shell_quote(directory), " -m fast stop && mv ",
             shell_quote(directory), " ", shell_quote(cat(directory, ".not-wanted")), " && mv ",
             shell_quote(kept), " ", shell_quote(directory),
             ", and start it as before; or go back once more, with another target or "
             "other questions");
}

// As a drill looks at its copy, on a server that can only be read.
Status look_at_paused(pg::PgServer& server, const RestorePlan& plan, const RollbackChecks& asked,
                      std::vector<DrillCheck>& checks, Reporter& reporter, StopToken& stop) {
  reporter.progress("checking", 0, 0, ProgressUnit::items);
  TRY_ASSIGN(checks, check_catalogues(server, stop));
  const DrillScope scope = plan.bytes <= DrillScope::kAllUpTo
                               ? DrillScope::everything()
                               : DrillScope::of(DrillScope::kUsualDays, Timestamp{Clock::system().unix_us()});
  TRY_ASSIGN(DrillCheck amcheck, check_amcheck_as_it_is(server, scope, plan.lineage.major, stop));
  checks.push_back(std::move(amcheck));
  if (asks_database(asked)) TRY(ask_operators_checks(server, asked, checks, stop));
  std::string failed;
  for (const DrillCheck& check : checks) {
    if (check.result == CheckResult::failed)
      failed += cat(failed.empty() ? "" : "; ", check.id, ": ", check.detail);
  }
  if (failed.empty()) return {};
  return make_error(
             ErrorKind::check_failed, plan.placements.front().final_path,
             "what came back is not as it should be; the server is paused at the target and not promoted")
      .with_cause(failed)
      .with_hint(what_to_do(server, plan));
}

RestoreOptions options_of(const RollbackRequest& request) {
  RestoreOptions options = request.restore;
  options.start = true;
  options.action = pg::TargetAction::promote;
  return options;
}

std::vector<RollbackStep> steps_of(const RollbackRequest& request, const RollbackPlan& plan) {
  const RestorePlan& restore = plan.restore;
  const Placement& data = restore.placements.front();
  std::vector<RollbackStep> steps;
  if (plan.running)
    steps.push_back(
        {cat("stop the server", request.stops_server ? "" : ", which needs --stop or is done first", ": ",
             plan.stop_command),
         std::nullopt});
  if (!restore.rescue.empty())
    steps.push_back(
        {cat("store ", counted(restore.rescue.size(), "WAL file"), " that only ", data.final_path, " has"),
         std::nullopt});
  const std::string what = cat(format_bytes(restore.bytes), " of backup ", restore.backup.id.text);
  steps.push_back({restore.delta ? cat("bring ", data.final_path, " back by block to ", what)
                                 : cat("copy ", what, " to ", data.staging_path),
                   restore.estimate.copy_seconds});
  for (const Placement& place : restore.placements) {
    if (!place.kept_as.empty())
      steps.push_back({cat("keep what is in ", place.final_path, " as ", place.kept_as), std::nullopt});
  }
  steps.push_back({cat("start it and replay ", format_bytes(restore.reach.wal_bytes), " of WAL up to ",
                       restore.reach.stop.to_string()),
                   restore.estimate.replay_seconds});
  steps.push_back({request.checks.wanted ? "check on the paused server that it is there, and what is in it"
                                         : "check on the paused server that it is there",
                   std::nullopt});
  steps.push_back({"promote it", std::nullopt});
  if (request.preserves) steps.push_back({"say how the old state is started beside it", std::nullopt});
  return steps;
}

// Libraries that act by themselves would do so twice.
std::string without_jobs(const repo::Manifest& manifest) {
  std::vector<std::string> kept = preload_libraries(manifest);
  if (std::erase_if(kept, runs_jobs) == 0) return "";
  return cat(" -c shared_preload_libraries=", shell_quote(join(kept, ",")));
}

// Tells one cluster in a directory from another that takes its place; 0: none is there.
uint64_t control_file_in(const std::string& directory) {
  auto info = stat_path(join_path(directory, "global/pg_control"));
  return info ? info->inode : 0;
}

// What a call that failed half-way has left of the cluster in its place. `before`: control_file_in().
// `stopped`: the command that starts the server that was stopped, but for its last word; "": none ran.
Error with_state_left(Error error, const RestoreOptions& options, uint64_t before,
                      const std::string& stopped) {
  if (!options.replace) return error;
  auto running = pg::running_server(options.directory);
  if (!running || *running) return error;  // it says itself what to do with that one
  const uint64_t now = control_file_in(options.directory);
  std::string state;
  if (options.delta) {
    // A directory that is written in part has a mark, of which the restore has told.
    auto marked = path_exists(join_path(options.directory, kMarkerName));
    if (stopped.empty() || !marked) return error;
    state =
        cat("the server was stopped",
            *marked ? "" : cat("; it is started again by ", stopped, " start, or the same command goes on"));
  } else if (now != 0 && now != before) {
    auto kept = kept_before(options.directory);
    state =
        cat(options.directory,
            " is the restored copy, unchecked, and no server runs there: the same command starts over, while "
            "pg_ctl would open it on a timeline of its own",
            kept && !kept->empty() ? cat("; the state before is in ", kept->back()) : "");
  } else if (!stopped.empty() && now != 0) {
    state = cat("the server was stopped, and its directory is as it was; it is started again by ", stopped,
                " start, or as the system starts it");
  }
  if (state.empty()) return error;
  error.hint = error.hint.empty() ? state : cat(error.hint, "; ", state);
  return error;
}

// A port of which no other server has the lock in that directory.
int free_port_behind(const RecoveryResult& recovery) {
  constexpr int kTries = 100;
  for (int port = recovery.port + 1; port < recovery.port + kTries && port < 65536; ++port)
    if (check_socket_free(recovery.socket_directory, port)) return port;
  return recovery.port + 1;
}

// The old directory as a server of its own: its timeline is the archive's, into which it must not write, and
// its port is taken.
std::string preserve_command(const RestorePlan& plan, const repo::Manifest& manifest,
                             const RecoveryResult& recovery, const std::string& kept) {
  if (!plan.pg_bin) return "";
  std::string options = cat("-p ", free_port_behind(recovery), " -k ", shell_quote(recovery.socket_directory),
                            " -c listen_addresses= -c archive_mode=off -c default_transaction_read_only=on"
                            " -c max_logical_replication_workers=0 -c external_pid_file=");
  // Where statistics go may be shared with the new one.
  if (plan.lineage.major < 15) options += " -c stats_temp_directory=pg_stat_tmp";
  options += without_jobs(manifest);
  if (std::string config = outside_config_file(plan, manifest); !config.empty())
    options += cat(" -c config_file=", shell_quote(config), " -c data_directory=", shell_quote(kept));
  return cat(as_owner(person_at_keyboard(), plan.owner), shell_quote(plan.pg_bin->program("pg_ctl")), " -D ",
             shell_quote(kept), " -l ", shell_quote(join_path(kept, "startup.log")), " -o ",
             shell_quote(options), " start");
}

// A server that has to be stopped is stopped only for a target that can be reached, and nothing is replaced
// for questions that cannot be asked.
// nullopt: the restore looks for itself.
Result<std::optional<RestorePlan>> preflight(const RollbackRequest& request, bool running, Reporter& reporter,
                                             StopToken& stop) {
  if (!running && !asks_database(request.checks)) return std::optional<RestorePlan>();
  auto plan = plan_rollback(request, reporter, stop);
  if (plan && plan->restore.port_taken) return std::move(*plan->restore.port_taken);
  if (plan) return std::optional<RestorePlan>(std::move(plan->restore));
  // Without a server, WAL that only the old directory has is stored before the target is looked for.
  if (!running && request.restore.replace && plan.error().kind == ErrorKind::unreachable)
    return std::optional<RestorePlan>();
  return std::move(plan).error();
}

}  // namespace

Result<RollbackPlan> plan_rollback(const RollbackRequest& request, Reporter& reporter, StopToken& stop) {
  RestoreOptions options = options_of(request);
  TRY(check_is_there(request));
  options.stops_server = true;
  RollbackPlan plan;
  TRY_ASSIGN(plan.running, server_there(options));
  if (plan.running) plan.stop_command = stop_command(options.directory, *plan.running);
  TRY_ASSIGN(RestoreSource source, open_restore(options));
  TRY_ASSIGN(plan.restore, plan_restore(source, options, reporter, stop));
  if (asks_database(request.checks))
    TRY(look_for_database(source, plan.restore, request.checks.assertion_database, reporter, stop));
  plan.steps = steps_of(request, plan);
  return plan;
}

Status check_may_stop(const RollbackRequest& request, const RollbackPlan& plan) {
  if (!must_stop_first(request, plan.running)) return {};
  return still_running(request.restore.directory, *plan.running);
}

Timestamp last_commit_stored(const RestoreOptions& options, Timestamp now, Reporter& reporter,
                             const StopToken& stop) {
  Timestamp last;
  auto source = open_restore(options);
  if (!source) return last;
  auto status = wal_status_of(*source->lineage, now, reporter, stop);
  if (!status) return last;
  for (const TimelineStatus& timeline : status->timelines)
    for (const RecoverableWindow& window : timeline.windows) last = std::max(last, window.to);
  return last;
}

std::string render_rollback(const RollbackPlan& plan) {
  std::string text = render_plan(plan.restore);
  int number = 1;
  for (const RollbackStep& step : plan.steps) {
    text +=
        cat(number++, ". ", step.what, step.seconds ? cat(": ", format_seconds(*step.seconds)) : "", "\n");
  }
  return text;
}

Result<RollbackOutcome> run_rollback(const RollbackRequest& request, Reporter& reporter, StopToken& stop) {
  RestoreOptions options = options_of(request);
  RollbackOutcome outcome;
  if (request.checks.wanted) {
    options.validate = [&](pg::PgServer& server, const RestorePlan& plan) {
      return look_at_paused(server, plan, request.checks, outcome.checks, reporter, stop);
    };
  }
  TRY(check_is_there(request));
  TRY_ASSIGN(std::optional<pg::RunningServer> running, server_there(options));
  if (must_stop_first(request, running)) return still_running(options.directory, *running);
  TRY_ASSIGN(std::optional<RestorePlan> plan, preflight(request, running.has_value(), reporter, stop));
  const uint64_t before = control_file_in(options.directory);
  std::string stopped;
  if (running) {
    if (plan && options.begins) options.begins(*plan);
    stopped = pg_ctl_command(options.directory, *running);
    const int64_t began = Clock::system().monotonic_us();
    reporter.note(NoteLevel::info, cat("stopping the server, process ", running->pid_file.pid));
    TRY(pg::stop_server(*running, pg::StopMode::fast, kStopMs, &stop));
    outcome.stop_seconds = static_cast<double>(Clock::system().monotonic_us() - began) / 1e6;
  }
  auto restored = run_restore(options, reporter, stop);
  if (!restored) return with_state_left(std::move(restored).error(), options, before, stopped);
  outcome.restored = *std::move(restored);
  if (outcome.restored.kept.empty()) return outcome;
  TRY_ASSIGN(outcome.preserved, state_before(options.directory, outcome.restored.kept.front()));
  if (outcome.preserved != outcome.restored.kept.front())
    outcome.restored.notes.push_back(cat(outcome.restored.kept.front(),
                                         " is the copy of an earlier call, which was not promoted; the state "
                                         "before is ",
                                         outcome.preserved));
  const auto control = path_exists(join_path(outcome.preserved, "global/pg_control"));
  auto wal = list_dir(join_path(outcome.preserved, "pg_wal"));
  const bool has_wal = wal && std::ranges::any_of(*wal, [](const DirEntry& entry) {
                         return SegmentName::parse(entry.name).has_value();
                       });
  const bool can_start = control && *control && has_wal;
  if (request.preserves && !can_start)
    outcome.restored.notes.push_back(cat("no server can start in ", outcome.preserved, ": it has no ",
                                         has_wal ? "global/pg_control" : "WAL in pg_wal"));
  if (request.preserves && can_start && outcome.restored.recovery) {
    TRY_ASSIGN(RestoreSource source, open_restore(options));
    TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(source.repo(), outcome.restored.plan.backup.id));
    outcome.preserved_command =
        preserve_command(outcome.restored.plan, manifest, *outcome.restored.recovery, outcome.preserved);
  }
  return outcome;
}

}  // namespace lifeboat::ops
