// A copy that has some tables, or one database, as of its target, and what else comes cheap (left_out.h).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/scratch/left_out.h"
#include "ops/scratch/scratch.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct CopyForTables {
  RestoreSource source;  // outlives the copy
  std::unique_ptr<Scratch> copy;
};

// What is used of a copy that is open: the tables that were wanted, as they are called there. With none, for
// a whole database, everything in it. Errors: not_found and usage end it, because the copy's
// catalogues have everything.
using TablesInUse = std::function<Result<std::vector<TableName>>(Scratch& copy)>;

// Recovers without what `wanted` does not need; where that lacks something that is used, or fails, once more
// with all WAL. Errors: not_found (the database, before the recovery where that is certain), those of
// planning a restore, of Scratch, of `in_use`.
Result<CopyForTables> copy_for_tables(const ScratchOptions& options, const WantedTables& wanted,
                                      const TablesInUse& in_use, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
