// The page checksums of what has its turn in a drill: tables, indexes of every access method, what is stored
// out of line, sequences. pg_checksums reads everything or one file; through a mount everything costs what a
// full restore does.
#pragma once

#include <set>
#include <string>

#include "ops/drill/checks.h"

namespace lifeboat::ops {

// Of the relations of the scope, as pg_relation_filepath() names their files.
using RelationFiles = std::set<std::string>;
Result<RelationFiles> relation_files(pg::PgServer& server, const DrillScope& scope, const StopToken& stop);

// In the data directory of a cleanly stopped copy. Skipped when the cluster has no checksums.
Result<DrillCheck> check_pages_of(const RelationFiles& files, const DrillScope& scope,
                                  const std::string& directory, Reporter& reporter, const StopToken& stop);

}  // namespace lifeboat::ops
