// lifeboat backup: a physical backup of a running server.
#include "ops/backup/backup.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/run.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kDefaultLabelLimit = 1024;

Json to_json(const ops::BackupOutcome& outcome) {
  const repo::Card& card = outcome.card;
  Json broken = Json::array();
  for (const repo::BrokenPage& page : outcome.broken_pages) {
    broken.push_back({{"path", page.path}, {"block", page.block}, {"problem", page.problem}});
  }
  return {{"backup", card.id.text},
          {"type", to_string(card.type)},
          {"reference", card.reference ? Json(card.reference->text) : Json(nullptr)},
          {"reason", card.reason},
          {"continued", ids_json(card.continued)},
          {"state", to_string(card.state)},
          {"label", card.label},
          {"started", json_time(card.started)},
          {"stopped", json_time(card.stopped)},
          {"start_lsn", card.start_lsn.to_string()},
          {"stop_lsn", card.stop_lsn.to_string()},
          {"timeline", card.timeline.value},
          {"files", card.totals.files},
          {"plain_bytes", card.totals.plain_bytes},
          {"read_bytes", card.totals.read_bytes},
          {"stored_bytes", card.totals.stored_bytes},
          {"pages_checked", card.totals.pages_checked},
          {"broken_pages", card.broken_pages},
          {"broken", broken},
          {"changed_blocks", outcome.changes.map.changed_blocks()},
          {"wal_summarised", outcome.changes.segments},
          {"proven_blocks", outcome.proven_blocks},
          {"wal_segments", outcome.wal_segments},
          {"wal_segments_stored_here", outcome.wal_stored_by_us},
          {"source", outcome.read_from},
          {"remote", outcome.remote},
          {"standby", outcome.standby},
          {"seconds", card.totals.seconds},
          {"warnings", outcome.warnings}};
}

std::string to_text(const ops::BackupOutcome& outcome) {
  const repo::Card& card = outcome.card;
  double rate =
      card.totals.seconds > 0 ? static_cast<double>(card.totals.read_bytes) / card.totals.seconds : 0;
  Facts facts;
  facts.add("backup", card.id.text);
  facts.add("type", cat(to_string(card.type), card.reference ? cat(" on ", card.reference->text) : "", ", ",
                        to_string(card.state)));
  if (card.type != BackupType::full && !card.reason.empty()) facts.add("read all", card.reason);
  for (const BackupId& attempt : card.continued)
    facts.add("continues", cat(attempt.text, ", which was never finished"));
  facts.add("source", cat(outcome.read_from, outcome.standby ? ", a standby" : ""));
  facts.add("started", card.started.to_string());
  facts.add("stopped", card.stopped.to_string());
  facts.add("wal",
            cat(card.start_lsn.to_string(), " to ", card.stop_lsn.to_string(), " on timeline ",
                card.timeline.value, ", ", counted(outcome.wal_segments, "segment"), " in the repository"));
  facts.add("read", cat(format_bytes(card.totals.read_bytes), " in ", counted(card.totals.files, "file"),
                        ", ", format_bytes(static_cast<uint64_t>(rate)), "/s"));
  facts.add("stored", format_bytes(card.totals.stored_bytes));
  facts.add("pages", card.data_checksums
                         ? cat(card.totals.pages_checked, " checked, ", card.broken_pages, " broken")
                         : std::string("not checked: the cluster has no data checksums"));
  facts.add("time", format_seconds(card.totals.seconds));
  return facts.to_string();
}

