// Roles that what is brought names and that the server which gets it lacks, or may not give things to.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

struct RolesConcerned {
  std::set<std::string> missing;          // among all of them
  std::set<std::string> objects_missing;  // among owners and grantees of what is in the database
  // Owners that the role which brings things is no member of, so that it cannot make them theirs.
  std::set<std::string> not_ours;
  bool objects_not_ours = false;
};

// `schema`: only its tables are brought; empty: the database that `source` is connected to. Errors: those of
// the servers.
Result<RolesConcerned> look_at_roles(pg::PgClient& source, pg::PgClient& destination,
                                     const std::string& schema);

// What cannot be made without roles that are missing, beside owners and privileges.
struct NeedsRole {
  std::string entry;  // as pg_restore --list has it: "3256 16405", catalogue and row
  std::string name;   // "policy own_rows of public.orders"
};
Result<std::vector<NeedsRole>> what_needs_roles(pg::PgClient& source, const std::set<std::string>& missing);

}  // namespace lifeboat::ops
