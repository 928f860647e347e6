// Recovery through the unfinished last segment of a lost server.
//
// A server that dies leaves its newest transactions in a segment that nobody archived. When that segment is
// known, from the old data directory or stored as SEGMENT.partial, it is put into the new pg_wal under the
// segment's name: recovery asks restore_command first, is told that it is certainly absent, and then reads
// pg_wal (WaitForWALToBecomeAvailable in src/backend/access/transam/xlogrecovery.c).
#pragma once

#include <sys/types.h>

#include <string>

#include "ops/session.h"
#include "ops/wal/history.h"
#include "util/result.h"

namespace lifeboat::ops {

// Writes the unfinished segment as a whole segment file at `path`, synced: its records up to the limit, then
// zeros.
Status write_partial_segment(const ChosenLineage& lineage, const PartialSegment& partial,
                             const std::string& path, mode_t mode);

}  // namespace lifeboat::ops
