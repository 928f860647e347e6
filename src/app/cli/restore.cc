// lifeboat restore: a backup and its WAL become a data directory, recovered to a chosen moment.
#include "ops/restore/restore.h"

#include <nlohmann/json.hpp>

#include "app/before.h"
#include "app/cli/heal_indexes.h"
#include "app/cli/instant.h"
#include "app/cli/restore_output.h"
#include "app/cli/restore_tables.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/restored.h"
#include "app/target.h"
#include "ops/wal/commands.h"
#include "ops/wal/find.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

// What --before-drop or --before-xid found; null without them.
Json found_json(const std::optional<ops::WalFinding>& found) {
  if (!found) return nullptr;
  return {{"xid", found->xid},
          {"time", json_time(found->time)},
          {"commit_lsn", found->commit.to_string()},
          {"what", found->to_string()}};
}

pg::TargetAction action_of(std::string_view text) {
  return text == "promote"    ? pg::TargetAction::promote
         : text == "shutdown" ? pg::TargetAction::shutdown
                              : pg::TargetAction::pause;
}

Result<ops::RestoreOptions> restore_options(const Invocation& invocation) {
  ops::RestoreOptions options;
  TRY_ASSIGN(options.location, repo_location(invocation));
  TRY_ASSIGN(TargetOptions target, target_options(invocation));
  options.lineage = target.lineage;
  options.backup = target.backup;
  options.target = target.target;
  options.timeline_choice = target.choice;
  options.timeline = target.timeline;
  if (auto action = invocation.text("action")) options.action = action_of(*action);
  options.delta = invocation.flag("delta");
  auto to = invocation.text("to");
  options.replace = invocation.flag("replace") || (options.delta && !to);
  if (options.replace) {
    auto pgdata = invocation.pgdata();
    if (!pgdata) {
      return options.delta
                 ? make_error(ErrorKind::usage, "--delta",
                              "needs --pgdata, the data directory to be brought back, or --to with a copy")
                 : make_error(ErrorKind::usage, "--replace",
                              "needs --pgdata, the data directory to be replaced");
    }
    // What is replaced is the directory itself, never a symbolic link that leads to it.
    TRY_ASSIGN(options.directory, resolve_path(*pgdata));
  } else if (to) {
    options.directory = *to;
    if (options.delta) {
      TRY_ASSIGN(options.directory, resolve_path(*to));
    }
  } else if (restores_tables(invocation)) {
    options.directory = scratch_directory(invocation, "/var/tmp", "table");
  } else {
    return make_error(ErrorKind::usage, "lifeboat restore",
                      "needs --to DIR, or --replace or --delta with --pgdata DIR, or --table or --database");
  }
  while (options.directory.size() > 1 && options.directory.ends_with('/')) options.directory.pop_back();
  if (auto mode = invocation.text("archive-mode")) {
    options.archive = *mode == "keep" ? ops::ArchiveChoice::keep : ops::ArchiveChoice::off;
  }
  TRY(read_restored_options(invocation, options));
  options.start = invocation.flag("start");
  if (auto timeout = invocation.duration_us("recovery-timeout"))
    options.recovery_timeout_ms = *timeout / 1000;
  return options;
}

Result<ops::RestorePlan> plan_only(const ops::RestoreOptions& options, Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(ops::RestoreSource source, ops::open_restore(options));
  return ops::plan_restore(source, options, reporter, stop);
}

