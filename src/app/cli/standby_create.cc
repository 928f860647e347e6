// lifeboat standby create: a standby from the repository.
#include <nlohmann/json.hpp>

#include "app/cli/restore_output.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/restored.h"
#include "ops/standby/create.h"
#include "ops/wal/commands.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Result<ops::StandbyRequest> standby_request(const Invocation& invocation) {
  ops::StandbyRequest request;
  ops::RestoreOptions& options = request.restore;
  TRY_ASSIGN(options.location, repo_location(invocation));
  ops::StandbySettings& standby = options.standby.emplace();
  standby.conninfo = invocation.text("primary").value_or("");
  standby.slot = invocation.text("primary-slot").value_or("");
  standby.keeps_synchronous_names = invocation.flag("managed");
  if (!standby.slot.empty()) {
    TRY(pg::check_slot_name(standby.slot));
    if (standby.conninfo.empty())
      return make_error(ErrorKind::usage, "--primary-slot", "needs --primary, on which the slot is");
  }
  options.directory = invocation.value("to");
  while (options.directory.size() > 1 && options.directory.ends_with('/')) options.directory.pop_back();
  if (auto backup = invocation.text("backup"); backup && *backup != "latest")
    options.backup = BackupId::parse(*backup);
  if (auto mode = invocation.text("archive-mode"))
    options.archive = *mode == "keep" ? ops::ArchiveChoice::keep : ops::ArchiveChoice::off;
  TRY(read_restored_options(invocation, options));
  options.start = invocation.flag("start");
  if (auto timeout = invocation.duration_us("timeout")) options.recovery_timeout_ms = *timeout / 1000;
  return request;
}

Json primary_json(const ops::StandbyOutcome& outcome) {
  if (!outcome.primary) return nullptr;
  return {{"system", outcome.primary->system_id.to_string()},
          {"timeline", outcome.primary->timeline.value},
          {"flushed_lsn", outcome.primary->flushed.to_string()},
          {"in_recovery", outcome.primary->in_recovery}};
}

Json streaming_json(const ops::StandbyOutcome& outcome) {
  if (!outcome.streaming) return nullptr;
  return {{"sender", outcome.streaming->sender},
          {"slot", outcome.streaming->slot},
          {"received_lsn", outcome.streaming->received.to_string()},
          {"timeline", outcome.streaming->timeline.value},
          {"seconds", outcome.streaming->seconds}};
}

std::string text_of(const ops::StandbyOutcome& outcome, const ops::StandbySettings& standby) {
  Facts facts;
  if (!standby.slot.empty())
    facts.add("slot",
              cat(standby.slot, outcome.slot_created ? ", made on the primary" : ", was on the primary"));
  if (outcome.streaming) {
    facts.add("streaming",
              cat("from ", outcome.streaming->sender, " on timeline ", outcome.streaming->timeline.value,
                  ", received up to ", outcome.streaming->received.to_string(), ", after ",
                  format_seconds(outcome.streaming->seconds)));
  } else if (standby.conninfo.empty()) {
    facts.add("follows", "the repository");
  } else {
    facts.add("follows", "the primary, once it is started");
  }
  return cat(facts.to_string(), outcome_text(outcome.restored));
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ops::StandbyRequest request, standby_request(invocation));
  OutputReporter reporter(invocation.output());
  if (invocation.flag("dry-run")) {
    TRY_ASSIGN(ops::RestorePlan plan, ops::plan_standby(request, reporter, invocation.stop()));
    invocation.output().text(ops::render_plan(plan));
    invocation.output().document(to_json_text({{"dry_run", true}, {"plan", plan_json(plan)}}));
    return 0;
  }
  TRY_ASSIGN(ops::StandbyOutcome outcome, ops::create_standby(request, reporter, invocation.stop()));
  for (const std::string& note : outcome.restored.notes) invocation.output().note(LogLevel::info, note);
  invocation.output().text(text_of(outcome, *request.restore.standby));
  Json document = outcome_json(outcome.restored);
  document["primary"] = primary_json(outcome);
  document["slot_created"] = outcome.slot_created;
  document["streaming"] = streaming_json(outcome);
  invocation.output().document(to_json_text(document));
  return 0;
}

