#include "ops/restore/next_command.h"

#include <unistd.h>

#include <algorithm>

#include "ops/follow_up.h"
#include "ops/restore/start.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// "15 main" from /etc/postgresql/15/main/postgresql.conf, where Debian's own commands know the cluster.
std::string debian_cluster(const std::string& config_file) {
  constexpr std::string_view kPrefix = "/etc/postgresql/";
  if (!config_file.starts_with(kPrefix) || access("/usr/bin/pg_ctlcluster", X_OK) != 0) return "";
  std::vector<std::string_view> parts = split(std::string_view(config_file).substr(kPrefix.size()), '/');
  return parts.size() == 3 ? cat(parts[0], " ", parts[1]) : "";
}

}  // namespace

std::string start_command(const RestorePlan& plan, const repo::Manifest& manifest) {
  if (!plan.pg_bin) return "";
  const std::string& directory = plan.placements.front().final_path;
  std::string options;
  if (std::string config = outside_config_file(plan, manifest); !config.empty()) {
    if (std::string cluster = debian_cluster(config); !cluster.empty())
      return cat(as_ourselves(person_at_keyboard(), plan.owner), "pg_ctlcluster ", cluster, " start");
    options = cat(" -o ", shell_quote(cat("-c config_file=", shell_quote(config))));
  }
  return cat(as_owner(person_at_keyboard(), plan.owner), shell_quote(plan.pg_bin->program("pg_ctl")), " -D ",
             shell_quote(directory), " -l ", shell_quote(join_path(directory, "startup.log")), options,
             " start");
}

namespace {

std::string client(const RestorePlan& plan, const RecoveryResult& recovery, const std::string& role,
                   std::string_view program) {
  return cat(as_owner(person_at_keyboard(), plan.owner), shell_quote(plan.pg_bin->program(program)), " -h ",
             shell_quote(recovery.socket_directory), " -p ", recovery.port,
             role.empty() ? "" : cat(" -U ", shell_quote(role)));
}

}  // namespace

std::string after_recovery_command(const RestorePlan& plan, const RecoveryResult& recovery,
                                   const std::string& role) {
  if (recovery.phase == pg::ServerPhase::ended || !plan.pg_bin) return "";
  std::string command = cat(client(plan, recovery, role, "psql"), " postgres");
  if (recovery.phase == pg::ServerPhase::paused) command += cat(" -c ", shell_quote("SELECT pg_promote()"));
  return command;
}

std::vector<std::string> copy_out_commands(const RestorePlan& plan, const RecoveryResult& recovery,
                                           const std::string& role) {
  std::vector<std::string> commands;
  for (const LockedTable& locked : recovery.locked) {
    std::string file = cat(locked.table, ".sql");
    std::erase(file, '"');
    std::ranges::replace(file, '/', '_');
    commands.push_back(cat(client(plan, recovery, role, "pg_dump"), " -t ", shell_quote(locked.table), " ",
                           shell_quote(locked.database), " > ", shell_quote(file)));
  }
  return commands;
}

}  // namespace lifeboat::ops
