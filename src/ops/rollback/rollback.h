// Rollback: a cluster goes back to a moment, in its place or side by side (R7).
//
//   preflight → can the target be reached, what will be done, how long it takes; nothing is touched
//   stop      → the server that runs there, when that was asked for; else it is refused
//   restore   → un-archived WAL is stored, the old directory kept (by block: overwritten), ops/restore
//   validate  → the new one is paused at the target: where it is is compared with the preflight, and what is
//   in
//               it checked as a drill does, as far as a server in recovery lets (drill/checks.h)
//   promote
//
// What the old directory has beyond the target stays in it, and can be queried beside the new one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/drill/checks.h"
#include "ops/restore/restore.h"
#include "pg/server/postmaster.h"

namespace lifeboat::ops {

// What is asked of the paused server before it is promoted.
struct RollbackChecks {
  bool wanted = true;  // no: only where it is
  std::vector<std::string> assertions;
  std::string assertion_database = "postgres";
  std::vector<DrillProgram> programs;
  int64_t program_timeout_ms = 0;  // of each; 0: no limit
};

struct RollbackRequest {
  // With `replace` in place, else side by side. `start` and the action are set here.
  RestoreOptions restore;
  bool stops_server = false;  // one that runs in the directory
  // Refuse a directory that holds nothing, which is more likely mistyped than lost.
  bool needs_cluster = false;
  RollbackChecks checks;
  bool preserves = false;  // the old state is to be queried: how is said in the outcome
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

// `precondition`, with the command that stops it, when a server runs there that is not to be stopped.
Status check_may_stop(const RollbackRequest& request, const RollbackPlan& plan);

// The newest commit in WAL that is stored of what `options` restore; unset: none, or it cannot be told.
Timestamp last_commit_stored(const RestoreOptions& options, Timestamp now, Reporter& reporter,
                             const StopToken& stop);

// For people; ends with a newline.
std::string render_rollback(const RollbackPlan& plan);

struct RollbackOutcome {
  RestoreOutcome restored;
  std::vector<DrillCheck> checks;  // none of them failed
  double stop_seconds = 0;         // until the old server had ended
  std::string preserved;           // the old data directory; "": none was kept
  std::string preserved_command;   // starts it on another port, archiving nothing, read-only
};
// Errors: precondition with the command that stops the server when one runs and is not to be stopped;
// check_failed when a check did, the new server runs paused then; those of run_restore().
Result<RollbackOutcome> run_rollback(const RollbackRequest& request, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
