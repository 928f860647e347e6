// `lifeboat init`: creates or adopts a repository, registers a cluster in it, and says what the server still
// needs. Running it again is success.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/doctor/checks.h"
#include "ops/init/server_setup.h"
#include "ops/session.h"
#include "repo/object.h"
#include "util/reporter.h"

namespace lifeboat::ops {

enum class ServerChanges : uint8_t { print, apply };

struct InitRequest {
  RepoLocation where;
  std::string conninfo;
  std::optional<std::string> pgdata;
  std::optional<repo::CompressionOptions> compression;  // of a new repository; default zstd 1
  bool new_lineage = false;  // the system identifier is new to this cluster name, and that is right
  ServerChanges changes = ServerChanges::print;
  bool may_replace = false;  // apply also where another tool's setting is replaced
  int archive_timeout_s = 60;
  std::string program;  // as DoctorRequest
  std::string pg_bin;
  std::string config_path;
  Reporter* reporter = nullptr;
  const StopToken* stop = nullptr;
};

enum class Done : uint8_t { created, found };  // made now, or there already

struct InitSummary {
  Done repository = Done::created;
  Done registration = Done::created;
  Done key_file = Done::found;  // created: a new key was generated
  repo::Marker marker;
  repo::LineageRecord lineage;
  size_t other_lineages = 0;
  DoctorFacts facts;                   // after what was applied
  Findings findings;                   // the set-up checks
  std::vector<SettingChange> changes;  // still to be made
  ApplyOutcome applied;
  std::string patroni_command;              // under Patroni, instead of applying
  std::optional<Error> apply_problem;       // why --apply did not
  std::vector<SettingChange> not_replaced;  // belong to another tool and were left alone
};

// Is there a repository? For the question whether to encrypt a new one.
Result<std::optional<repo::Marker>> look_for_repository(const RepoLocation& where);

// Errors: foreign (server and data directory are not the same cluster; the cluster name knows another system
// identifier and new_lineage is not set), wrong_key, unavailable (neither server nor data directory),
// permission and space of the store, damaged (remains of a repository without its marker). Problems of the
// server's set-up are findings.
Result<InitSummary> init_repository(const InitRequest& request);

}  // namespace lifeboat::ops
