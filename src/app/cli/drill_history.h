// drill --history: what the drills of the past found.
#pragma once

#include "app/invocation.h"

namespace lifeboat::app {

// `rto`, `rpo`: targets in seconds.
Result<int> show_drill_history(const Invocation& invocation, std::optional<double> rto,
                               std::optional<double> rpo);

}  // namespace lifeboat::app
