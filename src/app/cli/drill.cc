// lifeboat drill: a rehearsed, timed restore with checks and evidence.
#include "ops/drill/drill.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/assertions.h"
#include "app/cli/drill_dump.h"
#include "app/cli/drill_history.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/run.h"
#include "app/scratch.h"
#include "app/target.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Json phases_json(const ops::DrillOutcome& outcome) {
  const ops::RestorePhases& phases = outcome.phases;
  return {{"preflight", phases.preflight},   {"copy", phases.copy},
          {"configure", phases.configure},   {"sync", phases.sync},
          {"mount", outcome.mount_seconds},  {"start", phases.start},
          {"recovery", phases.recovery},     {"first_query", outcome.first_query_seconds},
          {"checks", outcome.checks_seconds}};
}

Json to_json(const ops::DrillOutcome& outcome) {
  const Json checks = checks_json(outcome.checks);
  return {{"verdict", outcome.passed ? "passed" : "failed"},
          {"evidence", outcome.evidence},
          {"backup", outcome.plan.backup.id.text},
          {"target", outcome.plan.asked.to_string()},
          {"reached_lsn", outcome.recovery->replayed.to_string()},
          {"timeline", outcome.plan.reach.timeline.value},
          {"last_commit", json_time(outcome.recovery->last_commit)},
          {"rto_seconds", outcome.rto_seconds},
          {"rpo_seconds", outcome.loss.seconds ? Json(*outcome.loss.seconds) : Json(nullptr)},
          {"rpo_how", outcome.loss.how},
          {"rpo_bound", outcome.loss.bound == ops::LossBound::exact ? "exact" : "at_most"},
          {"beacon_age_seconds", outcome.beacon ? Json(outcome.beacon->seconds) : Json(nullptr)},
          {"lost_commits", outcome.loss.lost_commits},
          {"medium", to_string(outcome.medium)},
          {"restored_bytes", outcome.plan.bytes},
          {"fetched_bytes", outcome.fetched_bytes},
          {"wal_bytes", outcome.plan.reach.wal_bytes},
          {"phases", phases_json(outcome)},
          {"checks", checks},
          {"tables_counted", outcome.counts.size()},
          {"kept_directory", outcome.kept_directory.empty() ? Json(nullptr) : Json(outcome.kept_directory)},
          {"notes", outcome.notes}};
}

std::string rpo_text(const ops::MeasuredLoss& loss) {
  if (!loss.seconds) return loss.how;
  if (loss.bound == ops::LossBound::at_most)
    return cat("at most ", format_seconds(*loss.seconds), " (", loss.how, ")");
  if (loss.lost_commits == 0) return cat("0 s: nothing would have been lost (", loss.how, ")");
  return cat(format_seconds(*loss.seconds), ": ", counted(loss.lost_commits, "commit"),
             " would have been lost (", loss.how, ")");
}

// What is read again may have to be fetched again.
std::string mount_text(const ops::DrillOutcome& outcome) {
  const std::string of = format_bytes(outcome.plan.bytes);
  const std::string fetched = format_bytes(outcome.fetched_bytes);
  if (outcome.fetched_bytes <= outcome.plan.bytes) return cat("mount, ", fetched, " of ", of, " fetched");
  return cat("mount of ", of, ", ", fetched, " fetched, what was read again included");
}

std::string to_text(const ops::DrillOutcome& outcome) {
  Facts facts;
  facts.add("drill", outcome.passed ? "PASSED" : "FAILED");
  facts.add("backup", outcome.plan.backup.id.text);
  facts.add("medium",
            outcome.medium == ops::ScratchMedium::mount ? mount_text(outcome) : std::string("copy"));
  facts.add("target",
            cat(outcome.plan.asked.to_string(), ", reached ", outcome.recovery->replayed.to_string(),
                " on timeline ", outcome.plan.reach.timeline.value));
  if (outcome.recovery->last_commit.valid()) {
    facts.add("last commit", outcome.recovery->last_commit.to_string());
  }
  const ops::RestorePhases& p = outcome.phases;
  facts.add("RTO", cat(format_seconds(outcome.rto_seconds), " (preflight ", format_seconds(p.preflight),
                       ", copy ", format_seconds(p.copy), ", configure ", format_seconds(p.configure),
                       ", sync ", format_seconds(p.sync), ", mount ", format_seconds(outcome.mount_seconds),
                       ", start ", format_seconds(p.start), ", recovery ", format_seconds(p.recovery),
                       ", first query ", format_seconds(outcome.first_query_seconds), ")"));
  facts.add("RPO", rpo_text(outcome.loss));
  facts.add("evidence", outcome.evidence);
  if (!outcome.kept_directory.empty()) facts.add("kept", outcome.kept_directory);
  Table table({{"check"}, {"result"}, {"time", Align::right}, {"detail"}});
  for (const ops::DrillCheck& check : outcome.checks) {
    table.add({check.id, std::string(to_string(check.result)), format_seconds(check.seconds), check.detail});
  }
  return cat(facts.to_string(), "\n", table.to_string());
}

