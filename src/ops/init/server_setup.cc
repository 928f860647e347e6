#include "ops/init/server_setup.h"

#include <algorithm>

#include "ops/archive_setting.h"
#include "pg/files/remote_source.h"
#include "pg/format/version.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kWantedSenders = 10;
constexpr int64_t kReloadWaitUs = 10'000'000;
constexpr int64_t kReloadPollUs = 50'000;

const std::string* setting(const DoctorFacts& facts, const std::string& name) {
  auto found = facts.server->settings.find(name);
  return found == facts.server->settings.end() ? nullptr : &found->second;
}

bool waits_for_restart(const DoctorFacts& facts, const std::string& name) {
  const auto& pending = facts.server->pending_restart;
  return std::ranges::find(pending, name) != pending.end();
}

}  // namespace

std::vector<SettingChange> plan_settings(const DoctorFacts& facts, int archive_timeout_s) {
  std::vector<SettingChange> changes;
  if (!facts.server) return changes;
  const pg::ServerFacts& server = *facts.server;
  auto now = [&](const char* name) {
    const std::string* value = setting(facts, name);
    return value == nullptr ? std::string() : *value;
  };
  bool archiving = now("archive_mode") != "off";

  if (now("wal_level") == "minimal" && !waits_for_restart(facts, "wal_level")) {
    changes.push_back({"wal_level", now("wal_level"), "replica", "WAL has to hold enough to recover from",
                       true, false, false});
  }
  if (!archiving && !waits_for_restart(facts, "archive_mode")) {
    changes.push_back(
        {"archive_mode", "off", "on", "the server hands finished WAL segments over", true, false, false});
  }
  const pg::VersionTraits* traits = pg::find_version(server.major);
  if (traits != nullptr && traits->archive_library && !now("archive_library").empty()) {
    changes.push_back({"archive_library", now("archive_library"), "", "it takes the place of archive_command",
                       false, false, true});
  }
  std::string command = now("archive_command");
  if (command != facts.expected_archive_command) {
    const CommandFacts& there = facts.archive_command;
    const bool elsewhere = there.repo && normal_url(*there.repo) != normal_url(facts.repository.url);
    const bool foreign = !command.empty() && (!there.ours || elsewhere);
    changes.push_back({"archive_command", command, facts.expected_archive_command,
                       "pushes each finished segment into the repository", false, false, foreign});
  }
  if (auto senders = parse_i64(now("max_wal_senders"));
      senders && *senders == 0 && !waits_for_restart(facts, "max_wal_senders")) {
    changes.push_back({"max_wal_senders", "0", std::to_string(kWantedSenders),
                       "streaming WAL and standbys need senders", true, true, false});
  }
  if (auto timeout = parse_i64(now("archive_timeout")); timeout && archive_timeout_s > 0) {
    if (*timeout == 0 || *timeout > archive_timeout_s) {
      changes.push_back(
          {"archive_timeout", cat(*timeout, "s"), cat(archive_timeout_s, "s"),
           cat("without it a quiet server may keep hours of commits in an unfinished segment; with "
               "it at most ",
               archive_timeout_s, " s plus the time to store are lost with the host"),
           false, true, false});
    }
  }
  return changes;
}

std::string alter_system_sql(const SettingChange& change) {
  // Not RESET for an empty value: the setting may stand in postgresql.conf, which RESET would bring back.
  return cat("ALTER SYSTEM SET ", change.name, " = ", sql_literal(change.wanted), ";");
}

std::string patroni_command(const std::vector<SettingChange>& changes) {
  std::string command = "patronictl edit-config";
  for (const SettingChange& change : changes) {
    // An empty value takes a parameter out of Patroni's configuration (patronictl's --pg NAME=).
    command += cat(" --pg ", shell_quote(cat(change.name, "=", change.wanted)));
  }
  return command;
}

std::string restart_command(const DoctorFacts& facts) {
  if (facts.patroni) return "patronictl restart CLUSTER";
  if (!facts.debian_cluster.empty()) {
    // Whoever is not root may not speak to systemd, but may use what it calls.
    if (!facts.systemd || facts.person == Person::owner) {
      return cat(as_ourselves(facts.person, server_user(facts)), "pg_ctlcluster ", facts.debian_cluster,
                 " restart");
    }
    auto parts = split(facts.debian_cluster, ' ');
    return cat(as_root(facts.person), "systemctl restart postgresql@", parts[0], "-", parts[1]);
  }
  std::string directory = facts.data ? facts.data->path : facts.server ? facts.server->data_directory : "";
  if (directory.empty()) directory = "DATA_DIRECTORY";
  // Without a log the server would go on writing to the terminal.
  return cat(their_program(facts, "pg_ctl"), " restart -D ", shell_quote(directory), " -l ",
             shell_quote(join_path(directory, "startup.log")));
}

