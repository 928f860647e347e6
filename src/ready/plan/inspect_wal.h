// What server and repository show of WAL, for a plan: how much is written a day, and how long a finished
// segment takes to be stored.
//
// What the role may not read is absent. A server that was promoted counts from then on: its statistics know
// nothing of the WAL that others wrote before.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "ops/session.h"
#include "pg/client/client.h"
#include "pg/client/facts.h"
#include "ready/plan/wal_rate.h"
#include "repo/manifest.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ready {

// Of a server that writes WAL, by its own clock.
struct ServerWal {
  SystemId system_id;
  Timeline timeline;
  Lsn lsn;  // up to which it had written at `time`
  Timestamp time;
  std::vector<WalEvidence> evidence;            // in the order of trust
  std::map<std::string, Timestamp> last_write;  // of the segments in pg_wal, by name
};
ServerWal read_server_wal(pg::PgClient& client, const pg::ServerFacts& facts);

// What was written since `begin`, at least some seconds: waits for them. Absent: the server does not answer
// any more. Errors: cancelled.
Result<std::optional<WalEvidence>> sample_wal(pg::PgClient& client, const ServerWal& begin,
                                              const StopToken* stop);

struct StoredWal {
  std::optional<WalEvidence> evidence;
  std::optional<double> stored_bytes_per_day;  // that WAL takes in the repository
  std::optional<double> archive_seconds;       // from a finished segment to its being stored
};
// Of the last days and of the newest timeline that is stored, by listing; `server` when it was asked. Errors:
// the repository's.
Result<StoredWal> read_stored_wal(const ops::ChosenLineage& lineage, const std::vector<repo::Card>& backups,
                                  const std::optional<ServerWal>& server, Timestamp now);

}  // namespace lifeboat::ready
