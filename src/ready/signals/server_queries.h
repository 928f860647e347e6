// What signals ask the server, with queries that are cheap and bounded: statement_timeout and lock_timeout
// are set, no table is scanned, and pg_monitor is enough (for bloat also the right to see statistics, which
// pg_read_all_data gives from 14 on). They run on PostgreSQL 13 to 18, on primaries and standbys.
//
// An answer that was refused or late is absent and says why; only a connection that cannot be had leaves all
// of them absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/timestamp.h"
#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ready {

// A value, or why there is none.
template <typename T>
struct Asked {
  std::optional<T> value;
  std::string why = "was not asked";
  Asked() = default;
  explicit Asked(Result<T> result) {
    if (result) {
      value = std::move(*result);
      why.clear();
    } else {
      why = result.error().to_string();
    }
  }
  explicit operator bool() const { return value.has_value(); }
  const T* operator->() const { return &*value; }
  const T& operator*() const { return *value; }
};

struct ConnectionUse {
  int64_t used = 0;      // client connections
  int64_t limit = 0;     // for roles that are no superusers
  int64_t reserved = 0;  // superuser_reserved_connections and reserved_connections (16 and later)
};

struct DatabaseAge {
  std::string name;
  int64_t xid_age = 0;
  int64_t multixact_age = 0;
};
struct Ages {
  std::vector<DatabaseAge> databases;
  int64_t freeze_max_age = 0;            // autovacuum_freeze_max_age
  int64_t multixact_freeze_max_age = 0;  // autovacuum_multixact_freeze_max_age
};

// A row of pg_stat_replication, without those of base backups.
struct Streaming {
  std::string name;  // application_name and address
  std::string state;
  std::optional<double> seconds;  // replay_lag; unset: everything was replayed, or it replays nothing
  uint64_t bytes = 0;  // from what was written to what was replayed, or flushed where nothing is replayed
};
// A physical slot without a connection.
struct IdleSlot {
  std::string name;
  uint64_t bytes = 0;  // from its restart_lsn on
  bool lost = false;
};
struct PrimaryReplication {
  std::vector<Streaming> streaming;
  std::vector<IdleSlot> idle_slots;
  std::string synchronous_standby_names;
};
struct StandbyReplication {
  bool receiving = false;         // its WAL receiver streams
  std::optional<double> seconds;  // since the last replayed commit; 0 when all that was received is replayed
  uint64_t bytes = 0;             // received and not replayed
};

// WAL that waits for the archiver, by pg_ls_archive_statusdir().
struct WaitingWal {
  int64_t files = 0;
  std::optional<double> oldest_seconds;
};

struct BloatedRelation {
  std::string database;
  std::string name;  // schema.relation
  uint64_t bytes = 0;
  uint64_t wasted = 0;  // estimate
};
struct Bloat {
  std::vector<BloatedRelation> tables;   // that were looked at, most wasted first
  std::vector<BloatedRelation> indexes;  // B-trees
  int64_t hidden = 0;              // relations whose statistics this role may not see, or that have none
  std::vector<std::string> notes;  // databases that could not be looked at, and why
};

// By pg_stat_database, since its statistics began.
struct ChecksumFailures {
  std::string database;  // empty: shared objects
  int64_t failures = 0;
  Timestamp last;  // unset: not known
};

// "2 checksum failures since the statistics began: database shop, last at …"
std::string describe(const std::vector<ChecksumFailures>& failures);

struct ServerReadings {
  Asked<ConnectionUse> connections;
  Asked<Ages> ages;
  Asked<PrimaryReplication> primary;
  Asked<StandbyReplication> standby;
  Asked<WaitingWal> waiting;
  Asked<Bloat> bloat;
  Asked<std::vector<ChecksumFailures>> checksums;  // databases that had some
};

struct ServerQuestions {
  std::string conninfo;
  bool bloat = true;
  int64_t connect_timeout_ms = 5'000;
  int64_t statement_timeout_ms = 5'000;
  int64_t lock_timeout_ms = 1'000;
  const StopToken* stop = nullptr;
};

// Errors: cancelled. A server that is not reached is said in every answer.
Result<ServerReadings> ask_server(const ServerQuestions& questions);

}  // namespace lifeboat::ready
