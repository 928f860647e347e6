// What belongs to a database itself and not to what is in it: how it was made (encoding, locale and its
// provider, tablespace), owner, settings, of roles in it too, comment, labels, privileges. pg_restore could
// bring it back only under the old name.
#pragma once

#include <string>
#include <vector>

#include "ops/dump/sql_text.h"
#include "pg/server/pg_bin.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// The statements, in pg_dump's order, of database `name` of `conninfo`, which is connected to it. `snapshot`
// may be empty. Errors: as program_output().
Result<std::vector<SqlStatement>> dump_database_itself(const pg::PgBin& client, const std::string& conninfo,
                                                       const std::string& name, const std::string& snapshot,
                                                       const StopToken& stop);

// Needed before there is something in the database; the rest would act on who fills it.
bool comes_first(const SqlStatement& statement);
// Whom it makes the owner, gives or takes privileges or settings; empty: nobody.
std::string role_concerned(const SqlStatement& statement);
bool gives_owner(const SqlStatement& statement);

}  // namespace lifeboat::ops