std::string role_sql(const std::string& role, int major) {
  const std::string name = sql_identifier(role);
  const bool renamed = major >= 15;
  std::string sql;
  auto add = [&](std::string line) { sql += cat(line, "\n"); };
  add(cat(
      "-- A role for lifeboat. Run it in the database that --pg names: grants on functions count only in the "
      "database in which they are made."));
  add(cat("DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = ", sql_literal(role),
          ") THEN CREATE ROLE ", name, " LOGIN; END IF; END $$;"));
  add(cat("ALTER ROLE ", name, " WITH LOGIN REPLICATION;  -- REPLICATION: wal receive and standbys"));
  add(cat("GRANT pg_read_all_settings TO ", name, ";  -- data_directory, config_file"));
  add(cat("GRANT pg_read_all_stats TO ", name, ";  -- sizes, senders, slots"));
  add(cat("GRANT EXECUTE ON FUNCTION ",
          renamed ? "pg_backup_start(text, boolean)" : "pg_start_backup(text, boolean, boolean)", " TO ",
          name, ";"));
  add(cat("GRANT EXECUTE ON FUNCTION ",
          renamed ? "pg_backup_stop(boolean)" : "pg_stop_backup(boolean, boolean)", " TO ", name, ";"));
  add(cat("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO ", name, ";"));
  add(cat("GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO ", name, ";"));
  // Which files the configuration includes (T10).
  add(cat("GRANT SELECT ON pg_file_settings TO ", name, ";"));
  add(cat("GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO ", name, ";"));
  add(cat("GRANT SELECT ON pg_hba_file_rules TO ", name, ";"));
  add(cat("GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO ", name, ";"));
  if (renamed) {
    add(cat("GRANT SELECT ON pg_ident_file_mappings TO ", name, ";"));
    add(cat("GRANT EXECUTE ON FUNCTION pg_ident_file_mappings() TO ", name, ";"));
  }
  add("-- Only for backups from another host: the files of the data directory are read through the "
      "connection.");
  for (std::string_view function : pg::kRemoteReadFunctions)
    add(cat("GRANT EXECUTE ON FUNCTION ", function, " TO ", name, ";"));
  add("-- Only if configuration lies outside the data directory, and backups from another host shall hold "
      "it:");
  add(cat("-- GRANT pg_read_server_files TO ", name, ";"));
  return sql;
}

Result<ApplyOutcome> apply_settings(pg::PgClient& client, const std::vector<SettingChange>& changes) {
  ApplyOutcome outcome;
  for (const SettingChange& change : changes) {
    auto done = client.exec(alter_system_sql(change));
    if (!done) {
      Error error = std::move(done).error();
      if (error.kind == ErrorKind::permission) {
        error.hint =
            "ALTER SYSTEM needs a superuser; connect as one with --pg, or let one run what is printed";
      }
      return std::move(error).within(cat("set ", change.name));
    }
    outcome.applied.push_back(change);
  }
  if (outcome.applied.empty()) return outcome;
  TRY(client.exec("SELECT pg_reload_conf()"));
  // The postmaster reads its files when the signal reaches it, and our session when it next looks. A setting
  // has arrived when it has its new value or is marked as waiting for a restart.
  Clock& clock = Clock::system();
  const int64_t deadline = clock.monotonic_us() + kReloadWaitUs;
  for (;;) {
    outcome.pending_restart.clear();
    bool all = true;
    for (const SettingChange& change : outcome.applied) {
      TRY_ASSIGN(auto rows,
                 client.query("SELECT current_setting(name), pending_restart FROM pg_settings WHERE "
                              "name = $1",
                              {pg::Param(change.name)}));
      if (rows.empty()) continue;
      if (rows.truth(0, 1)) {
        outcome.pending_restart.push_back(change.name);
      } else if (change.restart) {
        all = all && rows.text(0, 0) == change.wanted;
      }
      // Units may be printed in another way, and the command is not shown while archiving is off: settings
      // that a reload brings into force are believed.
    }
    if (all) return outcome;
    if (clock.monotonic_us() > deadline) {
      return make_error(ErrorKind::timeout, "pg_reload_conf()",
                        "the server did not read its new settings within 10 s")
          .with_hint("see its log: an error in a configuration file stops it from reading any of them");
    }
    clock.sleep_us(kReloadPollUs);
  }
}

}  // namespace lifeboat::ops