// Of what --before-drop found; else the one that psql would take.
std::string database_of(const std::optional<ops::WalFinding>& found) {
  const bool known = found && !found->dropped.empty() && !found->dropped.front().database.empty();
  return known ? found->dropped.front().database : "postgres";
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ops::RestoreOptions options, restore_options(invocation));
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(std::optional<ops::WalFinding> found, stop_before_transaction(invocation, options, reporter));
  bool dry_run = invocation.flag("dry-run");
  if (restores_tables(invocation) && !dry_run)
    return restore_tables(invocation, options, database_of(found));
  if (invocation.flag("instant") && !dry_run) {
    bool target_given = found || has_target(invocation);
    return restore_instantly(invocation, options, target_given);
  }
  if (invocation.flag("detach") || invocation.has("hydrate-rate")) {
    return make_error(ErrorKind::usage, invocation.flag("detach") ? "--detach" : "--hydrate-rate",
                      "goes with --instant");
  }
  std::vector<ops::DoubtfulIndex> indexes;
  if (options.start) {
    options.promoted = look_at_restored_indexes(invocation, indexes);
  } else if (invocation.flag("rebuild-indexes")) {
    return make_error(ErrorKind::usage, "--rebuild-indexes", "goes with --start or --instant");
  }
  const bool destroys = options.replace || options.delta;
  if (dry_run || destroys) {
    auto plan = plan_only(options, reporter, invocation.stop());
    // What is not stored yet may be what the target needs: it is rescued before the real preflight.
    if (!plan && (dry_run || plan.error().kind != ErrorKind::unreachable)) return std::move(plan).error();
    if (plan) {
      invocation.output().text(ops::render_plan(*plan));
      invocation.output().document(
          to_json_text({{"dry_run", true}, {"found", found_json(found)}, {"plan", plan_json(*plan)}}));
    }
    if (dry_run) return 0;
    TRY(invocation.confirm(options.delta
                               ? cat("Bring ", options.directory,
                                     " back by block? What is there now is overwritten and not kept.")
                               : cat("Replace ", options.directory, "? What is there now is kept aside.")));
  }
  TRY_ASSIGN(ops::RestoreOutcome outcome, ops::run_restore(options, reporter, invocation.stop()));
  if (!destroys) {
    for (const std::string& note : outcome.plan.reach.notes) invocation.output().note(LogLevel::info, note);
    for (const std::string& warning : outcome.plan.warnings)
      invocation.output().note(LogLevel::warning, warning);
  }
  for (const std::string& note : outcome.notes) invocation.output().note(LogLevel::info, note);
  if (outcome.recovery)
    invocation.output().text(
        restored_indexes_text(indexes, outcome.recovery->port, outcome.recovery->socket_directory));
  invocation.output().text(outcome_text(outcome));
  Json document = outcome_json(outcome);
  document["indexes"] = indexes_json(indexes);
  document["found"] = found_json(found);
  invocation.output().document(to_json_text(document));
  return 0;
}

constexpr Option kRestoreOptions[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "restore into this directory, absent or empty, beside the original",
     .excludes = "replace"},
    {.name = "replace",
     .help = "put the restored cluster in the place of --pgdata; what is there is kept aside, its "
             "un-archived WAL is "
             "stored first"},
    {.name = "delta",
     .help =
         "bring back by block what is there, in --pgdata or in a copy (--to): only what differs from the "
         "backup is "
         "fetched and written; what is there is not kept, but un-archived WAL of --pgdata is stored first",
     .excludes = "replace|instant"},
    {.name = "dry-run",
     .help = "say what would be done, whether the target is reachable and how long it takes"},
    {.name = "action",
     .kind = ValueKind::choice,
     .placeholder = "ACTION",
     .help = "at the target: pause for inspection, promote, or shut down (default: pause with a target, "
             "promote at the "
             "end of WAL)",
     .choices = "pause|promote|shutdown"},
    {.name = "archive-mode",
     .kind = ValueKind::choice,
     .placeholder = "MODE",
     .help = "archiving of the restored cluster (default: off with --to, kept in its place)",
     .choices = "keep|off"},
    {.name = "table",
     .kind = ValueKind::text,
     .placeholder = "TABLE",
     .help =
         "bring only this table (also SCHEMA.TABLE or DATABASE.SCHEMA.TABLE), with its partitions, to the "
         "server of --pg; --to is then where the backup is mounted meanwhile (default: below /var/tmp)",
     .repeatable = true,
     .excludes = "replace|delta|instant|start"},
    {.name = "database",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "of --table: its database in the backup (default: postgres); alone: bring this database",
     .excludes = "replace|delta|instant|start"},
    {.name = "into-database",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "database that gets the tables (default: of the same name), or that is made (default: "
             "NAME_restored)"},
    {.name = "schema",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "schema that is made for the tables (default: restored_TIME)"},
    {.name = "merge",
     .help =
         "then insert the rows that the original tables lack, by primary key; rows that are there are not "
         "changed, triggers of the tables fire, and rows that did not come as they were brought are an "
         "error"},
    {.name = "start", .help = "start the server, watch its recovery, compare where it ended with the plan"},
    {.name = "instant",
     .help = "answer queries within seconds from a mount (see lifeboat mount), bring everything meanwhile, "
             "then run on the "
             "plain directory; the same command goes on after it was killed",
     .excludes = "replace"},
    {.name = "hydrate-rate",
     .kind = ValueKind::bytes,
     .placeholder = "SIZE",
     .help = "with --instant: bring at most this much per second in the background (default: no limit)",
     .min = 1 << 16},
    {.name = "detach", .help = "with --instant: return at the first query; another process goes on"},
    {.name = "rebuild-indexes",
     .help = "with --start or --instant: rebuild indexes that are invalid or sorted by another version of a "
             "collation, once the server is promoted (see lifeboat heal indexes); else they are listed"},
    {.name = "recovery-timeout",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "with --start: give up watching after this long (default: no limit)"},
};
constinit const OptionGroup kRestoreGroup = {"Restore", kRestoreOptions};

}  // namespace