std::optional<double> seconds_of(const Invocation& invocation, std::string_view name) {
  auto us = invocation.duration_us(name);
  if (!us) return std::nullopt;
  return static_cast<double>(*us) / 1e6;
}

Result<int> handle(const Invocation& invocation) {
  if (invocation.has("history"))
    return show_drill_history(invocation, seconds_of(invocation, "rto"), seconds_of(invocation, "rpo"));
  const std::string directory =
      invocation.text("to").value_or(scratch_directory(invocation, "/var/tmp", "drill"));
  if (invocation.has("dump")) return drill_dump(invocation, directory);
  ops::DrillOptions options;
  TRY_ASSIGN(options.scratch, scratch_options(invocation, directory));
  TRY_ASSIGN(TargetOptions target, target_options(invocation));
  options.scratch.lineage = target.lineage;
  options.scratch.backup = target.backup;
  options.scratch.target = target.target;
  options.scratch.timeline_choice = target.choice;
  options.scratch.timeline = target.timeline;
  options.scratch.after = invocation.flag("keep") ? ops::AfterScratch::keep : ops::AfterScratch::remove;
  options.random_target = invocation.flag("random-target");
  if (invocation.flag("full")) options.scratch.medium = ops::ScratchMedium::copy;
  if (auto us = invocation.duration_us("rotation")) {
    constexpr int64_t kDayUs = 86'400'000'000;
    options.rotation_days = static_cast<int>(std::max<int64_t>(1, *us / kDayUs));
  }
  TRY_ASSIGN(Assertions assertions, read_assertions(invocation));
  options.assertions = std::move(assertions.queries);
  options.assertion_database = std::move(assertions.database);
  if (const ConfigBlock* block = invocation.config().find(ConfigSection::cluster, invocation.cluster())) {
    for (const ConfigHook& check : block->drill_checks) options.programs.push_back({check.name, check.argv});
    options.program_timeout_ms = block->drill_timeout_us / 1000;
  }
  options.rto_seconds = seconds_of(invocation, "rto");
  options.rpo_seconds = seconds_of(invocation, "rpo");
  options.source_pgdata = invocation.pgdata();
  options.source_conninfo = invocation.conninfo();
  if (!options.source_pgdata) options.source_conninfo.reset();
  options.tool_version = kVersion;

  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::DrillOutcome outcome, ops::run_drill(options, reporter, invocation.stop()));
  for (const std::string& note : outcome.notes) invocation.output().note(LogLevel::warning, note);
  invocation.output().text(to_text(outcome));
  invocation.output().document(to_json_text(to_json(outcome)));
  if (!outcome.passed) {
    std::string failed;
    for (const ops::DrillCheck& check : outcome.checks) {
      if (check.result == ops::CheckResult::failed) failed += cat(failed.empty() ? "" : ", ", check.id);
    }
    return make_error(ErrorKind::check_failed, cat("drill of backup ", outcome.plan.backup.id.text),
                      cat("failed: ", failed));
  }
  return 0;
}

