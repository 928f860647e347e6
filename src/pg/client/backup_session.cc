#include "pg/client/backup_session.h"

#include "pg/format/backup_label.h"
#include "pg/format/version.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

constexpr std::string_view kClock = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

std::string grants_hint(int major) {
  return cat(
      "GRANT EXECUTE ON FUNCTION ",
      major >= 15 ? "pg_backup_start(text, boolean), pg_backup_stop(boolean)"
                  : "pg_start_backup(text, boolean, boolean), pg_stop_backup(boolean, boolean)",
      " TO the role, in the database that --pg names; lifeboat init --print-grants has the whole list");
}

Error explain(Error error, int major, std::string_view what) {
  if (error.kind == ErrorKind::permission) error.hint = grants_hint(major);
  return std::move(error).within(what);
}

}  // namespace

Result<BackupSession> BackupSession::start(PgClient client, const std::string& label, CheckpointMode mode) {
  TRY_ASSIGN(const VersionTraits* version, require_version(client.major()));
  // Without conversion: the label and the tablespace map are wanted in the server's own bytes, and a path may
  // hold bytes that are no text in any encoding.
  TRY(client.exec("SET client_encoding = 'SQL_ASCII'; SET statement_timeout = 0"));
  BackupStart started;
  TRY_ASSIGN(Rows before, client.query(cat("SELECT pg_is_in_recovery(), ", kClock)));
  started.in_recovery = before.truth(0, 0);
  started.time = {before.i64(0, 1).value_or(0)};

  const char* fast = mode == CheckpointMode::fast ? "true" : "false";
  auto start = client.value(
      cat("SELECT ", version->backup_start, "($1, ", fast, version->exclusive_argument ? ", false)" : ")"),
      {Param(label)});
  if (!start) return explain(std::move(start).error(), client.major(), "starting the backup");
  auto lsn = Lsn::parse(start->value_or(""));
  if (!lsn || !lsn->valid())
    return make_error(
        ErrorKind::server, "",
        cat("starting the backup: expected a position in WAL, found \"", start->value_or("null"), "\""));
  started.start_lsn = *lsn;
  // The start made a checkpoint (on a standby it took the last restart point); pg_control says on which
  // timeline.
  TRY_ASSIGN(Rows control, client.query("SELECT timeline_id, redo_lsn FROM pg_control_checkpoint()"));
  started.timeline = {static_cast<uint32_t>(control.u64(0, 0).value_or(0))};
  started.checkpoint_redo = Lsn::parse(control.text(0, 1)).value_or(Lsn());
  return BackupSession(std::move(client), started);
}

Status BackupSession::check() {
  auto recovery = client_.value("SELECT pg_is_in_recovery()");
  if (!recovery) return std::move(recovery).error().within("checking the backup session");
  if ((recovery->value_or("") == "t") != started_.in_recovery)
    return make_error(ErrorKind::precondition, "",
                      "the standby was promoted during the backup, which makes it void")
        .with_hint("take the backup again");
  return {};
}

// A standby may follow its primary to another timeline, which is no promotion of its own.
Status BackupSession::check_timeline() {
  auto timeline = client_.value("SELECT min_recovery_end_timeline FROM pg_control_recovery()");
  if (!timeline) return std::move(timeline).error().within("stopping the backup");
  if (parse_u64(timeline->value_or("")) == started_.timeline.value) return {};
  return make_error(
             ErrorKind::precondition, "",
             cat("the backup started on timeline ", started_.timeline.value, " and stopped on timeline ",
                 timeline->value_or("unknown"), ", to which the standby has followed its primary"))
      .with_hint("take the backup again after the primary's next checkpoint");
}

Result<BackupStop> BackupSession::stop() {
  TRY(check());
  TRY_ASSIGN(const VersionTraits* version, require_version(client_.major()));
  auto rows = client_.query(cat("SELECT lsn, labelfile, spcmapfile, ", kClock, " FROM ", version->backup_stop,
                                version->exclusive_argument ? "(false, false)" : "(false)"));
  if (!rows) return explain(std::move(rows).error(), client_.major(), "stopping the backup");
  if (rows->size() != 1) return make_error(ErrorKind::server, "", "stopping the backup: expected one row");
  BackupStop stop;
  stop.stop_lsn = Lsn::parse(rows->text(0, 0)).value_or(Lsn());
  stop.backup_label = std::string(rows->text(0, 1));
  stop.tablespace_map = std::string(rows->text(0, 2));
  stop.time = {rows->i64(0, 3).value_or(0)};
  if (started_.in_recovery) TRY(check_timeline());
  client_.close();

  TRY_ASSIGN(BackupLabel label, parse_backup_label(stop.backup_label));
  if (!stop.stop_lsn.valid() || stop.stop_lsn < started_.start_lsn || label.start != started_.start_lsn)
    return make_error(
        ErrorKind::server, "",
        cat("stopping the backup: expected one that started at ", started_.start_lsn.to_string(), ", found ",
            label.start.to_string(), " to ", stop.stop_lsn.to_string()));
  if (label.start_timeline && *label.start_timeline != started_.timeline)
    return make_error(ErrorKind::precondition, "",
                      cat("the server changed its timeline while the backup was starting: expected ",
                          started_.timeline.value, ", found ", label.start_timeline->value))
        .with_hint("take the backup again");
  return stop;
}

}  // namespace lifeboat::pg
