// The tail of a segment: what a receiver has stored of it while it was being filled (repo/wal_tail.h). How it
// is put together, and when it may be used.
//
// A tail ends where nobody knows whether WAL goes on, so it ends a recovery. It may do so only at the end of
// everything: when a later segment is stored, or a timeline that branched off past it, recovery would end
// early (T45). A tail that fills its segment is that segment.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/wal_name.h"
#include "ops/session.h"
#include "repo/wal_tail.h"
#include "util/result.h"

namespace lifeboat::ops {

struct SegmentTail {
  SegmentName segment;
  uint32_t size = 0;  // from the segment's begin on, without a hole
};

// The tails of a timeline that have a beginning, ascending. Listing only.
Result<std::vector<SegmentTail>> list_tails(const ChosenLineage& lineage, Timeline timeline);

// The tail's bytes, put together and compared where pieces overlap. Where its segment was stored whole
// meanwhile, that. Holds as much as a segment. Errors: not_found (there is neither), conflict (pieces differ:
// T46), damaged, those of reading.
Result<Bytes> read_tail(const ChosenLineage& lineage, const SegmentName& segment);

// May whoever asks for this segment be given its tail? True when nothing is stored that leads on from the
// segment: no whole segment of its timeline from it on, and no timeline that branched off after its begin, or
// that may have. Who knows where the recovery is to end knows better (ops/wal/reach.h).
Result<bool> tail_ends_archive(const ChosenLineage& lineage, const SegmentName& segment);

}  // namespace lifeboat::ops
