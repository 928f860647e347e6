// `lifeboat drill`: a rehearsed, timed restore. A backup without one is not a backup.
//
// Restores into a directory of its own, or mounts the backup there, recovers, checks, measures RTO by phase
// and RPO, stores the evidence, and takes everything away again. Isolation is absolute (T10, T11, T32, T33,
// T43, T44; drill/isolate.h): nothing that the copy does reaches production, its archive or its files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/drill/checks.h"
#include "ops/drill/loss.h"
#include "ops/scratch/scratch.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct DrillOptions {
  ScratchOptions scratch;            // which backup, to which moment, where and how
  bool random_target = false;        // a moment between the backup and the last commit, instead of that
  std::optional<int> rotation_days;  // DrillScope; unset: everything of what is small or a copy, else a week
  std::vector<std::string>
      assertions;  // the operator's SQL: each must return one row whose first column is true
  std::string assertion_database = "postgres";
  std::vector<DrillProgram> programs;  // the operator's own checks
  int64_t program_timeout_ms = 0;      // of each; 0: no limit
  std::optional<double> rto_seconds;   // targets; without them the verdict is from the checks alone
  std::optional<double> rpo_seconds;
  // Where the lost server's last commit can be learnt, for the RPO. Both may be empty: then it is not
  // measured.
  std::optional<std::string> source_pgdata;
  std::optional<std::string> source_conninfo;
  std::string tool_version;
};

struct DrillOutcome {
  bool proven = false;   // every check of the recovered server passed
  bool passed = false;   // and the targets were met
  std::string evidence;  // id of the record
  RestorePlan plan;
  RestorePhases phases;
  ScratchMedium medium = ScratchMedium::copy;  // that it was
  double mount_seconds = 0;
  uint64_t fetched_bytes = 0;      // from the repository, of a mount, plain
  double first_query_seconds = 0;  // from the end of the recovery to the first answer
  double checks_seconds = 0;
  double rto_seconds = 0;  // from the command to the first answer of the recovered server
  MeasuredLoss loss;       // RPO
  std::optional<BeaconAge> beacon;
  std::optional<RecoveryResult> recovery;
  std::vector<DrillCheck> checks;
  std::vector<RowCount> counts;
  std::string kept_directory;  // with AfterDrill::keep
  std::vector<std::string> notes;
};

// Errors are those of restoring; a failed check or a missed target is an outcome that has not passed.
// Evidence is written for both verdicts, for a restore that failed, and where the repository lacks what it
// takes; not for what this host lacks (host_fault.h).
//
// An `assertion_database` that does not exist is not_found and leaves no evidence, before the recovery where
// that is certain: a slip of whoever typed it must not make a good backup look bad. Was it there when the
// backup was made, and is it gone at the target, then that is a failed check.
Result<DrillOutcome> run_drill(const DrillOptions& options, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
