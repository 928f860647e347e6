// What the WAL between a backup and the end of its recovery does, read once before anything is touched.
//
//  - Settings that recovery requires to be at least what the primary had (T32). pg_control tells the values
//  at the
//    time of the backup; a primary that was restarted with higher ones afterwards says so in its WAL
//    (XLOG_PARAMETER_CHANGE), and recovery stops or pauses there when hot_standby is on and they are lower
//    here (CheckRequiredParameterValues in src/backend/access/transam/xlogrecovery.c).
//  - Tablespaces (T11). The manifest's are remapped, but CREATE TABLESPACE after the backup's start is in WAL
//  with its
//    original location: replay in a copy on the source's own host would link to it and write older pages into
//    live relations.
//  - Commit times (T31). How far recovery gets was found by bisection, which assumes that they rise; here all
//  of them
//    are seen.
//
// Recovery replays exactly these records: Reach::effective ends it at Reach::stop. An instant restore reads
// them while the server replays (replay_check.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ops/wal/reach.h"
#include "ops/wal/scan.h"
#include "pg/format/control_file.h"
#include "util/result.h"

namespace lifeboat::ops {

using RecoveryMinimums = std::map<std::string, int32_t, std::less<>>;  // max_connections and so on

RecoveryMinimums minimums_of(const pg::ControlFile& control);
// Raises each to what the other says.
void raise(RecoveryMinimums& minimums, const RecoveryMinimums& by);

struct ReplayedWal {
  RecoveryMinimums minimums;             // of parameter changes
  std::vector<std::string> tablespaces;  // locations of those that are created
  bool stops_earlier = false;            // a transaction end before reach.stop ends a recovery to this time
};

// Hears, where a further segment begins, what all records before it do. An error ends the reading.
using ReplayedSoFar = std::function<Status(Lsn read, const ReplayedWal& so_far)>;

// Reads the WAL from `from` to `to`; `each_segment` may be empty. Errors: unreachable when it is damaged
// before that, those of reading and of `each_segment`, cancelled.
Result<ReplayedWal> read_replayed_wal(const ChosenLineage& lineage, const RecoveryTarget& asked,
                                      const WalPath& path, Lsn from, Lsn to, const ScanOptions& options,
                                      const ReplayedSoFar& each_segment = {});

// `precondition` when a tablespace is created at a place that has content on this host.
Status refuse_live_tablespaces(const ReplayedWal& replayed);

}  // namespace lifeboat::ops
