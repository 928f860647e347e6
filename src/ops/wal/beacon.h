// Messages that lifeboat writes into WAL through the server: beacons and the marker of `wal check`.
//
// Both are transactional logical messages with the prefix `lifeboat` (pg_logical_emit_message): no table, no
// extension, no decoding slot, any wal_level from replica on, and recovery ignores them. A beacon says when
// it was written, so the newest one that a recovery brought back says how old the state is that was reached:
// what RPO means. The daemon writes one on schedule.
//
// Content, text of fields: "beacon 1 <microseconds since 1970 UTC> <cluster>", "check 1 <random hex>".
// Readers pass over what they do not know.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "ops/session.h"
#include "ops/wal/history.h"
#include "ops/wal/scan.h"
#include "pg/client/client.h"
#include "util/clock.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

inline constexpr std::string_view kMessagePrefix = "lifeboat";

// Writes one message in a transaction of its own and returns the position just past its record. The commit
// waits as the role's synchronous_commit says. Errors: those of PgClient (a standby cannot write: server).
Result<Lsn> write_message(pg::PgClient& client, const std::string& content);

struct Beacon {
  Timestamp time;
  std::string cluster;
  bool operator==(const Beacon&) const = default;
};
std::string encode_beacon(const Beacon& beacon);
// nullopt: no beacon, or one of a later form.
std::optional<Beacon> decode_beacon(std::string_view content);

// A beacon with the server's own time.
Result<Lsn> write_beacon(pg::PgClient& client, const std::string& cluster);

struct BeaconRequest {
  RepoLocation where;
  std::string conninfo;
  int64_t every_us = 0;  // 0: one, and that is all
};
struct BeaconOutcome {
  uint64_t written = 0;
  Lsn last;  // just past the newest
};
// Writes one, or one every so often until it is stopped. While the server is in recovery, a row of them waits
// for its promotion; a single one is `precondition`. Errors: foreign (not this cluster's server), those of
// the repository and of PgClient: a lost connection ends it.
Result<BeaconOutcome> write_beacons(const BeaconRequest& request, Clock& clock, const StopToken& stop);

struct FoundBeacon {
  Beacon beacon;
  uint32_t xid = 0;
  Lsn commit;  // where the record of its commit begins
};
// The newest one of `cluster` whose commit begins at or after `from` and before `to` (0: no bound) on a path.
// Its WAL is read from `from` on. Errors: those of scan_wal.
Result<std::optional<FoundBeacon>> newest_beacon(const ChosenLineage& lineage, const WalPath& path, Lsn from,
                                                 Lsn to, const std::string& cluster,
                                                 const ScanOptions& options = {});

// The same, looked for from the end: the last kLastBeaconWal bytes before `to` and no more are read.
inline constexpr uint64_t kLastBeaconWal = 1ull << 30;
Result<std::optional<FoundBeacon>> last_beacon(const ChosenLineage& lineage, const WalPath& path, Lsn from,
                                               Lsn to, const std::string& cluster,
                                               const ScanOptions& options = {});

}  // namespace lifeboat::ops
