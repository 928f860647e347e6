// `lifeboat mark NAME`: a named restore point on the running server (pg_create_restore_point).
//
// PostgreSQL ends a recovery to a name at the first point of that name that it meets, so a name is worth
// something as long as it is used once between two backups.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "ops/follow_up.h"
#include "ops/session.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

inline constexpr size_t kLongestMark = 63;  // MAXFNAMELEN - 1 of src/include/access/xlog_internal.h

// `usage`: empty, longer than the server keeps, or with control characters, which no option of restore could
// name.
Status check_mark_name(std::string_view name);

struct MarkRequest {
  RepoLocation where;
  std::string conninfo;
  std::string name;
};

struct Mark {
  std::string name;
  Lsn lsn;         // just past its record
  Timestamp time;  // by the server's clock
  Timeline timeline;
  std::vector<TablespaceAt> tablespaces;  // of the server
};

// Errors: usage (the name), precondition (a standby), permission (with the grant), foreign (not this
// cluster's server), those of the repository and of PgClient.
Result<Mark> make_mark(const MarkRequest& request, const StopToken& stop);

}  // namespace lifeboat::ops
