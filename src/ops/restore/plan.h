// The preflight of a restore: everything that can be known before anything is touched (R2, T31).
//
// Plain data: the dry run prints exactly this, the execution does exactly this. A restore that cannot succeed
// is an Error of plan_restore() and no plan.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/wal_name.h"
#include "ops/restore/options.h"
#include "ops/restore/replayed_wal.h"
#include "pg/format/control_file.h"
#include "pg/server/pg_bin.h"
#include "repo/manifest.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

// One directory tree that is written: the data directory or an external tablespace.
struct Placement {
  Oid tablespace = 0;        // 0: the data directory
  std::string name;          // of the tablespace
  std::string recorded;      // where it was on the source host
  std::string final_path;    // where it will be
  std::string staging_path;  // where it is written; the same unless something is replaced
  uint64_t bytes = 0;        // that are written, rounded up to 4 kB per file
  uint64_t files = 0;
  std::optional<uint64_t> room;  // delta: bytes by which it grows
  bool overwrites = false;       // delta: what is there is compared and becomes this
  // Of something that is replaced: where the old content goes. A tablespace keeps its location; only the
  // version directory below it is exchanged, so `kept_as` is a directory inside the location.
  std::string kept_as;
  bool moves_contents = false;  // a mount point: the contents are moved, the directory stays
};

// What one file system must take.
struct SpaceNeed {
  std::string path;  // a directory on it that exists
  uint64_t device = 0;
  uint64_t needed = 0;  // bytes of the copy and of WAL that recovery fetches
  uint64_t free = 0;
  std::vector<std::string> placements;  // final paths
};

struct TimeEstimate {
  std::optional<double> copy_seconds;
  std::optional<double> replay_seconds;
  std::string basis;  // where the rates come from: "drill of 2026-…", or why there is none
};

struct RestorePlan {
  std::string cluster;
  Lineage lineage;
  size_t other_lineages = 0;
  std::string repository;  // URL, for people
  repo::Card backup;
  std::vector<BackupId> others;  // that may lead to the target too, the best first
  RecoveryTarget asked;
  Reach reach;      // where recovery will end, and the target as the server is told it
  Lsn replay_from;  // redo position of the backup
  pg::TargetAction action = pg::TargetAction::pause;
  std::vector<Placement> placements;  // [0] is the data directory
  std::vector<SpaceNeed> space;
  TimeEstimate estimate;
  bool replace = false;
  bool delta = false;
  bool existing_data = false;       // replace: there is something to keep aside, or to overwrite
  std::vector<std::string> rescue;  // replace: WAL files of the old directory that will be stored first
  // Replace: the last checkpoint of the old directory, a primary's on the timeline that is restored, whose
  // own WAL, or what is stored of it, is as that server left it. Unset: that is not so, or nothing says so.
  Lsn own_wal_to;
  std::optional<Error> port_taken;  // replace: it could not be started, because another server has its socket
  RecoveryMinimums minimums;        // settings of the restored cluster are at least these (T32)
  std::optional<pg::PgBin> pg_bin;  // nullopt: not on this host (only allowed without start)
  std::string owner;                // of the files
  bool archive_off = false;
  uint64_t files = 0;
  uint64_t bytes = 0;                             // plain bytes of all files
  std::vector<std::string> in_place_tablespaces;  // "ts1 (16390)"
  std::vector<std::string> warnings;
  // Directories with what an aborted restore left; they are cleared first.
  std::vector<std::string> clears;
};

// pg_control of a backup, from its tree. Errors: damaged, not_found, those of the store.
Result<pg::ControlFile> read_backup_control(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                                            int major);

// `error`, with the backup in the hint that may lead to the target too when this one turns out to be damaged.
Error naming_others(Error error, const RestorePlan& plan);

// For people; ends with a newline.
std::string render_plan(const RestorePlan& plan);

}  // namespace lifeboat::ops
