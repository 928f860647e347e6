// Archiving goes on into another repository while the first one cannot be written (SH1).
//
// The basis is the server's own archive_command, which is set to push into the other repository with ALTER
// SYSTEM: what is in force can be seen where PostgreSQL shows it, survives restarts, and no file of ours
// redirects anybody. What waited in pg_wal goes there first, in order, so no WAL is lost; but a recovery out
// of the other repository needs a backup there, so one is taken as soon as WAL arrives. Going back is for a
// person: `repo` in the configuration, or init --apply with the first one.
#pragma once

#include <string>
#include <vector>

#include "ops/session.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct RotateRequest {
  RepoLocation to;
  std::string conninfo;
  std::string program;  // absolute path of lifeboat
  int64_t archive_timeout_ms = 120'000;
};

struct RotateOutcome {
  std::string before;  // archive_command
  std::string now;
  std::string archived;  // the first WAL file that was archived after it
};

// Is the cluster registered in it, and may objects be made there? Writes and removes an object of its own.
// Errors: those of opening it; not_found with a hint when the cluster is not registered there.
Status check_can_take_over(const RepoLocation& to, const Lineage& lineage);

// `did` has what was done also when it fails later. Errors: those of check_can_take_over(), permission of
// ALTER SYSTEM; unsupported where Patroni or an archive_library decides; timeout when nothing was archived in
// time, which leaves the new setting.
Result<RotateOutcome> rotate_archiving(const RotateRequest& request, std::vector<std::string>& did,
                                       Reporter& reporter, const StopToken& stop);

}  // namespace lifeboat::ops