Result<int> handle(const Invocation& invocation) {
  ops::BackupOptions options;
  TRY_ASSIGN(options.location, repo_location(invocation));
  options.source.conninfo = invocation.conninfo();
  options.source.remote = invocation.flag("remote");
  if (!options.source.remote) options.source.pgdata = invocation.pgdata();
  options.primary = invocation.text("primary").value_or("");
  if (std::string type = invocation.value("type"); type != "auto") options.type = parse_backup_type(type);
  options.prove = invocation.flag("prove");
  options.checkpoint =
      invocation.value("checkpoint") == "spread" ? pg::CheckpointMode::spread : pg::CheckpointMode::fast;
  options.label = invocation.text("label").value_or("lifeboat backup");
  options.jobs = invocation.jobs();
  options.bytes_per_second = invocation.bytes("rate").value_or(0);
  options.wal_timeout_us = invocation.duration_us("wal-timeout").value_or(options.wal_timeout_us);
  options.tool_version = kVersion;
  if (static_cast<int64_t>(options.label.size()) > kDefaultLabelLimit) {
    return make_error(ErrorKind::usage, "--label", cat("longer than ", kDefaultLabelLimit, " bytes"));
  }

  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::BackupOutcome outcome, ops::run_backup(options, reporter, invocation.stop()));
  for (const std::string& warning : outcome.warnings) invocation.output().note(LogLevel::warning, warning);
  invocation.output().text(to_text(outcome));
  invocation.output().document(to_json_text(to_json(outcome)));
  if (outcome.card.broken_pages != 0) {
    const repo::BrokenPage& first = outcome.broken_pages.front();
    return make_error(ErrorKind::backup_damaged, cat("backup ", outcome.card.id.text),
                      cat(counted(outcome.card.broken_pages, "broken page"), ", the first is block ",
                          first.block, " of ", first.path, ": ", first.problem))
        .with_hint(
            "the backup is kept, marked damaged, and never counts as verified; find the cause before the "
            "next one");
  }
  return 0;
}

