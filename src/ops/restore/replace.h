// Puts a finished restore into the place of what was there, which is kept (R3). Renames only, in an order in
// which PostgreSQL can start on neither until everything is in place:
//
//   1. the old data directory is moved aside (of a mount point: its entries, `global` first)
//   2. each tablespace location exchanges its version directory; the old directory's links follow what is
//   kept
//   3. the new data directory gets its name (of a mount point: its entries, `global` last)
//
// So both the new and the kept directory are whole clusters afterwards, and going back is the same renames
// backwards.
#pragma once

#include <string>
#include <vector>

#include "ops/restore/plan.h"
#include "util/result.h"

namespace lifeboat::ops {

// Returns where what was replaced is now. An error's hint says exactly how to go back from where it stopped.
Result<std::vector<std::string>> put_in_place(const std::vector<Placement>& placements);

}  // namespace lifeboat::ops
