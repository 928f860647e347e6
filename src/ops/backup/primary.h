// The primary of a standby that is backed up, for the one thing that only it can do: end a WAL segment (T03).
#pragma once

#include <string>

#include "model/names.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Is it the primary of this lineage, and may the role switch WAL there? Asked before anything is copied.
// Errors: foreign (another cluster), precondition (it is a standby too), permission, those of PgClient.
Status check_primary(const std::string& conninfo, const Lineage& lineage, const StopToken& stop);

// Ends the segment that is being written, so that it is archived now. The same errors.
Status switch_wal_on_primary(const std::string& conninfo, const Lineage& lineage, const StopToken& stop);

}  // namespace lifeboat::ops
