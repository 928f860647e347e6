// What can be said of the server that gets tables, or a database, before anything is recovered for it.
#pragma once

#include <string>
#include <vector>

#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Errors: conflict (the schema, or with an empty `schema` the database, is there already), not_found (the
// database that gets the schema), permission (the role may not make it).
Status check_bring_destination(const std::string& destination, const std::string& database,
                               const std::string& schema, const StopToken& stop);
// Of a merge: the originals. Errors: not_found (one is not there), usage (a view), precondition (no primary
// key), permission (the role may not read it or insert into it).
Status check_merge_destination(const std::string& destination, const std::string& database,
                               const std::vector<std::string>& tables, const StopToken& stop);

}  // namespace lifeboat::ops
