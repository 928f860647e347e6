// What `plan` is made from, beside the requirements: a file of facts, or the repository, the server, other
// tools and drills, and a calibration of this host where no drill has measured the cluster.
#pragma once

#include "app/invocation.h"
#include "ready/plan/facts.h"

namespace lifeboat::app {

// Files that `plan` reads are at most so large.
inline constexpr uint64_t kPlanFileLimit = 4 << 20;

// Errors: those of the file of facts, of the repository, cancelled. What cannot be had is said in the facts.
Result<ready::PlanFacts> gather_plan_facts(const Invocation& invocation);

}  // namespace lifeboat::app
