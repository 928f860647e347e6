// lifeboat rollback: a cluster goes back to a moment.
#include "ops/rollback/rollback.h"

#include <nlohmann/json.hpp>

#include "app/assertions.h"
#include "app/before.h"
#include "app/cli/drill_dump.h"
#include "app/cli/restore_output.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/restored.h"
#include "app/target.h"
#include "ops/wal/commands.h"
#include "ready/recover/record.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Result<ops::RollbackRequest> rollback_request(const Invocation& invocation) {
  ops::RollbackRequest request;
  ops::RestoreOptions& options = request.restore;
  TRY_ASSIGN(options.location, repo_location(invocation));
  TRY_ASSIGN(TargetOptions target, target_options(invocation));
  if (!has_target(invocation) && !has_before(invocation)) {
    return make_error(ErrorKind::usage, "lifeboat rollback", "needs the moment to go back to")
        .with_hint(
            "--target-time, --target-lsn, --target-xid, --target-name, --before-drop or --before-xid; to the "
            "end of all WAL: restore");
  }
  options.lineage = target.lineage;
  options.backup = target.backup;
  options.target = target.target;
  options.timeline_choice = target.choice;
  options.timeline = target.timeline;
  options.moment = {invocation.clock().unix_us()};
  options.delta = invocation.flag("delta");
  if (auto to = invocation.text("to")) {
    options.directory = *to;
  } else {
    auto pgdata = invocation.pgdata();
    if (!pgdata) {
      return make_error(ErrorKind::usage, "lifeboat rollback",
                        "needs --pgdata, the cluster's data directory, or --to DIR for a copy beside it");
    }
    options.replace = true;
    TRY_ASSIGN(options.directory, resolve_path(*pgdata));
  }
  while (options.directory.size() > 1 && options.directory.ends_with('/')) options.directory.pop_back();
  TRY(read_restored_options(invocation, options));
  if (auto timeout = invocation.duration_us("recovery-timeout"))
    options.recovery_timeout_ms = *timeout / 1000;
  request.stops_server = invocation.flag("stop");
  request.needs_cluster = true;
  request.preserves = invocation.flag("preserve");
  request.checks.wanted = !invocation.flag("no-checks");
  TRY_ASSIGN(Assertions assertions, read_assertions(invocation));
  request.checks.assertions = std::move(assertions.queries);
  request.checks.assertion_database = std::move(assertions.database);
  if (const ConfigBlock* block = invocation.config().find(ConfigSection::cluster, invocation.cluster())) {
    for (const ConfigHook& check : block->drill_checks)
      request.checks.programs.push_back({check.name, check.argv});
    request.checks.program_timeout_ms = block->drill_timeout_us / 1000;
  }
  return request;
}

Json steps_json(const ops::RollbackPlan& plan) {
  Json steps = Json::array();
  for (const ops::RollbackStep& step : plan.steps) {
    steps.push_back({{"what", step.what}, {"seconds", step.seconds ? Json(*step.seconds) : Json(nullptr)}});
  }
  return steps;
}

Json or_null(const std::string& value) {
  return value.empty() ? Json(nullptr) : Json(value);
}

// What was committed after the target, by stored WAL; what is stored is the least.
ready::ExpectedLoss loss_of(const Invocation& invocation, const ops::RollbackRequest& request,
                            const ops::RollbackPlan& plan, Reporter& reporter) {
  ready::Assessment known;
  known.failure = ready::Failure::data_changed;
  known.last_known_commit =
      ops::last_commit_stored(request.restore, {invocation.clock().unix_us()}, reporter, invocation.stop());
  ready::ExpectedLoss loss = ready::expected_loss(known, plan.restore);
  if (loss.seconds)
    loss.says += cat("; stored WAL has commits for ", format_seconds(*loss.seconds), " after the target");
  return loss;
}

std::string question(const ops::RestoreOptions& options) {
  if (!options.replace) return "";
  return options.delta ? cat("Roll ", options.directory,
                             " back by block? What is there now is overwritten and not kept.")
                       : cat("Roll ", options.directory, " back? What is there now is kept aside.");
}

// In place, every recovery from now on would begin with a backup of the timeline that was left.
std::string next_command(const Invocation& invocation, const ops::RestoreOptions& options,
                         const ops::RollbackOutcome& outcome) {
  if (!options.replace || !outcome.restored.recovery || !outcome.restored.next_command.empty()) return "";
  return ops::command_line({options.program, options.location, invocation.conninfo(), options.directory},
                           "backup", ops::Needs::server);
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ops::RollbackRequest request, rollback_request(invocation));
  OutputReporter reporter(invocation.output());
  TRY(stop_before_transaction(invocation, request.restore, reporter));
  auto plan = ops::plan_rollback(request, reporter, invocation.stop());
  const bool dry_run = invocation.flag("dry-run");
  // What is not stored yet may be what the target needs: without a server it is stored before the real
  // preflight.
  if (!plan && (dry_run || !request.restore.replace || plan.error().kind != ErrorKind::unreachable))
    return std::move(plan).error();
  if (plan) {
    const ready::ExpectedLoss loss = loss_of(invocation, request, *plan, reporter);
    invocation.output().text(cat(ops::render_rollback(*plan), "expected loss: ", loss.says, "\n"));
    invocation.output().document(
        to_json_text({{"dry_run", true},
                      {"expected_loss", loss.says},
                      {"expected_loss_seconds", loss.seconds ? Json(*loss.seconds) : Json(nullptr)},
                      {"plan", plan_json(plan->restore)},
                      {"steps", steps_json(*plan)}}));
  }
  if (dry_run) return 0;
  if (plan) TRY(ops::check_may_stop(request, *plan));
  if (std::string ask = question(request.restore); !ask.empty()) TRY(invocation.confirm(ask));
  TRY_ASSIGN(ops::RollbackOutcome outcome, ops::run_rollback(request, reporter, invocation.stop()));
  for (const std::string& note : outcome.restored.notes) invocation.output().note(LogLevel::info, note);
  std::string text = outcome_text(outcome.restored);
  Table table({{"check"}, {"result"}, {"time", Align::right}, {"detail"}});
  for (const ops::DrillCheck& check : outcome.checks)
    table.add({check.id, std::string(to_string(check.result)), format_seconds(check.seconds), check.detail});
  if (!table.empty()) text = cat(table.to_string(), "\n", text);
  if (!outcome.preserved_command.empty())
    text += cat("the state before, read-only beside it:\n", outcome.preserved_command, "\n");
  const std::string next = next_command(invocation, request.restore, outcome);
  if (!next.empty()) text += cat("next, a backup of the new timeline:\n", next, "\n");
  invocation.output().text(text);
  Json document = outcome_json(outcome.restored);
  if (!next.empty()) document["next_command"] = next;
  document["checks"] = checks_json(outcome.checks);
  document["stop_seconds"] = outcome.stop_seconds;
  document["preserved"] = or_null(outcome.preserved);
  document["preserved_command"] = or_null(outcome.preserved_command);
  invocation.output().document(to_json_text(document));
  return 0;
}

