// What has to be set on a server so that its WAL is archived and backups can be taken: computed from facts,
// printed, or applied with ALTER SYSTEM.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/doctor/facts.h"
#include "pg/client/client.h"

namespace lifeboat::ops {

struct SettingChange {
  std::string name;
  std::string now;     // as the server has it
  std::string wanted;  // as it should be
  std::string reason;
  bool restart = false;   // only a restart brings it into force
  bool advised = false;   // works without it; it bounds what is lost when traffic is low
  bool replaces = false;  // takes away what belongs to another tool
};

// Settings that are not as archiving and backups need them, in the order in which they are to be set.
// `archive_timeout_s`: the longest that WAL may wait in an unfinished segment.
std::vector<SettingChange> plan_settings(const DoctorFacts& facts, int archive_timeout_s);

std::string alter_system_sql(const SettingChange& change);  // "ALTER SYSTEM SET archive_mode = 'on';"
// The one command that makes the changes on a cluster that Patroni manages: it owns the configuration and
// would take ALTER SYSTEM back.
std::string patroni_command(const std::vector<SettingChange>& changes);
// How this server is restarted here, by whoever started us: "systemctl restart postgresql@15-main" or "pg_ctl
// restart -D …".
std::string restart_command(const DoctorFacts& facts);

// A role that can take backups, push restore points and be read by doctor, with nothing more. Grants on
// functions count in one database only: the one that the statements are run in, which has to be the one that
// --pg names.
std::string role_sql(const std::string& role, int major);

struct ApplyOutcome {
  std::vector<SettingChange> applied;
  std::vector<std::string> pending_restart;  // in force only after a restart
};
// ALTER SYSTEM for each change, then pg_reload_conf(), then waits up to some seconds until the server says
// that it has read them. Errors: those of PgClient; nothing is undone, running it again goes on.
Result<ApplyOutcome> apply_settings(pg::PgClient& client, const std::vector<SettingChange>& changes);

}  // namespace lifeboat::ops