extern const Command kRestoreCommand;
constinit const Command kRestoreCommand = {
    .path = "restore",
    .summary = "bring a cluster back, to any moment its WAL covers",
    .description =
        "Finds the backup and the WAL that lead to the target, checks before anything is touched that the "
        "target can be "
        "reached, that there is room and that nothing is in the way, writes the data directory in parallel "
        "with every "
        "block checked, and leaves it ready to start: started by its owner it recovers to the target, with "
        "no "
        "other configuration.\n\n"
        "--to puts a copy beside the original, with archiving and subscriptions off so that it cannot "
        "write into the original's archive. --replace takes the place of --pgdata: un-archived WAL of the "
        "old directory "
        "is stored first, the old directory and tablespaces are kept aside whole. --delta overwrites "
        "--pgdata, or a copy that --to names, where its blocks differ from the backup's: every block is "
        "compared "
        "by its hash, whatever sizes and times say, so a damaged directory, an older or a newer one and "
        "one of another timeline all end as the backup. Only whole runs of blocks (256 kB as they were "
        "stored) have hashes: where an incremental backup has replaced some blocks of a run, what is left of "
        "it is fetched to be compared, and written only where it differs. What the backup does not have is "
        "removed at the end, and "
        "until then PostgreSQL cannot start there; a call that was cut off is gone on with by the same "
        "command.\n\n"
        "Without --start the last line printed is the command that starts the server. With --start "
        "the recovery is watched, and where it ended is compared with the plan before it is promoted. "
        "pg_verifybackup --no-parse-wal accepts the directory before its first start.\n\n"
        "With --table, or --database, nothing is restored: the backup is mounted, recovered to the target, "
        "and only "
        "what was asked for is brought to the server of --pg, tables into a schema of their own with "
        "indexes, "
        "constraints, sequences, privileges and comments. Every row is compared. The original tables are not "
        "touched, unless --merge is given: foreign keys to tables that were not asked for are left out and "
        "told with "
        "the statement that adds them, and so is being a partition or an heir of one. A database comes with "
        "its owner, privileges, settings and comment. As root, or where fusermount3 and /dev/fuse are there, "
        "the backup is mounted; else it is restored whole for the time being.\n\n"
        "With --instant the directory is mounted first and the server started on that: read-only queries are "
        "answered as "
        "soon as the backup is consistent, whatever its size. Behind it every block is brought, small and "
        "used files "
        "first; then the server is stopped for about as long as a restart takes and runs on the plain "
        "directory, where "
        "nothing of ours is left. The command returns after that. Until the switch the server answers on its "
        "Unix socket only, and --hydrate-rate is what the call that mounted it was given. It takes root, or "
        "fusermount3 and "
        "/dev/fuse.",
    .danger = Danger::destructive,
    .groups = {&kRestoreGroup, &kRestoredOptions, &kBeforeOptions, &kTargetOptions, &kBackupChoiceOptions,
               &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .mounts = true,
    .examples =
        "# what would happen, and would it work\n"
        "lifeboat restore --repo /srv/backup --to /srv/copy --target-time '2026-11-20 10:56:25+00' "
        "--dry-run\n"
        "# the moment before a mistake, beside the running server, on a port of its own\n"
        "lifeboat restore --repo /srv/backup --to /srv/copy --target-time '2026-11-20 10:56:25+00' --start "
        "--port 5433\n"
        "# a table was dropped, nobody knows when\n"
        "lifeboat restore --repo /srv/backup --to /srv/copy --before-drop orders --start --port 5433\n"
        "# only that table, back into the database it came from, beside whatever is there now\n"
        "lifeboat restore --repo /srv/backup --table orders --database shop --before-drop orders --pg "
        "host=/run/postgresql\n"
        "# queries within seconds, of a backup of any size\n"
        "lifeboat restore --repo /srv/backup --to /srv/copy --instant --port 5433\n"
        "# everything there is, in place of a broken cluster\n"
        "lifeboat restore --repo /srv/backup --replace --pgdata /var/lib/postgresql/15/main --yes\n"
        "# the same without room for a second copy, fetching only what differs\n"
        "lifeboat restore --repo /srv/backup --delta --pgdata /var/lib/postgresql/15/main --yes",
    .schema = R"({
  "type": "object",
  "required": ["dry_run"],
  "properties": {
    "dry_run": {"type": "boolean"},
    "directory": {"type": "string"},
    "found": {"type": ["object", "null"], "description": "the transaction that --before-drop or --before-xid meant", "properties": {"xid": {"type": "integer"}, "time": {"type": ["string", "null"], "format": "date-time"}, "commit_lsn": {"type": "string"}, "what": {"type": "string"}}},
    "plan": {"type": "object", "required": ["backup", "target", "timeline", "stop_lsn", "placements", "space", "estimate"], "properties": {
      "cluster": {"type": "string"},
      "lineage": {"type": "string"},
      "backup": {"type": "string"},
      "backup_type": {"type": "string"},
      "backup_stopped": {"type": ["string", "null"], "format": "date-time"},
      "target": {"type": "string"},
      "effective_target": {"type": "string"},
      "timeline": {"type": "integer"},
      "action": {"enum": ["pause", "promote", "shutdown"]},
      "stop_lsn": {"type": "string"},
      "last_commit": {"type": ["string", "null"], "format": "date-time"},
      "next_commit": {"type": ["string", "null"], "format": "date-time"},
      "replay_from": {"type": "string"},
      "wal_bytes": {"type": "integer"},
      "wal_segments": {"type": "integer"},
      "unfinished_segment": {"type": ["string", "null"]},
      "bytes": {"type": "integer"},
      "files": {"type": "integer"},
      "placements": {"type": "array", "items": {"type": "object"}},
      "space": {"type": "array", "items": {"type": "object"}},
      "estimate": {"type": "object", "properties": {"copy_seconds": {"type": ["number", "null"]}, "replay_seconds": {"type": ["number", "null"]}, "basis": {"type": "string"}}},
      "replace": {"type": "boolean"},
      "delta": {"type": "boolean"},
      "rescue": {"type": "array", "items": {"type": "string"}},
      "owner": {"type": "string"},
      "pg_bin": {"type": ["string", "null"]},
      "archive_off": {"type": "boolean"},
      "notes": {"type": "array", "items": {"type": "string"}},
      "warnings": {"type": "array", "items": {"type": "string"}}}},
    "files": {"type": "integer"},
    "bytes": {"type": "integer"},
    "compared": {"type": ["object", "null"], "description": "with --delta, plain bytes but for fetched_stored_bytes", "properties": {"read_bytes": {"type": "integer", "description": "of the directory"}, "unchanged_bytes": {"type": "integer", "description": "of these"}, "fetched_bytes": {"type": "integer", "description": "from the repository"}, "fetched_stored_bytes": {"type": "integer"}, "written_bytes": {"type": "integer"}, "removed": {"type": "integer", "description": "files and directories"}}},
    "phases": {"type": "object", "additionalProperties": {"type": "number"}, "description": "seconds"},
    "seconds": {"type": "number"},
    "kept": {"type": "array", "items": {"type": "string"}},
    "rescued": {"type": "array", "items": {"type": "string"}},
    "notes": {"type": "array", "items": {"type": "string"}},
    "instant": {"type": "object", "description": "with --instant, seconds since the command began", "properties": {"accepting_seconds": {"type": ["number", "null"]}, "recovered_seconds": {"type": ["number", "null"]}, "complete_seconds": {"type": ["number", "null"]}, "switch_seconds": {"type": ["number", "null"], "description": "how long the server did not answer at the switch"}, "running": {"type": "boolean"}}},
    "pid": {"type": "integer", "description": "with --detach: the process that goes on"},
    "log_file": {"type": "string", "description": "of that process"},
    "recovery": {"type": ["object", "null"]},
    "backup": {"type": "string", "description": "this and the following: with --table or --database"},
    "target": {"type": "string"},
    "last_commit": {"type": ["string", "null"]},
    "medium": {"type": "string", "enum": ["mount", "copy"]},
    "fetched_bytes": {"type": "integer", "description": "that a mount brought from the repository"},
    "backup_bytes": {"type": "integer"},
    "database": {"type": "string", "description": "that has the tables now"},
    "into_schema": {"type": ["string", "null"]},
    "tables": {"type": "array", "items": {"type": "object", "properties": {"original": {"type": "string"}, "brought": {"type": "string"}, "rows": {"type": "integer", "description": "all compared"}, "merged_rows": {"type": ["integer", "null"]}}}},
    "left_out": {"type": "array", "description": "what tied tables of --table to others that were not brought", "items": {"type": "object", "properties": {"what": {"enum": ["foreign_key", "partition", "inheritance"]}, "table": {"type": "string"}, "other": {"type": "string"}, "statement": {"type": "string", "description": "ties them again"}}}},
    "wal_records_left_out": {"type": "integer", "description": "of WAL, not replayed because they change only what was not asked for"},
    "recovered_seconds": {"type": "number", "description": "until the backup was recovered"},
    "indexes": {"type": "array", "items": {"type": "object"}, "description": "with --start or --instant: those in doubt, as heal indexes has them"},
    "copy_out_commands": {"type": "array", "items": {"type": "string"}, "description": "for the tables in recovery.locked, after the promotion"},
    "next_command": {"type": ["string", "null"]}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