constexpr Option kRollbackOptions[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help =
         "side by side: into this directory, absent or empty, while the cluster goes on; archiving is off "
         "there",
     .excludes = "delta|preserve|stop"},
    {.name = "delta",
     .help = "in place by block: only what differs is fetched, and the state before is not kept",
     .excludes = "preserve"},
    {.name = "preserve", .help = "print the command that starts the state before beside it, read-only"},
    {.name = "stop",
     .help = "stop the server that runs in --pgdata, once the target is known to be reachable"},
    {.name = "no-checks",
     .help = "promote as soon as the target is reached, without looking at what is there",
     .excludes = "sql"},
    {.name = "dry-run", .help = "print every step with its time; a running server is no obstacle"},
    {.name = "recovery-timeout",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "give up watching the recovery after this long (default: no limit)"},
};
constinit const OptionGroup kRollbackGroup = {"Rollback", kRollbackOptions};

}  // namespace

extern const Command kRollbackCommand;
constinit const Command kRollbackCommand = {
    .path = "rollback",
    .summary = "take a cluster back to a moment, in its place or side by side",
    .description =
        "In place: checks that the target can be reached, stores the WAL that only the data directory has, "
        "restores beside it, keeps the old directory aside, starts the new one paused at the target, "
        "compares "
        "where it is with the plan, checks what is in it as a drill does (extensions, amcheck where a "
        "database "
        "has it, your --sql and the programs of [cluster.NAME.drill]), and promotes it on a new timeline. "
        "When a "
        "check fails it stays paused. Nothing is stopped unless --stop is "
        "given: a running server is refused with the command that stops it.\n\n"
        "What was written after the target is in the old directory still, and its WAL in the repository: "
        "--preserve prints how to start the old state beside the new one, read-only and archiving nothing, "
        "so that later rows can be taken from it.\n\n"
        "--to makes a promoted copy side by side instead. The server that is started is a plain one: restart "
        "it with systemctl or pg_ctlcluster where these are used.",
    .danger = Danger::destructive,
    .groups = {&kRollbackGroup, &kAssertionOptions, &kRestoredOptions, &kBeforeOptions, &kTargetOptions,
               &kBackupChoiceOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .examples =
        "# what would happen, and how long it takes\n"
        "lifeboat rollback --repo /srv/backup --pgdata /var/lib/postgresql/15/main --before-drop orders "
        "--dry-run\n"
        "# in place, with the state before at hand\n"
        "lifeboat rollback --repo /srv/backup --pgdata /var/lib/postgresql/15/main --target-time '2026-11-20 "
        "10:56:25+00' --stop --preserve --yes",
    .schema = R"({
  "type": "object",
  "required": ["dry_run", "plan"],
  "properties": {
    "dry_run": {"type": "boolean"},
    "expected_loss": {"type": "string"},
    "expected_loss_seconds": {"type": ["number", "null"]},
    "directory": {"type": "string"},
    "plan": {"type": "object", "description": "as lifeboat restore has it"},
    "steps": {"type": "array", "items": {"type": "object", "properties": {"what": {"type": "string"}, "seconds": {"type": ["number", "null"]}}}},
    "files": {"type": "integer"},
    "bytes": {"type": "integer"},
    "compared": {"type": ["object", "null"], "description": "as lifeboat restore has it"},
    "phases": {"type": "object", "additionalProperties": {"type": "number"}, "description": "seconds"},
    "seconds": {"type": "number"},
    "stop_seconds": {"type": "number", "description": "until the old server had ended"},
    "kept": {"type": "array", "items": {"type": "string"}},
    "rescued": {"type": "array", "items": {"type": "string"}},
    "notes": {"type": "array", "items": {"type": "string"}},
    "recovery": {"type": ["object", "null"]},
    "copy_out_commands": {"type": "array", "items": {"type": "string"}},
    "checks": {"type": "array", "description": "as lifeboat drill has them", "items": {"type": "object"}},
    "preserved": {"type": ["string", "null"], "description": "the old data directory"},
    "preserved_command": {"type": ["string", "null"]},
    "next_command": {"type": ["string", "null"]}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
