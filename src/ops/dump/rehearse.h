// `lifeboat drill --dump`: a dump restored into a throw-away server of the major it came from, timed, counted
// and checked, with evidence.
//
// The server is made by initdb in a directory of its own, listens on its own socket only, archives nowhere,
// applies no subscription, and can connect to nobody: a foreign table, dblink or a function finds the network
// unreachable (util/cut_off.h). Materialized views that need another host stay empty, which is noted. RPO is
// not measured: a dump leads to the moment of its snapshot and no further.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/drill/checks.h"
#include "ops/dump/dump.h"

namespace lifeboat::ops {

struct DumpDrillOptions {
  RepoLocation location;
  std::string id;
  std::string directory;  // absolute; made, must be absent or empty
  bool keep = false;      // leave it there, stopped
  std::string pg_bin;
  int jobs = 1;
  std::vector<std::string> assertions;
  std::string assertion_database = "postgres";
  std::vector<DrillProgram> programs;
  int64_t program_timeout_ms = 0;
  std::optional<double> rto_seconds;
  std::string tool_version;
};

struct DumpDrillOutcome {
  bool passed = false;
  std::string evidence;
  repo::Card card;
  DumpRestoreOutcome restored;
  double server_seconds = 0;   // initdb and start
  double restore_seconds = 0;  // with ANALYZE and counts
  double checks_seconds = 0;
  double rto_seconds = 0;  // from the command until every database was restored and counted
  std::vector<DrillCheck> checks;
  std::string kept_directory;
  std::vector<std::string> notes;
};

// Errors: not_found (dump, programs), precondition (directory), those of the throw-away server, and a restore
// that failed for what this host or the repository's place lacks (host_fault.h). Any other restore that
// failed, as well as a failed check, is an outcome that has not passed; evidence is written for both
// verdicts.
Result<DumpDrillOutcome> drill_dump(const DumpDrillOptions& options, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
