// A backup exists only once all WAL from its start to its stop is durably in the repository (T03, B2).
//
// What counts is what reached the repository, not what archive_command says. Finished segments that are
// missing are stored from pg_wal itself, checked as `wal push` checks them, so a slow or broken archiver
// delays nothing it need not.
#pragma once

#include <string>

#include "model/wal_name.h"
#include "ops/session.h"
#include "ops/wal/push.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct WalRequest {
  WalPlace* pg_wal = nullptr;  // the server's; required
  std::string where;           // it, for messages
  bool standby = false;        // the server is one
  Timeline timeline;
  Lsn start;  // the backup's redo position
  Lsn stop;
  int64_t timeout_us = 120'000'000;
};

struct WalOutcome {
  uint64_t segments = 0;
  uint64_t stored_by_us = 0;  // that the archiver had not brought
};

// Waits until the repository holds every segment from start to stop and the timeline's history file, then
// reads them back and checks that the records are continuous from the start position to the stop and end with
// this backup's end record. Call after pg_backup_stop.
//
// On a primary that switches WAL, so every segment up to the stop is finished. On a standby the last one is
// still being received, and nobody there can end it: it is stored from pg_wal only once its successor has
// begun. Nor does a standby write a record at the end: what makes its copy consistent is the position in
// pg_control, at or before the stop, that recovery has to reach (read_backup_label and
// CheckRecoveryConsistency in src/backend/access/transam/xlogrecovery.c). Errors: timeout (which segment),
// conflict, damaged, foreign.
Result<WalOutcome> require_wal(const ChosenLineage& lineage, const WalRequest& request, Reporter& reporter,
                               StopToken& stop);

}  // namespace lifeboat::ops
