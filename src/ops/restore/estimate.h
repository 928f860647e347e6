// How long a restore will take, from rates that were measured and from nothing else (R2).
#pragma once

#include <cstdint>
#include <optional>

#include "ops/restore/plan.h"
#include "repo/manifest.h"
#include "repo/tree.h"
#include "util/stop.h"

namespace lifeboat::ops {

// What it takes to recover from less WAL than this is the cost of any recovery, and tells no rate.
inline constexpr uint64_t kLeastReplayed = 64 << 20;

// From the newest drill of this lineage that recorded its phases; else the time it takes to fetch and decode
// a few frames now, which is said to be no more than that; never from a constant.
Result<TimeEstimate> estimate_time(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                                   const repo::NodeRef& pgdata, uint64_t bytes, uint64_t wal_bytes, int jobs,
                                   const StopToken& stop);

}  // namespace lifeboat::ops
