// globals.sql into a server that may have some of them already.
//
// What is there stays as it is: a role of that name keeps its password, attributes, settings and memberships,
// and is reported. Tablespaces are not made: their directories are the operator's to make. Everything happens
// in one transaction.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ops/dump/sql_text.h"
#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

// Pure: which statements are to be run, given what is there.
struct GlobalsPlan {
  std::vector<std::string> statements;
  std::vector<std::string> made;                 // roles
  std::vector<std::string> there;                // roles that stay as they are
  std::vector<std::string> missing_tablespaces;  // that the server lacks
};
GlobalsPlan plan_globals(const std::vector<SqlStatement>& statements, const std::set<std::string>& roles,
                         const std::set<std::string>& tablespaces);

Result<GlobalsPlan> plan_globals(pg::PgClient& client, std::string_view script);
// Errors: those of the server at the first statement that fails; nothing was changed then.
Status restore_globals(pg::PgClient& client, const GlobalsPlan& plan);

}  // namespace lifeboat::ops