constexpr Option kDrillOptions[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where to restore, absent or empty (default: a new directory below /var/tmp)"},
    {.name = "dump",
     .kind = ValueKind::backup,
     .placeholder = "DUMP",
     .help =
         "rehearse this dump, or latest, the newest whole one, instead of a physical backup: restored into a "
         "throw-away server",
     .excludes = "full|random-target|rotation|backup|target-time|target-lsn|target-xid|target-name|target"},
    {.name = "history",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "drill nothing: show the last N drills, how RTO and RPO moved and how they stand against --rto "
             "and --rpo",
     .bare = "20",
     .min = 1,
     .max = 10'000,
     .excludes = "dump|to|full|keep|random-target|rotation|sql|backup|target-time|target-lsn|target-xid|"
                 "target-name|target"},
    {.name = "full", .help = "restore everything first, instead of mounting the backup"},
    {.name = "keep", .help = "leave the restored directory there, stopped; restores everything"},
    {.name = "random-target",
     .help = "recover to a random moment of the window, from the oldest backup to the last commit: what a "
             "drill on schedule does unless it is given a target"},
    {.name = "rotation",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help =
         "count and check all tables in so many days, each day a part; 1d: everything each time (default: 1d "
         "up to 1 GB and with --full, else 7d)",
     .min = 86'400'000'000,
     .max = 31'536'000'000'000,
     .section = ConfigSection::cluster},
    {.name = "rto",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "target: fail when the measured RTO is longer",
     .section = ConfigSection::cluster},
    {.name = "rpo",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "target: fail when the measured RPO is longer",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kDrillGroup = {"Drill", kDrillOptions};

}  // namespace

extern const Command kDrillCommand;
constinit const Command kDrillCommand = {
    .path = "drill",
    .summary = "rehearse a restore, time it, check what came back",
    .description =
        "Mounts a backup on a directory of its own, recovers it (to the end of WAL unless a target is "
        "given), and "
        "checks the "
        "result: where recovery ended, exact row counts, your own SQL, invalid indexes and collation "
        "versions, amcheck with "
        "heapallindexed, page checksums. Measures the RTO by phase, and with --pgdata the RPO: what would "
        "have been lost if the "
        "source had died when the drill began. The evidence is stored in the repository; list and show cite "
        "it.\n\n"
        "On a mount a drill costs what it touches, and its RTO is that of restore --instant; with --full, or "
        "where nothing can be mounted (that takes root, or fusermount3 and /dev/fuse), everything is "
        "restored "
        "first. Of a large cluster each drill counts "
        "and "
        "checks a part of the tables, and comes round to all of them (--rotation).\n\n"
        "[cluster.NAME.drill] in the configuration file names programs of yours, as name = [\"/path\", "
        "\"argument\"]; "
        "each finds the copy by PGHOST, PGPORT, PGUSER and PGDATABASE, and fails the drill when it ends with "
        "anything but 0 or takes longer than `timeout` (5min).\n\n"
        "A --sql-database that neither the backup nor the recovered copy has is an error of the command "
        "line, and "
        "no failed drill in the evidence; one that the backup had and the copy has not is a failed check.\n\n"
        "With --history nothing is drilled: the evidence of the last drills is shown, with the trend.\n\n"
        "With --dump a logical backup is restored into a new server of the same major, everything in it is "
        "counted, and "
        "the same checks of yours are asked.\n\n"
        "The copy is isolated: its own socket and no TCP, archiving off, no subscriptions, no job-running "
        "libraries, tablespaces "
        "beside it. The copy is removed afterwards.",
    .danger = Danger::write,
    .groups = {&kDrillGroup, &kAssertionOptions, &kTargetOptions, &kBackupChoiceOptions, &kRepoOptions,
               &kServerOptions, &kGeneralOptions},
    .mounts = true,
    .examples =
        "# rehearse the newest backup and measure RPO against the running server\n"
        "lifeboat drill --repo /srv/backup --pgdata /var/lib/postgresql/15/main\n"
        "# with targets and an assertion\n"
        "lifeboat drill --repo /srv/backup --rto 15min --rpo 5min --sql-database shop --sql 'select count(*) "
        "> 0 from orders'",
    .exit_notes =
        "4: what was named, as --sql-database, does not exist. 17: a check failed or a target was "
        "missed.",
    .schema = R"({
  "type": "object",
  "anyOf": [
    {"required": ["verdict", "evidence", "backup", "target", "rto_seconds", "rpo_seconds", "checks", "phases"]},
    {"required": ["drills", "failed", "rto", "rpo"], "description": "--history"}
  ],
  "properties": {
    "dump_drills": {"type": "array", "description": "newest first; backup is the dump", "items": {"type": "object"}},
    "drills": {"type": "array", "description": "newest first", "items": {"type": "object", "required": ["evidence", "time", "result", "problems", "backup", "target", "rto_seconds", "rpo_seconds", "phases"], "properties": {
      "evidence": {"type": "string"},
      "time": {"type": ["string", "null"], "format": "date-time"},
      "result": {"enum": ["passed", "failed", "target missed"], "description": "against the targets that it had itself"},
      "rto_target_seconds": {"type": ["number", "null"]},
      "rpo_target_seconds": {"type": ["number", "null"]}
    }}},
    "failed": {"type": "integer"},
    "rto": {"type": "object", "required": ["measured", "newest_seconds", "median_before_seconds", "slowest_seconds", "target_seconds", "missed", "change_per_day_seconds", "reaches_target_in_seconds"]},
    "rpo": {"type": "object", "description": "like rto"},
    "verdict": {"enum": ["passed", "failed"]},
    "evidence": {"type": "string"},
    "backup": {"type": "string"},
    "target": {"type": "string"},
    "reached_lsn": {"type": "string"},
    "timeline": {"type": "integer"},
    "last_commit": {"type": ["string", "null"], "format": "date-time"},
    "rto_seconds": {"type": "number"},
    "rpo_seconds": {"type": ["number", "null"], "description": "null: not measured, rpo_how says why"},
    "rpo_how": {"type": "string"},
    "rpo_bound": {"enum": ["exact", "at_most"], "description": "at_most: from the age of the newest beacon"},
    "beacon_age_seconds": {"type": ["number", "null"], "description": "of the newest beacon that was recovered, when the drill began"},
    "lost_commits": {"type": "integer"},
    "medium": {"enum": ["mount", "copy"]},
    "restored_bytes": {"type": "integer", "description": "of the backup"},
    "fetched_bytes": {"type": "integer", "description": "that a mount brought from the repository"},
    "wal_bytes": {"type": "integer"},
    "phases": {"type": "object", "additionalProperties": {"type": "number"}, "description": "seconds"},
    "checks": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}, "result": {"enum": ["passed", "failed", "skipped"]}, "detail": {"type": "string"}, "seconds": {"type": "number"}}}},
    "tables_counted": {"type": "integer"},
    "kept_directory": {"type": ["string", "null"]},
    "notes": {"type": "array", "items": {"type": "string"}}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
