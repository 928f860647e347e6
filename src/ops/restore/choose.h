// Which backup reaches the target: the newest that ends before it on the target's history and in which no
// check found damage, unless one was asked for. Where all that reach it are in doubt, one that restores all
// the same goes before one whose bytes are damaged.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/restore/options.h"
#include "ops/restore/replayed_wal.h"
#include "repo/manifest.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct ChosenBackup {
  repo::Card card;
  Reach reach;
  ReplayedWal replayed;               // what was read of the WAL up to there
  std::vector<std::string> warnings;  // why another one was passed over, what is known against this one
  // That end before the target too, and against which nothing is known that would stop a restore: sound ones
  // first, newest first. Whether their WAL leads there is not known.
  std::vector<BackupId> others;
};

// `local`: the unfinished segment of the old data directory, when it was not stored. Errors: not_found (no
// such backup, or none at all), unreachable (none leads to the target; says what the newest one lacks), those
// of find_reach() and read_replayed_wal().
Result<ChosenBackup> choose_backup(const ChosenLineage& lineage, const RestoreOptions& options,
                                   const std::optional<PartialSegment>& local, Reporter& reporter,
                                   const StopToken& stop);

}  // namespace lifeboat::ops
