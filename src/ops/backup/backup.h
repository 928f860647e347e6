// `lifeboat backup`: a physical backup of a running server into the repository.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/names.h"
#include "ops/backup/source.h"
#include "ops/session.h"
#include "ops/wal/changes.h"
#include "pg/client/backup_session.h"
#include "repo/manifest.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct BackupOptions {
  RepoLocation location;
  SourceOptions source;
  std::string primary;             // connection string of a standby's primary, for the WAL switch; "": none
  std::optional<BackupType> type;  // none: incremental whenever there is something to stand on
  bool prove = false;              // read everything, and fail on a change that the map missed
  pg::CheckpointMode checkpoint = pg::CheckpointMode::fast;
  std::string label = "lifeboat backup";
  int jobs = 1;
  uint64_t bytes_per_second = 0;  // 0: no limit
  int64_t wal_timeout_us = 120'000'000;
  std::string tool_version;  // recorded in the card
};

struct BackupOutcome {
  repo::Card card;
  uint64_t wal_segments = 0;
  uint64_t wal_stored_by_us = 0;
  std::vector<repo::BrokenPage> broken_pages;  // the card's state is `damaged` when there are any
  // Of an incremental backup; card.reason says why everything was read, if it was.
  WalChanges changes;
  uint64_t proven_blocks = 0;  // looked at to prove the change map
  std::string read_from;       // the directory, or the server
  bool remote = false;         // through connections
  bool standby = false;
  std::vector<std::string> warnings;
};

// Backs up and commits. On any error nothing that could be mistaken for a backup is left: the attempt's card
// says aborted and why. Errors: busy (another backup runs), foreign, precondition, server, timeout (WAL did
// not arrive), …; broken pages are not an error here: the backup is kept and the outcome says so (the
// caller's exit code is backup_damaged).
Result<BackupOutcome> run_backup(const BackupOptions& options, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
