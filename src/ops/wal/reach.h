// Where will a recovery end? Answered from the stored WAL before anything is touched (T31).
//
// The rules are those of PostgreSQL's recoveryStopsBefore and recoveryStopsAfter
// (src/backend/access/transam/xlogrecovery.c; xlog.c up to 14): a time is compared with commit and abort
// records only, an inclusive one stops before the first that is later, an exclusive one before the first that
// is not earlier; a transaction id is that of a commit or abort record; a restore point counts when it is met
// first; an LSN is compared with where records begin. A target that is not met is fatal there, so it is
// `unreachable` here.
//
// Cost: names decide as much as they can. A transaction id and a restore point need all WAL from the backup
// on, until they are met. A time is bisected: the first timestamps of some segments are looked at and a few
// segments read. That assumes that commit times rise along the WAL, but for less than a segment (they are
// taken before their records are placed). A clock that was set back, or ahead for a while, breaks it. Where
// the timestamps that were looked at fall, everything is read instead; between them a fall goes unseen. So
// who acts on the answer reads the WAL up to it anyway (restore does, ops/restore/replayed_wal.h), and asks
// again with CommitTimes::any_order when recovery would stop earlier.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "ops/session.h"
#include "ops/wal/history.h"
#include "ops/wal/scan.h"
#include "pg/server/recovery_settings.h"
#include "repo/manifest.h"
#include "util/result.h"

namespace lifeboat::ops {

struct RecoveryTarget {
  pg::TargetKind kind = pg::TargetKind::latest;
  Timestamp time;
  Lsn lsn;
  uint64_t xid = 0;  // the lower 32 bits count, as in PostgreSQL
  std::string name;
  bool inclusive = true;  // of time, lsn and xid

  std::string to_string() const;  // "time 2026-11-20 10:56:25+00 (exclusive)"
  std::string value() const;      // as recovery_target_<kind> takes it; "" for latest and immediate
};

enum class TimelineChoice : uint8_t {
  unset,    // nobody chose: the newest, but a target that means different states on two branches is refused
  latest,   // the newest descendant of the backup, whatever the others say
  current,  // the backup's own
  number,
};

enum class CommitTimes : uint8_t {
  rising,     // assumed, see above
  any_order,  // nothing is assumed: all WAL from the backup to the target is read
};

enum class UnfinishedSegment : uint8_t {
  ignore,  // whole segments only, which is what restore_command brings
  // Also the .partial or the tail behind them, or `local`: Reach::partial says when it has to be put into
  // pg_wal.
  use,
};

struct ReachRequest {
  // What the backup says; the rest is for the caller.
  static ReachRequest from(const repo::Card& backup);

  Timeline backup_timeline;
  Lsn backup_start;  // redo position: replay begins here
  Lsn backup_stop;   // consistent from here on; a stop before it is refused
  // The server's clock at the stop. A target time before it is refused even when no transaction ended in
  // between, because commits from before the backup, which are in it, may be later than the target.
  Timestamp backup_stopped;
  RecoveryTarget target;
  TimelineChoice choice = TimelineChoice::unset;
  Timeline timeline;  // of TimelineChoice::number
  CommitTimes commit_times = CommitTimes::rising;
  UnfinishedSegment unfinished = UnfinishedSegment::ignore;
  std::optional<PartialSegment> local;  // the old data directory's, when it was not stored
};

struct Reach {
  Timeline timeline;  // for recovery_target_timeline, always as a number
  // False: its history file is not stored, and PostgreSQL would refuse the number: recovery_target_timeline
  // must be 'current', which is this timeline then.
  bool has_history_file = true;
  // For recovery_target_*: as asked, but `latest` becomes the LSN of the last record, so that recovery ends
  // where the preflight looked and not in WAL that arrives, or that another branch has, behind it (T45, T46).
  // So does a time past the last commit that stored WAL provably covers (`past_last_commit`), because
  // PostgreSQL refuses a time that no commit follows.
  RecoveryTarget effective;
  bool past_last_commit = false;

  Lsn stop;               // end of the last record that is replayed
  Timestamp last_commit;  // of the last commit that will be there; unknown: none was seen since the backup
  uint32_t last_xid = 0;  //
  Timestamp
      next_commit;  // of the transaction end that recovery stops before; unknown: it does not stop before one
  uint64_t wal_bytes = 0;                 // to be replayed, from backup_start to stop
  uint64_t segments = 0;                  // files that this takes
  WalPath path;                           // that recovery follows, to its end
  std::optional<PartialSegment> partial;  // must be in pg_wal for this to be reached
  std::vector<std::string> notes;  // for people: other branches, duplicates, a .partial and what became of it
};

// Errors: unreachable (what is missing, and in the hint the latest reachable position; also a timeline that
// is not there), conflict, damaged, the store's, cancelled.
Result<Reach> find_reach(const ChosenLineage& lineage, const WalHistory& history, const ReachRequest& request,
                         const ScanOptions& options = {});

// The recoverable window of one backup along one timeline.
struct RecoveryWindow {
  bool complete = false;               // the backup's own WAL, from start to stop, is stored
  Lsn end;                             // end of the last record
  Timestamp last_commit;               // time of the last commit on the path; unknown: none since the backup
  Timestamp last_time;                 // latest timestamp of any record (checkpoints and restore points too)
  std::optional<SegmentName> missing;  // the hole that ends it
};
// Its end is that of the tail behind the whole segments, where there is one that may be used. Reads backwards
// from the end until a timestamp is met, at most `look_back` segments and never past
// backup_stop.
Result<RecoveryWindow> recovery_window(const ChosenLineage& lineage, const WalHistory& history,
                                       Timeline backup_timeline, Lsn backup_start, Lsn backup_stop,
                                       Timeline target, uint64_t look_back = 64,
                                       const ScanOptions& options = {});

}  // namespace lifeboat::ops
