// Going on with attempts that never became backups: each is a source of blocks beside the reference.
//
// Its blocks are taken over where they are equal to what is read from the server. A change map since its
// start could vouch for them unread only if the attempt had recorded up to which LSN its pages reach, and
// which were broken.
#pragma once

#include <string>
#include <vector>

#include "ops/wal/changes.h"
#include "pg/client/backup_session.h"
#include "pg/format/control_file.h"
#include "repo/attempt.h"

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
// of pages. None has a change map yet (docs/decisions/0010): their blocks are compared with what is read.
Result<std::vector<ResumedAttempt>> resume_attempts(const ChosenLineage& lineage,
                                                    const std::vector<repo::Attempt>& attempts,
                                                    const pg::ControlFile& control,
                                                    const pg::BackupStart& start);

}  // namespace lifeboat::ops