constexpr Option kBackupOptions[] = {
    {.name = "type",
     .kind = ValueKind::choice,
     .placeholder = "TYPE",
     .help = "full reads and stores everything; incr reads what changed since the newest backup, diff since "
             "the newest full "
             "one; auto is incr whenever it is safe",
     .default_text = "auto",
     .choices = "auto|full|diff|incr"},
    {.name = "prove",
     .kind = ValueKind::flag,
     .help = "of an incremental backup: read everything all the same, and fail on a change that its change "
             "map missed"},
    {.name = "checkpoint",
     .kind = ValueKind::choice,
     .placeholder = "HOW",
     .help = "begin with an immediate checkpoint, or one that is spread over checkpoint_completion_target",
     .default_text = "fast",
     .choices = "fast|spread",
     .section = ConfigSection::cluster},
    {.name = "label",
     .kind = ValueKind::text,
     .placeholder = "TEXT",
     .help = "kept with the backup and in backup_label"},
    {.name = "rate",
     .kind = ValueKind::bytes,
     .placeholder = "BYTES",
     .help = "read at most this much a second (default: no limit)",
     .min = 1,
     .section = ConfigSection::cluster},
    {.name = "remote",
     .help = "read the files through connections, even if the data directory is on this host",
     .excludes = "pgdata",
     .section = ConfigSection::cluster},
    {.name = "primary",
     .kind = ValueKind::conninfo,
     .placeholder = "CONNINFO",
     .help = "of a standby: connection string of its primary, which is asked for a WAL switch at the end and "
             "for nothing "
             "else",
     .section = ConfigSection::cluster},
    {.name = "wal-timeout",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "how long to wait at the end for the WAL of the backup to reach the repository",
     .default_text = "120s",
     .min = 0,
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kBackupGroup = {"Backup", kBackupOptions};

}  // namespace

extern const Command kBackupCommand;
constinit const Command kBackupCommand = {
    .path = "backup",
    .summary = "back up a running server",
    .description =
        "Copies the data directory, tablespaces and configuration of a running server into the repository, "
        "in parallel, "
        "checking page checksums on the way, and waits until every WAL segment from its start to its stop is "
        "there too: "
        "only then is there a backup.\n\n"
        "Files are read on this host when --pgdata names them, or when the data directory that the server "
        "names is here and "
        "that server works in it. Otherwise, and with --remote, they are read through the connection (--pg) "
        "by a role that "
        "needs no superuser: lifeboat init --print-grants. One line says which. The server may be a standby; "
        "since no WAL "
        "switch can be forced there, --primary says where.\n\n"
        "After the first backup it reads what WAL since the newest sound backup names as changed, and the "
        "small files and "
        "maps that WAL does not speak of; what is equal is not stored again. Every backup restores by "
        "itself, and expiring "
        "one never breaks another. Nothing is taken over from a backup in which verify or a drill found "
        "damage: an older sound one is stood on, else the backup is full, and a warning says so. Where that "
        "is not safe (wal_level was minimal, data checksums were turned "
        "on or off, "
        "WAL is missing) everything is read, and one line says why.\n\n"
        "A backup that fails, is stopped or killed leaves nothing that could be taken for one. The next one "
        "goes on with what it stored: of that, only what WAL since its start names as changed is read again "
        "(with "
        "--type full everything is read, and what is equal is not stored again). Pages that "
        "stay broken after "
        "reading them again do not fail the backup: it is kept, marked damaged, and has an exit code of its "
        "own.",
    .danger = Danger::write,
    .groups = {&kBackupGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# a backup with two workers\n"
        "lifeboat backup --repo /srv/backup --jobs 2\n"
        "# gently, for a busy server\n"
        "lifeboat backup --repo /srv/backup --checkpoint spread --rate 50MB\n"
        "# a server on another host\n"
        "lifeboat backup --repo /srv/backup --pg 'host=db1 user=lifeboat sslmode=verify-full'\n"
        "# a standby, whose primary ends the last WAL segment\n"
        "lifeboat backup --repo /srv/backup --pg host=db2 --primary host=db1",
    .exit_notes =
        "20: the backup was kept, but pages in it are broken. 15: another backup of this cluster is running.",
    .schema = R"({
  "type": "object",
  "required": ["backup", "type", "state", "started", "stopped", "start_lsn", "stop_lsn", "timeline", "stored_bytes"],
  "properties": {
    "backup": {"type": "string", "description": "backup id"},
    "type": {"enum": ["full", "diff", "incr"]},
    "state": {"enum": ["complete", "damaged"]},
    "reference": {"type": ["string", "null"], "description": "the backup that this one takes over from"},
    "continued": {"type": "array", "items": {"type": "string"}, "description": "attempts that were never finished, whose blocks this backup took over"},
    "reason": {"type": "string", "description": "why everything was read; empty: the change map decided, or it is full because that was asked for"},
    "label": {"type": "string"},
    "started": {"type": "string", "format": "date-time"},
    "stopped": {"type": "string", "format": "date-time"},
    "start_lsn": {"type": "string"},
    "stop_lsn": {"type": "string"},
    "timeline": {"type": "integer"},
    "files": {"type": "integer"},
    "plain_bytes": {"type": "integer", "description": "what a restore writes"},
    "read_bytes": {"type": "integer"},
    "stored_bytes": {"type": "integer", "description": "added to the repository, without WAL"},
    "pages_checked": {"type": "integer"},
    "broken_pages": {"type": "integer"},
    "broken": {"type": "array", "items": {"type": "object", "properties": {"path": {"type": "string"}, "block": {"type": "integer"}, "problem": {"type": "string"}}}},
    "changed_blocks": {"type": "integer", "description": "that WAL since the reference names"},
    "wal_summarised": {"type": "integer", "description": "segments that the change map was made from"},
    "proven_blocks": {"type": "integer", "description": "that were read to prove the change map"},
    "wal_segments": {"type": "integer"},
    "wal_segments_stored_here": {"type": "integer", "description": "that the archiver had not brought"},
    "source": {"type": "string", "description": "directory, or server, that the files were read from"},
    "remote": {"type": "boolean", "description": "through connections"},
    "standby": {"type": "boolean"},
    "seconds": {"type": "number"},
    "warnings": {"type": "array", "items": {"type": "string"}}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
