// A standby from the repository: the newest backup is restored, and the server that is started on it replays
// what the repository holds and then streams from the primary (H1).
//
//   identify → the primary is of the same cluster (T26); its slot keeps WAL from now on
//   restore  → as every restore (ops/restore/restore.h), with standby.signal and the lenient restore_command
//   start    → on request, watched until it streams
//
// The slot is made before the backup is read, so that what the primary writes meanwhile waits for the
// standby; WAL between the repository's end and the slot has to be in the primary's pg_wal or archived by
// then. A slot that was made here goes when the restore fails: it would hold the primary's WAL for ever.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ops/restore/restore.h"
#include "pg/client/replication.h"

namespace lifeboat::ops {

struct StandbyRequest {
  // Its `standby` says whom to follow; `start` whether to start it, `recovery_timeout_ms` how long to wait
  // until it streams.
  RestoreOptions restore;
};

// What the running standby says of itself.
struct Streaming {
  std::string sender;  // host and port, as the receiver knows it
  std::string slot;
  Lsn received;
  Timeline timeline;
  double seconds = 0;  // from the start of the server
};

struct StandbyOutcome {
  RestoreOutcome restored;
  std::optional<pg::SenderIdentity> primary;
  bool slot_created = false;           // here; false: it was there
  std::optional<Streaming> streaming;  // with start, when there is a primary
};

// The preflight alone; asks the primary who it is. Errors: foreign, and those of plan_restore().
Result<RestorePlan> plan_standby(const StandbyRequest& request, Reporter& reporter, StopToken& stop);

// Errors: those of run_restore() and of the primary; timeout when it does not stream in time, which leaves
// the server running.
Result<StandbyOutcome> create_standby(const StandbyRequest& request, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
