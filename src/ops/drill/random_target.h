// The moment that a drill with a random target recovers to.
#pragma once

#include <string>

#include "ops/restore/restore.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Sets restore.target to a moment between the end of a backup and the last commit that is stored behind it,
// on one timeline, which is set too. The backup is restore.backup, else the newest. Where nothing was
// committed since that one, and a drill of it has passed already, it is one of the newest older ones with
// commits behind it and nothing known against it, which restore.backup then names. Otherwise the target stays
// `latest`. Returns what the operator must know of it; empty: nothing. Lists, and reads the end of WAL only.
// Errors: those of choose_backup() for the first of these backups, cancelled.
Result<std::string> choose_random_target(const RestoreSource& source, RestoreOptions& restore,
                                         Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
