// Restore: a backup and its WAL become a data directory that PostgreSQL recovers to a chosen moment.
//
//   preflight   → RestorePlan: backup, target, WAL, places, space, time; nothing is touched (plan.h)
//   rescue      → the old directory's un-archived WAL goes into the repository (replace only)
//   copy        → the tree is written in parallel and checked block by block
//   configure   → recovery settings, external configuration, tablespace_map, backup_manifest
//   sync        → every file and directory is durable (T34)
//   publish     → global/pg_control gets its name, last of all: an aborted restore cannot start (T04)
//   replace     → the old directory is moved aside, the new one into its place
//   start       → the server is started and watched, checked, promoted or left paused
//
// A crash or an error before `publish` leaves a directory that PostgreSQL refuses to start and that holds the
// file `lifeboat.restore_incomplete`; the next restore into it starts over. What is there already is never
// deleted, unless it is to be brought back by block (delta.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/restore/options.h"
#include "ops/restore/plan.h"
#include "pg/server/launcher.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Wall time of each phase in seconds; 0 when it did not happen.
struct RestorePhases {
  double preflight = 0;
  double rescue = 0;
  double copy = 0;
  double configure = 0;
  double sync = 0;
  double replace = 0;
  double start = 0;     // from the start of the server to the first replayed record
  double recovery = 0;  // from there to the target, or to the end of WAL
  double validate = 0;  // of the paused server
  double promote = 0;
  double follow_up = 0;  // what is done on the promoted server
  double total() const {
    return preflight + rescue + copy + configure + sync + replace + start + recovery + validate + promote +
           follow_up;
  }
};

// A table that a transaction without its commit before the target had begun to drop, truncate or alter:
// recovery holds that transaction's lock while it is paused, and reading the table waits for it.
struct LockedTable {
  std::string database;
  std::string table;  // quoted as SQL needs it, with its schema
};

// Where the watched recovery ended (R6).
struct RecoveryResult {
  pg::ServerPhase phase = pg::ServerPhase::starting;  // paused, ready or ended (action shutdown)
  Lsn replayed;
  Timestamp last_commit;  // pg_last_xact_replay_timestamp()
  Timeline timeline;      // of the insertion point, after promotion
  int port = 0;
  std::string socket_directory;
  std::string log_file;
  pid_t pid = 0;
  std::vector<LockedTable> locked = {};  // when paused
};

struct RestoreOutcome {
  RestorePlan plan;
  RestorePhases phases;
  uint64_t files = 0;
  uint64_t bytes = 0;             // of the files
  struct Compared {               // plain bytes
    uint64_t read = 0;            // of the directory
    uint64_t unchanged = 0;       // of these
    uint64_t fetched = 0;         // from the repository,
    uint64_t fetched_stored = 0;  // and as stored there
    uint64_t written = 0;
    uint64_t removed = 0;  // files and directories that the backup does not have
  };
  std::optional<Compared> compared;  // delta
  std::vector<std::string> kept;     // where what was replaced is now
  std::vector<std::string> rescued;  // WAL files that were stored or carried over
  bool wal_left_behind = false;      // the old directory has WAL that could not be stored; `notes` say why
  std::vector<std::string> notes;
  std::optional<RecoveryResult> recovery;      // with start
  std::string next_command;                    // the exact next command for the operator
  std::vector<std::string> copy_out_commands;  // of the locked tables, for after the promotion
};

// The whole command. With `start` the server runs on when this returns (unless the action is shutdown).
// Errors: unreachable (target), precondition (directory, running server, tablespaces, Patroni), space,
// not_found, foreign, damaged, those of the store, cancelled; check_failed when recovery ended short of the
// plan.
Result<RestoreOutcome> run_restore(const RestoreOptions& options, Reporter& reporter, StopToken& stop);

// --- the steps, for drills and other callers that start the server themselves
// --------------------------------

// What the steps share; made by open_restore().
struct RestoreSource {
  std::unique_ptr<repo::Repository> repository;
  std::optional<ChosenLineage> lineage;
  const repo::LineageRepo& repo() const { return lineage->repo; }
};
Result<RestoreSource> open_restore(const RestoreOptions& options);

// The preflight. Reads the repository and looks at this host; writes nothing anywhere.
Result<RestorePlan> plan_restore(const RestoreSource& source, const RestoreOptions& options,
                                 Reporter& reporter, StopToken& stop);

// Carries the plan out up to a directory that PostgreSQL can start, durable. Takes a reader lease where the
// repository can be written. `phases` and the lists of the outcome are filled in.
Result<RestoreOutcome> execute_restore(const RestoreSource& source, const RestoreOptions& options,
                                       RestorePlan plan, Reporter& reporter, StopToken& stop);

// Starts the restored server and watches it to the target, then promotes, leaves it paused or shut down as
// the plan says. Fills in outcome.recovery, its phases and next_command; leaves the server running.
Status start_restored(const RestoreSource& source, const RestoreOptions& options, RestoreOutcome& outcome,
                      Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
