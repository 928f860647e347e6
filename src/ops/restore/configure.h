// Turns a written tree into a directory that PostgreSQL recovers as planned: labels, configuration, recovery
// settings, required directories. Everything but global/pg_control's name.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "ops/restore/backup_manifest.h"
#include "ops/restore/layout.h"
#include "ops/restore/options.h"
#include "ops/restore/plan.h"
#include "pg/server/recovery_settings.h"
#include "repo/manifest.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct ConfigureInput {
  const repo::LineageRepo& repo;
  const repo::Manifest& manifest;
  const TreeSurvey& survey;
  const RestorePlan& plan;
  const RestoreOptions& options;
  uid_t uid = 0;  // of everything written, when root
  gid_t gid = 0;
};

// Files at the top of the tree that configure_directory() writes itself, so that the tree writer leaves them
// out.
std::set<std::string> configured_files(const ConfigureInput& input);

// Writes below the data directory's staging path. Files that pg_verifybackup looks at are added to
// `manifest` when there is one. Returns what was changed and what the operator should know. Errors: those of
// the store and the file system.
Result<std::vector<std::string>> configure_directory(const ConfigureInput& input,
                                                     BackupManifestWriter* manifest, const StopToken& stop);

// tablespace_map with the locations of the plan; byte for byte the server's where nothing was moved (T02).
Result<std::string> planned_tablespace_map(const repo::Manifest& manifest, const RestorePlan& plan);

// The settings that go into postgresql.auto.conf, before the host was looked at. Pure.
pg::RecoverySettings planned_settings(const ConfigureInput& input);

}  // namespace lifeboat::ops