constexpr Option kStandbyOptions[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "data directory of the standby, absent or empty",
     .required = true},
    {.name = "primary",
     .kind = ValueKind::conninfo,
     .placeholder = "CONNINFO",
     .help = "the server to follow, as primary_conninfo will have it: a password comes from a pass file or a "
             "service (default: none, the standby follows the repository)",
     .section = ConfigSection::cluster},
    {.name = "primary-slot",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "replication slot of the standby on the primary, made when it is not there"},
    {.name = "backup",
     .kind = ValueKind::backup,
     .placeholder = "ID",
     .help = "which backup (default: the newest)"},
    {.name = "archive-mode",
     .kind = ValueKind::choice,
     .placeholder = "MODE",
     .help = "archiving of the standby, which PostgreSQL begins when it is promoted",
     .default_text = "keep",
     .choices = "keep|off"},
    {.name = "managed",
     .help = "something else manages the cluster (Patroni): synchronous_standby_names is left to it"},
    {.name = "dry-run", .help = "say what would be done; the primary is asked who it is"},
    {.name = "start", .help = "start the standby and wait until it streams"},
    {.name = "timeout",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "with --start: how long to wait for the stream",
     .default_text = "5min"},
};
constinit const OptionGroup kStandbyGroup = {"Standby", kStandbyOptions};

}  // namespace

extern const Command kStandbyCreateCommand;
constinit const Command kStandbyCreateCommand = {
    .path = "standby create",
    .summary = "make a standby from the repository, which then follows the primary",
    .description =
        "Restores the newest backup and sets it up as a standby: it replays what the repository holds, and "
        "streams from the primary from there on. The primary is not read for the copy.\n\n"
        "The slot is made before the backup is read, so that the primary keeps what it writes meanwhile; it "
        "goes again when the restore fails. Without a slot the primary has to have the WAL that the "
        "repository does not have yet. The primary's role needs REPLICATION, and its pg_hba.conf a line for "
        "replication from this host. A name for synchronous_standby_names stands in --primary as "
        "application_name.\n\n"
        "Settings of the backup that would decide its life are written anew: recovery targets, "
        "synchronous_standby_names (a standby that is promoted would wait for its commits), restore_command "
        "in its lenient form, which a standby asks again. Archiving stays on, which PostgreSQL begins when "
        "the standby is promoted.\n\n"
        "docs/patroni.md has it as a method of Patroni's.",
    .danger = Danger::write,
    .groups = {&kStandbyGroup, &kRestoredOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .examples =
        "# a standby on another host, streaming when the command returns\n"
        "lifeboat standby create --repo /srv/backup --to /var/lib/postgresql/15/main --primary "
        "'host=db1 user=replicator application_name=db2' --primary-slot db2 --start\n"
        "# one beside the primary, to try a failover\n"
        "lifeboat standby create --repo /srv/backup --to /srv/standby --primary 'host=/run/postgresql' "
        "--port "
        "5433 --start",
    .exit_notes = "Never above 125, as for every command but wal get: Patroni goes on to its next method.",
    .schema = R"({
  "type": "object",
  "required": ["dry_run", "plan"],
  "properties": {
    "dry_run": {"type": "boolean"},
    "directory": {"type": "string"},
    "plan": {"type": "object", "description": "as lifeboat restore has it"},
    "files": {"type": "integer"},
    "bytes": {"type": "integer"},
    "compared": {"type": "null"},
    "phases": {"type": "object", "additionalProperties": {"type": "number"}, "description": "seconds"},
    "seconds": {"type": "number"},
    "kept": {"type": "array", "items": {"type": "string"}},
    "rescued": {"type": "array", "items": {"type": "string"}},
    "notes": {"type": "array", "items": {"type": "string"}},
    "recovery": {"type": ["object", "null"]},
    "copy_out_commands": {"type": "array", "items": {"type": "string"}},
    "next_command": {"type": ["string", "null"]},
    "primary": {"type": ["object", "null"], "properties": {"system": {"type": "string"}, "timeline": {"type": "integer"}, "flushed_lsn": {"type": "string"}, "in_recovery": {"type": "boolean"}}},
    "slot_created": {"type": "boolean"},
    "streaming": {"type": ["object", "null"], "description": "with --start", "properties": {"sender": {"type": "string"}, "slot": {"type": "string"}, "received_lsn": {"type": "string"}, "timeline": {"type": "integer"}, "seconds": {"type": "number"}}}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
