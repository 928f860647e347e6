// Is there room? Counted per file system, before anything is written.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/restore/plan.h"
#include "util/result.h"

namespace lifeboat::ops {

// What each file system must take: the trees, and `wal_bytes` beside the data directory for segments that
// recovery fetches. What is kept aside stays where it is and needs nothing more. An own aborted restore that
// will be cleared counts as free. Errors: those of statvfs.
Result<std::vector<SpaceNeed>> measure_space(const std::vector<Placement>& placements, uint64_t wal_bytes);

// `space` when one of them is short, naming the file system, what is needed and what is free.
Status check_space(const std::vector<SpaceNeed>& needs);

}  // namespace lifeboat::ops
