// A database that somebody named, looked for before a copy is recovered for its sake and on the copy itself.
//
// A backup's manifest lists the databases that there were. One that is not among them may have been made, or
// got its name, since: pg_database of the backup and the WAL up to the target tell. Reading that WAL is what
// a recovery would do too, and it is done only for a name that the backup does not have.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ops/restore/restore.h"
#include "pg/server/launcher.h"
#include "repo/manifest.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class DatabaseRecord : uint8_t {
  in_backup,  // it was there when the backup was made, and may have been dropped or renamed since
  unknown,    // it was not, and may have been made or renamed since
};

// Errors: not_found when there is none of that name at the target for certain, with those of the backup;
// cancelled. What cannot be told is `unknown`, with a note that says so.
Result<DatabaseRecord> look_for_database(const RestoreSource& source, const RestorePlan& plan,
                                         const std::string& name, Reporter& reporter, StopToken& stop);

// On the copy. Errors: not_found, with what there is; those of the server.
Status require_database(pg::PgServer& server, const std::string& name, std::string_view hint = "");

}  // namespace lifeboat::ops
