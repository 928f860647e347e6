// The moment that a drill with a random target recovers to.
#pragma once

#include <string>

#include "ops/restore/restore.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Sets restore.target to a moment between the end of a backup and the last commit that is stored. The backup
// is restore.backup, else the newest; where nothing was committed since, the newest older one with commits
// behind it, which restore.backup then names. Returns what the operator must know; empty: nothing. Where
// nothing was committed after any of them the target stays `latest`, and that is said. Errors: those of
// plan_restore() for the first of these backups.
Result<std::string> choose_random_target(const RestoreSource& source, RestoreOptions& restore,
                                         Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
