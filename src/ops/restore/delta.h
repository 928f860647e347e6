// restore --delta: a data directory that is there is brought back by block (tree_writer.h, existing_file.h).
//
// What is there is the only copy of what it holds and the restore overwrites it, so the order is:
//
//   1. its un-archived WAL is in the repository (rescue.h), else nothing is touched
//   2. the marker says what is going on, then global/pg_control loses its name: PostgreSQL cannot start from
//      here on, whatever happens (T35)
//   3. files are compared, cut and overwritten; nothing else is removed, unless it stands where the backup
//   has
//      something of another kind
//   4. what the backup does not have is removed
//   5. the rest as in every restore, pg_control's name last
//
// Killed anywhere, the same command goes on: what is right already is not fetched again. Rejected: writing
// beside and renaming (needs the room of a second copy, which is what --replace does), and trusting size and
// time of a file (a torn or a flipped page has both).
#pragma once

#include <set>
#include <string>
#include <vector>

#include "ops/restore/layout.h"
#include "ops/restore/marker.h"
#include "ops/restore/plan.h"
#include "ops/restore/rescue.h"
#include "util/files.h"

namespace lifeboat::ops {

// How pg_control of the old directory is called until it is removed.
inline constexpr std::string_view kControlFileBefore = "global/pg_control.lifeboat_before";

// `precondition` unless everything that the rescue found is in the repository now, because the directory
// does not keep it.
Status check_all_rescued(const ChosenLineage& lineage, const RescuePlan& plan,
                         const std::vector<std::string>& stored, const StopToken& stop);

// Whether the repository has the unfinished segments among them.
bool is_stored_partial(const ChosenLineage& lineage, const std::vector<RescueFile>& files);

// Sets Placement::room of what is overwritten to what it grows by.
Status measure_growth(const repo::LineageRepo& repo, const repo::NodeRef& pgdata,
                      std::vector<Placement>& placements, const StopToken& stop);

// Holds off other restores for as long as it lives. `busy` when one is at work.
Result<Fd> lock_directory(const std::string& directory);

// Step 2, behind the marker. Errors: precondition (a server runs; pg_control has its name again).
Status make_unstartable(const std::string& data_directory);

// Where symbolic links at the top of a directory lead, when to a directory.
Result<std::vector<std::string>> linked_directories(const std::string& directory);

// Step 4. Returns how many files, links and whole directories went: whatever the tree does not have, below
// the data directory and below the version directory of each tablespace. `configured` are paths that the tree
// has and that are written anew afterwards: those go too. Links are removed, not followed, but for
// tablespaces and linked directories that the tree has.
Result<uint64_t> remove_others(const repo::LineageRepo& repo, const repo::NodeRef& pgdata,
                               const std::vector<Placement>& placements,
                               const std::set<std::string>& configured, const StopToken& stop);

}  // namespace lifeboat::ops
