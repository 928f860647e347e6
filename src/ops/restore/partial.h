// Recovery through the unfinished last segment of a lost server.
//
// A server that dies leaves its newest transactions in a segment that nobody archived. When that segment is
// known, from the old data directory or stored as SEGMENT.partial, it is put into the new pg_wal under the
// segment's name: recovery asks restore_command first, is told that it is certainly absent, and then reads
// pg_wal (WaitForWALToBecomeAvailable in src/backend/access/transam/xlogrecovery.c). ops/wal/reach.h looks at
// whole segments only; this adds the rest.
#pragma once

#include <optional>
#include <string>

#include "ops/wal/history.h"
#include "ops/wal/reach.h"
#include "util/result.h"

namespace lifeboat::ops {

struct PartialSegment {
  SegmentName segment;
  std::string path;  // of the local file; empty: it is in the repository as SEGMENT.partial
};

struct PartialReach {
  Reach reach;
  std::optional<PartialSegment> used;  // must be put into pg_wal for the target to be reached
};

// As find_reach(), and goes on into the unfinished segment where the target is latest, or is not met before
// it. `local`: the old data directory's, when it was not stored. Errors: as find_reach().
Result<PartialReach> find_reach_through_partial(const ChosenLineage& lineage, const WalHistory& history,
                                                const ReachRequest& request,
                                                const std::optional<PartialSegment>& local,
                                                const ScanOptions& options = {});

// Writes the unfinished segment as a whole segment file at `path`, synced: its records, then zeros.
Status write_partial_segment(const ChosenLineage& lineage, const PartialSegment& partial,
                             const std::string& path, mode_t mode);

}  // namespace lifeboat::ops
