// The moment that a drill with a random target recovers to.
#pragma once

#include <string>

#include "ops/restore/restore.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Sets restore.target to a moment of the window, each as likely as any other, and the timeline: from the end
// of the oldest backup against which nothing is known (of restore.backup, where that is given) to the last
// commit that is stored. A moment that cannot be reached is told and another one is drawn; where there is
// none, the target stays `latest`. Returns what the operator must know of it; empty: nothing. Errors: those
// of choose_backup() for the newest backup, cancelled.
Result<std::string> choose_random_target(const RestoreSource& source, RestoreOptions& restore,
                                         Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
