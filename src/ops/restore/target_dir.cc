#include "ops/restore/target_dir.h"

#include "ops/restore/config_text.h"
#include "ops/restore/marker.h"
#include "pg/server/postmaster.h"
#include "pg/server/recovery_settings.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kConfigLimit = 16 << 20;

// Patroni leaves its dynamic configuration in the data directory, keeps the operator's configuration as
// postgresql.base.conf, and says so at the head of the postgresql.conf that it writes
// (patroni/postgresql/config.py).
Result<bool> managed_by_patroni(const std::string& directory) {
  for (std::string_view name : {"patroni.dynamic.json", "postgresql.base.conf"}) {
    TRY_ASSIGN(bool there, path_exists(join_path(directory, name)));
    if (there) return true;
  }
  auto text = read_text(join_path(directory, "postgresql.conf"), kConfigLimit);
  if (!text) return false;  // absent, or a link elsewhere: not Patroni's
  return text->substr(0, 1000).find("overwritten by Patroni") != std::string::npos;
}

}  // namespace

Status check_replaceable(const std::string& directory, ServerThere server) {
  TRY_ASSIGN(DirectoryLook look, look_at_directory(directory));
  if (look.state != DirectoryState::occupied) return {};
  TRY_ASSIGN(std::optional<pg::RunningServer> running, pg::running_server(directory));
  if (running && server == ServerThere::refused) {
    return make_error(ErrorKind::precondition, directory,
                      running->by == pg::RunningBy::process
                          ? cat("a server is running there, process ", running->pid_file.pid)
                          : cat("processes of a server that ended are still attached to its shared memory"))
        .with_hint(
            "stop the server first: pg_ctl stop, or pg_ctlcluster or systemctl where these started it");
  }
  TRY_ASSIGN(bool patroni, managed_by_patroni(directory));
  if (patroni) {
    return make_error(ErrorKind::precondition, directory,
                      "is managed by Patroni, which would undo or replace the restore")
        .with_hint(
            "restore beside it with --to and let Patroni bootstrap from that: patronictl pause, stop Patroni "
            "on all "
            "nodes, patronictl remove CLUSTER, then start one node whose bootstrap method calls lifeboat "
            "restore --archive-mode keep --to its data directory: without keep the new primary would not "
            "archive");
  }
  TRY_ASSIGN(bool version, path_exists(join_path(directory, "PG_VERSION")));
  TRY_ASSIGN(bool global, path_exists(join_path(directory, "global")));
  TRY_ASSIGN(bool wal, path_exists(join_path(directory, "pg_wal")));
  if (!version && !global && !wal) {
    return make_error(ErrorKind::precondition, directory,
                      cat("is not a PostgreSQL data directory, but it holds ", look.found))
        .with_hint(
            "--replace takes the place of a cluster's data directory; for any other directory use --to");
  }
  return {};
}

Status check_is_copy(const std::string& directory) {
  auto text = read_text(join_path(directory, "postgresql.auto.conf"), kConfigLimit);
  bool off = false;
  if (text) {
    for (std::string_view line : split(*text, '\n')) {
      if (pg::setting_name_of_line(line) == "archive_mode")
        off = line.find("off", line.find("archive_mode") + 12) != std::string_view::npos;
    }
  }
  if (off) return {};
  return make_error(ErrorKind::precondition, directory,
                    "is not a restored copy: its postgresql.auto.conf does not turn archiving off")
      .with_hint(
          "to bring a cluster back in its place, with its un-archived WAL stored first: --delta --pgdata " +
          shell_quote(directory));
}

std::optional<Lineage> lineage_of_directory(const std::string& directory) {
  auto facts = read_data_dir(directory);
  if (!facts) return std::nullopt;
  return facts->lineage;
}

}  // namespace lifeboat::ops
