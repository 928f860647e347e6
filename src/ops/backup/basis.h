// What a backup takes over: from its reference by the change map since then, from attempts that were never
// finished, and why everything is read where no map can decide.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ops/backup/carry.h"
#include "ops/backup/incremental.h"
#include "ops/backup/reference.h"
#include "ops/backup/resume.h"
#include "ops/wal/changes.h"
#include "pg/client/backup_session.h"
#include "pg/format/control_file.h"

namespace lifeboat::ops {

struct Basis {
  std::optional<repo::Manifest> reference;  // none: a full backup
  WalChanges changes;
  std::string why_all;  // why everything is read; empty: the change map decides
  std::vector<ResumedAttempt> attempts;
  bool trust_attempts = true;  // false: everything of them is read and compared too
  Carry carry;
  // Of the proof by sample:
  uint64_t proven_blocks = 0;
  std::optional<std::string> warning;

  bool mapped() const { return reference && why_all.empty(); }
};

// A reference may stop being one until the backup has begun; then nothing is taken over.
Result<Basis> find_basis(const ChosenLineage& lineage, const Reference& reference,
                         const std::vector<repo::Attempt>& attempts, pg::FileSource& files,
                         const pg::ControlFile& control, const pg::BackupStart& start, Reporter& reporter,
                         StopToken& stop);

// Who asks for an incremental backup does not want a full one unawares: `precondition`.
Status require_basis(const std::optional<BackupType>& asked, const Basis& basis);

// Calls `copy` with what may be taken over (null: nothing), and once more without any map when the sample
// finds a change that a map missed: such a one is never let through (T20).
Status copy_by_basis(Basis& basis, pg::FileSource& files, const pg::ControlFile& control, Lsn start,
                     const std::function<Status(Incremental*)>& copy, StopToken& stop);

// What the card says about it.
void record_basis(const std::optional<BackupType>& asked, const Basis& basis, repo::Card& card);

}  // namespace lifeboat::ops
