// lifeboat wal push: archive_command.
#include "ops/wal/push.h"

#include <nlohmann/json.hpp>

#include "app/daemon/control.h"
#include "app/daemon/handover.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/push_options.h"
#include "app/render.h"
#include "ops/wal/push_state.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

Result<int> handle(const Invocation& invocation) {
  ops::WalPushOptions options = push_options(invocation);
  TRY_ASSIGN(options.repo, repo_location(invocation));
  options.path = invocation.positional(0);
  options.working_directory = invocation.working_directory();
  // PGDATA is not looked at: the server's own environment may name a directory of configuration files.
  options.pgdata = invocation.text("pgdata");
  auto handed_over = hand_over(invocation.value("socket"), options);
  TRY_ASSIGN(ops::WalPushResult result, handed_over ? *std::move(handed_over) : ops::push_wal(options));
  if (!result.dropped.empty())
    invocation.output().note(LogLevel::warning, cat(result.file.text, " was NOT stored: ", result.dropped));
  bool again = result.outcome == repo::PushOutcome::already_stored;
  invocation.output().note(LogLevel::debug,
                           cat(result.file.text, again ? " was stored already" : " is stored"));
  nlohmann::ordered_json json = {
      {"file", result.file.text}, {"lineage", result.lineage.to_string()}, {"already_stored", again}};
  if (!result.dropped.empty()) json["dropped"] = result.dropped;
  invocation.output().document(to_json_text(json));
  return 0;
}

constexpr Positional kPositionals[] = {
    {.name = "PATH", .kind = ValueKind::text, .help = "the WAL file, as archive_command's %p gives it"},
};
constexpr Option kPushOptions[] = {
    {.name = "state-dir",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where the last failure is noted for doctor, when this user may write there",
     .default_text = "/var/lib/lifeboat",
     .section = ConfigSection::cluster},
    {.name = "socket",
     .kind = ValueKind::path,
     .placeholder = "PATH",
     .help = "of a daemon (serve) that the file is handed to when it listens there",
     .default_text = kControlSocket,
     .section = ConfigSection::cluster},
    {.name = "ahead",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "how many segments that wait behind this one are stored along with it, at most; 0 turns it off "
             "(default: four times the cores, at most 16)",
     .min = 0,
     .max = 64,
     .section = ConfigSection::cluster},
    {.name = "queue-max",
     .kind = ValueKind::bytes,
     .placeholder = "SIZE",
     .help = "drop a segment that cannot be stored when more WAL than this waits in pg_wal: recorded as a "
             "hole that no recovery passes (default: never; archiving stops, and pg_wal grows)",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kPushGroup = {"Push", kPushOptions};

}  // namespace

extern const Command kWalPushCommand;
constinit const Command kWalPushCommand = {
    .path = "wal push",
    .summary = "store one WAL file (for archive_command)",
    .description =
        "Stores a WAL segment, a .partial, .history or .backup file of the data directory that is the "
        "working directory, and "
        "returns only when it is durable. The same content again is success; other content under the same "
        "name is an error "
        "and changes nothing.\n\n"
        "Segments that wait behind a segment are stored along with it, on all cores, so that an archiver "
        "that "
        "fell behind "
        "catches up: they get their names after it, in order, and their own calls find them stored. A "
        "failure "
        "among them is "
        "reported by the segment's own call only.\n\n"
        "While the repository is away WAL waits in pg_wal. With --queue-max it waits up to that size; then "
        "segments are dropped: noted in --state-dir (without which nothing is dropped), told as a warning, "
        "recorded in the repository when it answers again, and shown by doctor and wal status. The next "
        "backup begins a new recoverable window.\n\n"
        "A file is refused when the working directory is not the data directory of a cluster that is "
        "registered in the "
        "repository, when it does not lie in that directory's pg_wal, and when its header names another "
        "cluster, version, "
        "timeline or position than its name does.",
    .danger = Danger::write,
    .exit_rule = ExitRule::wal_push,
    .positionals = kPositionals,
    .groups = {&kPushGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# in postgresql.conf\n"
        "archive_command = '/usr/bin/lifeboat --repo file:///srv/backup --cluster main wal push %p'",
    .exit_notes =
        "0: stored durably, or dropped under --queue-max, with a warning. Failures are 1 to 125 only, "
        "because PostgreSQL's archiver ends when a command "
        "ends above "
        "125 or by a signal.",
    .schema = R"({
  "type": "object",
  "required": ["file", "lineage", "already_stored"],
  "properties": {
    "file": {"type": "string"},
    "lineage": {"type": "string", "description": "system identifier and major version"},
    "already_stored": {"type": "boolean"},
    "dropped": {"type": "string", "description": "why it was not stored although the server was told so"}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
