// Rollback: a cluster goes back to a moment, in its place or side by side (R7).
//
//   preflight → can the target be reached, what will be done, how long it takes; nothing is touched
//   stop      → the server that runs there, when that was asked for; else it is refused
//   restore   → un-archived WAL is stored, the old directory kept (by block: overwritten), ops/restore
//   validate  → the new one is paused at the target, and where it is compared with the preflight
//   promote
//
// What the old directory has beyond the target stays in it, and can be queried beside the new one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/restore/restore.h"
#include "pg/server/postmaster.h"

namespace lifeboat::ops {

struct RollbackRequest {
  // With `replace` in place, else side by side. `start` and the action are set here.
  RestoreOptions restore;
  bool stops_server = false;  // one that runs in the directory
  bool preserves = false;     // the old state is to be queried: how is said in the outcome
};

struct RollbackStep {
  std::string what;
  std::optional<double> seconds;  // nullopt: not known, or too little to count
};

struct RollbackPlan {
  RestorePlan restore;
  std::optional<pg::RunningServer> running;
  std::string stop_command;  // of the running one, to be pasted
  std::vector<RollbackStep> steps;
};
// Errors: those of plan_restore(). That a server runs there is none.
Result<RollbackPlan> plan_rollback(const RollbackRequest& request, Reporter& reporter, StopToken& stop);

// For people; ends with a newline.
std::string render_rollback(const RollbackPlan& plan);

struct RollbackOutcome {
  RestoreOutcome restored;
  double stop_seconds = 0;        // until the old server had ended
  std::string preserved;          // the old data directory; "": none was kept
  std::string preserved_command;  // starts it on another port, archiving nothing, read-only
};
// Errors: precondition with the command that stops the server when one runs and is not to be stopped; those
// of run_restore().
Result<RollbackOutcome> run_rollback(const RollbackRequest& request, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
