// Going on with attempts that never became backups: each is a source of blocks like the reference, with a
// change map of its own.
//
// What an attempt stored of a file is at least as new as its start. So a block that it stored, and that no
// record since its start names, is as it is on the server now, provided that it is not newer than the new
// start (an attempt may have read the primary, and a standby that lags behind it goes on with it) and was not
// broken: the footers of its packs say both. Nothing else of it is believed without being read. Where there
// is no map (WAL is missing, wal_level was minimal) the file is read, and equal blocks are not stored again.
#pragma once

#include <string>
#include <vector>

#include "ops/wal/changes.h"
#include "pg/client/backup_session.h"
#include "pg/format/control_file.h"
#include "repo/attempt.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct ResumedAttempt {
  repo::Attempt record;
  repo::AttemptFiles files;
  WalChanges changes;  // since its start
  bool mapped() const { return changes.unusable.empty(); }
};

// Attempts of this lineage since its newest backup that are not condemned, newest first, at most a few. To be
// called before the lease is asked for, which then refers to them.
Result<std::vector<repo::Attempt>> find_attempts(const repo::LineageRepo& repo);

// What of them is of use to a backup that starts at `start`: on its timeline, before it, with the same kind
// of pages. `history`: of the server; an error when it is not known, which leaves all of them without a map.
Result<std::vector<ResumedAttempt>> resume_attempts(const ChosenLineage& lineage,
                                                    const std::vector<repo::Attempt>& attempts,
                                                    const Result<pg::TimelineHistory>& history,
                                                    ServerWal& wal, const pg::ControlFile& control,
                                                    const pg::BackupStart& start, Reporter& reporter,
                                                    StopToken& stop);

}  // namespace lifeboat::ops
