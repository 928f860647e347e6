// `lifeboat wal status`: to which moments could this cluster be recovered, and what is in the way?
//
// A window begins where a backup ends and goes as far as stored WAL leads on from it along one timeline.
// Later backups within it make recovery shorter and the window no longer. A hole or a conflict ends it;
// behind that, the next backup begins another one. Names decide nearly everything: of each window only the
// last segments are read, for the time of its last commit.
//
// Retention leaves holes on purpose: of a backup that is kept longer than the WAL around it, only its own WAL
// stays. Expiry keeps no record of what it removed, so it is told by its shape: the hole lies exactly between
// the WAL of two backups, and nothing older that expiry would have taken first is there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "model/wal_name.h"
#include "ops/session.h"
#include "ops/wal/history.h"
#include "repo/manifest.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct RecoverableWindow {
  Timeline timeline;   // whose history is followed, its ancestors' WAL included
  BackupId backup;     // the oldest in it
  size_t backups = 0;  // whose ends lie in it
  Timestamp from;      // the server's clock at that backup's stop
  Lsn from_lsn;
  Timestamp to;  // of the last commit; when no transaction ended since the backup, that backup's stop
  Lsn to_lsn;    // end of the last record
  std::optional<SegmentName> hole;      // that ends it: the first segment that is missing
  std::optional<SegmentName> conflict;  // that ends it
};

struct WalHole {
  SegmentName first;
  SegmentName last;
  uint64_t segments = 0;
  bool in_window = false;  // a window ends at it that could go on
  bool expired = false;    // has the shape of what retention leaves
  std::string cause;       // as far as it is known; for people
};

struct WalConflict {
  SegmentName segment;
  struct Content {
    std::string object;
    Timestamp stored;
  };
  std::vector<Content> contents;
  bool in_window = false;  // a window ends at it
};

struct TimelineStatus {
  Timeline timeline;
  std::optional<pg::TimelineSwitch> origin;  // the timeline that it left, and where
  bool has_history_file = true;              // or needs none
  std::string problem;                       // of its history; empty: none
  std::optional<SegmentName> oldest;         // whole segments
  std::optional<SegmentName> newest;
  uint64_t segments = 0;
  std::vector<RecoverableWindow> windows;  // by position
  std::vector<WalHole> holes;
  std::vector<WalConflict> conflicts;
  std::vector<SegmentName> partials;
};

// What was stored within a time up to now.
struct WalRate {
  uint64_t segments = 0;
  uint64_t wal_bytes = 0;     // of WAL
  uint64_t stored_bytes = 0;  // that this takes in the repository
};

struct LineageWalStatus {
  repo::LineageRecord record;
  std::vector<TimelineStatus> timelines;  // ascending
  Timestamp newest_stored;                // when the newest segment came, by the store's clock
  std::optional<SegmentName> newest_segment;
  uint64_t segments = 0;
  uint64_t stored_bytes = 0;
  size_t damaged_backups = 0;  // in which a check found damage: no window begins with one
  WalRate last_hour;
  WalRate last_day;
};

// How far the repository is behind the server, asked of it.
struct WalLag {
  bool in_recovery = false;
  Timeline timeline;
  Lsn current;                    // written, or replayed in recovery
  std::optional<Lsn> stored;      // its history is stored to here; unset: nothing of it is
  std::optional<uint64_t> bytes;  // between the two
  std::optional<uint64_t> ready;  // .ready files; unknown without the data directory
  Timestamp oldest_ready;
  uint64_t archived = 0;  // of pg_stat_archiver
  uint64_t failed = 0;
  std::string last_archived;
  Timestamp last_archived_time;
  std::string last_failed;
  Timestamp last_failed_time;
};

struct WalStatus {
  std::string cluster;
  Timestamp now;                           // by the store's clock
  std::vector<LineageWalStatus> lineages;  // oldest registration first
  std::optional<WalLag> lag;
  std::string lag_problem;  // why there is no lag although a server was named
  // Holes and conflicts inside windows, and histories that cannot be followed; one line each. Empty: sound.
  std::vector<std::string> problems() const;
};

struct WalStatusRequest {
  RepoLocation where;
  bool ask_server = false;
  std::string conninfo;
  std::optional<std::string> pgdata;  // for .ready files
};

// Errors: not_found (no such cluster), those of the repository, cancelled.
Result<WalStatus> wal_status(const WalStatusRequest& request, Reporter& reporter, const StopToken& stop);

// Moments between two backups that no recovery reaches, because of a hole or a conflict.
struct LostMoments {
  Timestamp after;       // the last commit before it that can be reached
  Timestamp until;       // when the next backup ended: from there on recovery goes again
  SegmentName first;     // in the way
  bool expired = false;  // has the shape of what retention leaves
};
// Along the timeline that reaches the latest moment, by time. Pure.
std::vector<LostMoments> lost_moments(const LineageWalStatus& lineage);

// The parts that need no server and only one lineage.
Result<LineageWalStatus> wal_status_of(const ChosenLineage& lineage, Timestamp now, Reporter& reporter,
                                       const StopToken& stop);

}  // namespace lifeboat::ops
