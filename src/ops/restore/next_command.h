// The last line of a restore: the exact command that comes next.
#pragma once

#include <string>
#include <vector>

#include "ops/restore/restore.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

// How the restored directory is started, by the user who asked for the restore: pg_ctl with absolute paths,
// or the distribution's command where the configuration lives outside the directory. "" without PostgreSQL on
// this host.
std::string start_command(const RestorePlan& plan, const repo::Manifest& manifest);

// After a watched recovery: how it goes on from there.
std::string after_recovery_command(const RestorePlan& plan, const RecoveryResult& recovery,
                                   const std::string& role);

// How the tables that are locked at the target are copied out once the copy is promoted.
std::vector<std::string> copy_out_commands(const RestorePlan& plan, const RecoveryResult& recovery,
                                           const std::string& role);

}  // namespace lifeboat::ops
