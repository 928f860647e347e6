#include "ready/signals/server_queries.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using pg::PgClient;
using pg::Rows;

constexpr int kMostDatabases = 50;
// Relations below this are not looked at: what they waste does not matter.
constexpr int64_t kSmallestBloatedBytes = 16 << 20;
constexpr int kMostRelations = 200;

int64_t number(const Rows& rows, int row, int column) {
  return rows.i64(row, column).value_or(0);
}
std::optional<double> real(const Rows& rows, int row, int column) {
  // Asked for in whole microseconds, so that no locale or format matters.
  auto us = rows.i64(row, column);
  return us ? std::optional(static_cast<double>(*us) / 1e6) : std::nullopt;
}
uint64_t not_negative(const Rows& rows, int row, int column) {
  return static_cast<uint64_t>(std::max<int64_t>(0, number(rows, row, column)));
}

// backend_type is hidden from roles without pg_read_all_stats; the sum over databases is not.
Result<ConnectionUse> ask_connections(PgClient& client) {
  TRY_ASSIGN(
      Rows rows,
      client.query(
          "SELECT CASE WHEN pg_has_role('pg_read_all_stats', 'usage')"
          " THEN (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
          " ELSE (SELECT sum(numbackends)::bigint FROM pg_stat_database) END,"
          " current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,"
          " coalesce(current_setting('reserved_connections', true)::int, 0)"));
  ConnectionUse use;
  use.used = number(rows, 0, 0);
  use.reserved = number(rows, 0, 2) + number(rows, 0, 3);
  use.limit = number(rows, 0, 1) - use.reserved;
  return use;
}

Result<Ages> ask_ages(PgClient& client) {
  TRY_ASSIGN(Rows rows,
             client.query("SELECT datname, age(datfrozenxid)::bigint, mxid_age(datminmxid)::bigint,"
                          " current_setting('autovacuum_freeze_max_age')::bigint,"
                          " current_setting('autovacuum_multixact_freeze_max_age')::bigint"
                          " FROM pg_database ORDER BY 2 DESC, 1"));
  Ages ages;
  for (int row = 0; row < rows.size(); ++row) {
    ages.databases.push_back({std::string(rows.text(row, 0)), number(rows, row, 1), number(rows, row, 2)});
    ages.freeze_max_age = number(rows, row, 3);
    ages.multixact_freeze_max_age = number(rows, row, 4);
  }
  return ages;
}

// A receiver of WAL (pg_receivewal, wal receive) replays nothing; what it flushed counts. replay_lag is that
// of the last answer, so a standby whose replay stands still is told by its bytes, and a receiver that says
// nothing any more by the time of its last word.
Result<PrimaryReplication> ask_primary(PgClient& client) {
  PrimaryReplication found;
  TRY_ASSIGN(
      Rows senders,
      client.query(
          "SELECT application_name, coalesce(host(client_addr), 'local'), state,"
          " (extract(epoch FROM coalesce(replay_lag, CASE WHEN replay_lsn IS NULL THEN greatest(flush_lag,"
          " CASE WHEN flush_lsn < pg_current_wal_lsn() THEN now() - reply_time END) END))"
          " * 1000000)::bigint,"
          " pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(replay_lsn, flush_lsn, sent_lsn))::bigint,"
          " state IS NULL"
          " FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY 1, 2"));
  for (int row = 0; row < senders.size(); ++row) {
    if (senders.truth(row, 5))
      return make_error(ErrorKind::permission, "pg_stat_replication", "shows nothing to this role")
          .with_hint("grant pg_monitor to it");
    found.streaming.push_back({cat(senders.text(row, 0), " at ", senders.text(row, 1)),
                               std::string(senders.text(row, 2)), real(senders, row, 3),
                               not_negative(senders, row, 4)});
  }
  TRY_ASSIGN(Rows slots,
             client.query("SELECT slot_name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint,"
                          " wal_status = 'lost' FROM pg_replication_slots"
                          " WHERE slot_type = 'physical' AND NOT active AND NOT temporary"
                          " AND (restart_lsn IS NOT NULL OR wal_status = 'lost') ORDER BY 1"));
  for (int row = 0; row < slots.size(); ++row)
    found.idle_slots.push_back(
        {std::string(slots.text(row, 0)), not_negative(slots, row, 1), slots.truth(row, 2)});
  TRY_ASSIGN(auto names, client.value("SELECT current_setting('synchronous_standby_names')"));
  found.synchronous_standby_names = names.value_or("");
  return found;
}

// While everything that was received is replayed a standby is as near as its primary has told it; else it is
// behind since the commit that it replayed last.
Result<StandbyReplication> ask_standby(PgClient& client) {
  TRY_ASSIGN(Rows rows,
             client.query(
                 "SELECT coalesce((SELECT status = 'streaming' FROM pg_stat_wal_receiver), false),"
                 " CASE WHEN (SELECT status = 'streaming' FROM pg_stat_wal_receiver)"
                 " AND pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN 0"
                 " ELSE (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())"
                 " * 1000000)::bigint END,"
                 " coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint,"
                 " EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status IS NULL)"));
  if (rows.truth(0, 3))
    return make_error(ErrorKind::permission, "pg_stat_wal_receiver", "shows nothing to this role")
        .with_hint("grant pg_monitor to it");
  StandbyReplication found;
  found.receiving = rows.truth(0, 0);
  found.seconds = real(rows, 0, 1);
  if (found.seconds) found.seconds = std::max(*found.seconds, 0.0);
  found.bytes = not_negative(rows, 0, 2);
  return found;
}

Result<WaitingWal> ask_waiting(PgClient& client) {
  TRY_ASSIGN(Rows rows,
             client.query("SELECT count(*), (extract(epoch FROM clock_timestamp() - min(modification))"
                          " * 1000000)::bigint"
                          " FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"));
  WaitingWal waiting;
  waiting.files = number(rows, 0, 0);
  waiting.oldest_seconds = real(rows, 0, 1);
  return waiting;
}

Result<std::vector<ChecksumFailures>> ask_checksums(PgClient& client) {
  TRY_ASSIGN(Rows rows, client.query("SELECT coalesce(datname, ''), checksum_failures,"
                                     " (extract(epoch FROM checksum_last_failure) * 1000000)::bigint"
                                     " FROM pg_stat_database WHERE checksum_failures > 0 ORDER BY 1"));
  std::vector<ChecksumFailures> failures;
  for (int row = 0; row < rows.size(); ++row)
    failures.push_back({std::string(rows.text(row, 0)), number(rows, row, 1), {number(rows, row, 2)}});
  return failures;
}

// --- bloat
//
// Estimates from the catalogue alone: as many rows as reltuples says, each as wide as its columns'
// statistics, on pages that are as full as fillfactor wants, against the pages that there are. Wide values
// that were moved out of line count with what is left of them in the row (avg_width is of the stored value).
// Tables without statistics are not guessed at.

constexpr std::string_view kTables = R"(
SELECT n.nspname || '.' || c.relname, c.relpages::bigint * bs, width.bytes IS NULL,
  ceil(c.reltuples * (4 + 24 + width.bytes)
       / ((bs - 24) * coalesce(nullif(substring(array_to_string(c.reloptions, ',') FROM 'fillfactor=([0-9]+)'), '')::float8,
                               100) / 100))::bigint * bs
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN (SELECT current_setting('block_size')::bigint AS bs) AS block
CROSS JOIN LATERAL (
  SELECT sum((1 - s.null_frac) * s.avg_width) AS bytes FROM pg_stats s
  WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND NOT s.inherited) AS width
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.reltuples >= 0 AND c.relpages > 0
  AND c.relpages::bigint * bs >= $1::bigint
ORDER BY c.relpages DESC LIMIT $2::bigint)";

// An entry has 8 bytes of header and 4 of line pointer; pages are filled to 90 percent unless told otherwise
// (src/include/access/nbtree.h).
constexpr std::string_view kIndexes = R"(
SELECT n.nspname || '.' || c.relname, c.relpages::bigint * bs, width.bytes IS NULL OR width.hidden,
  ceil(c.reltuples * (4 + 8 + ceil(width.bytes / 8) * 8)
       / ((bs - 40) * coalesce(nullif(substring(array_to_string(c.reloptions, ',') FROM 'fillfactor=([0-9]+)'), '')::float8,
                               90) / 100))::bigint * bs
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
CROSS JOIN (SELECT current_setting('block_size')::bigint AS bs) AS block
CROSS JOIN LATERAL (
  SELECT sum((1 - s.null_frac) * s.avg_width) AS bytes, bool_or(s.avg_width IS NULL) AS hidden
  FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
  LEFT JOIN pg_attribute col ON col.attrelid = CASE WHEN k.attnum = 0 THEN i.indexrelid ELSE i.indrelid END
    AND col.attnum = CASE WHEN k.attnum = 0 THEN k.place::int2 ELSE k.attnum END
  LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.attname = col.attname AND NOT s.inherited
    AND s.tablename = CASE WHEN k.attnum = 0 THEN c.relname ELSE t.relname END) AS width
WHERE c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisvalid AND c.reltuples >= 0 AND c.relpages > 0
  AND c.relpages::bigint * bs >= $1::bigint
ORDER BY c.relpages DESC LIMIT $2::bigint)";

Status add_bloat(PgClient& client, const std::string& database, std::string_view sql,
                 std::vector<BloatedRelation>& into, int64_t& hidden) {
  TRY_ASSIGN(Rows rows, client.query(std::string(sql), {std::to_string(kSmallestBloatedBytes),
                                                        std::to_string(kMostRelations)}));
  for (int row = 0; row < rows.size(); ++row) {
    if (rows.truth(row, 2)) {
      ++hidden;
      continue;
    }
    BloatedRelation relation;
    relation.database = database;
    relation.name = rows.text(row, 0);
    relation.bytes = not_negative(rows, row, 1);
    const uint64_t needed = not_negative(rows, row, 3);
    relation.wasted = relation.bytes > needed ? relation.bytes - needed : 0;
    into.push_back(std::move(relation));
  }
  return {};
}

void most_wasted_first(std::vector<BloatedRelation>& relations) {
  std::ranges::stable_sort(relations, std::ranges::greater(), &BloatedRelation::wasted);
}

Result<PgClient> connect(const ServerQuestions& questions, const std::string& conninfo) {
  pg::ConnectOptions options;
  options.application_name = "lifeboat signals";
  options.connect_timeout_ms = questions.connect_timeout_ms;
  options.statement_timeout_ms = questions.statement_timeout_ms;
  options.stop = questions.stop;
  TRY_ASSIGN(PgClient client, PgClient::connect(conninfo, options));
  TRY(client.exec(cat("SET lock_timeout = ", questions.lock_timeout_ms)));
  return client;
}

Result<Bloat> ask_bloat(PgClient& client, const ServerQuestions& questions) {
  TRY_ASSIGN(Rows names, client.query("SELECT datname, datname = current_database() FROM pg_database"
                                      " WHERE datallowconn AND NOT datistemplate"
                                      " AND has_database_privilege(oid, 'connect') ORDER BY oid"));
  Bloat bloat;
  if (names.size() > kMostDatabases)
    bloat.notes.push_back(
        cat("only the first ", kMostDatabases, " of ", names.size(), " databases were looked at"));
  for (int row = 0; row < std::min(names.size(), kMostDatabases); ++row) {
    const std::string name(names.text(row, 0));
    auto look = [&](PgClient& there) -> Status {
      TRY(add_bloat(there, name, kTables, bloat.tables, bloat.hidden));
      return add_bloat(there, name, kIndexes, bloat.indexes, bloat.hidden);
    };
    Status looked;
    if (names.truth(row, 1)) {
      looked = look(client);
    } else if (auto other = connect(questions, pg::with_database(questions.conninfo, name)); other) {
      looked = look(*other);
    } else {
      looked = std::move(other).error();
    }
    if (looked) continue;
    if (looked.error().kind == ErrorKind::cancelled) return std::move(looked).error();
    bloat.notes.push_back(cat("database ", name, ": ", looked.error().to_string()));
  }
  if (!bloat.notes.empty() && bloat.tables.empty() && bloat.indexes.empty() && names.size() == 1)
    return make_error(ErrorKind::server, "", bloat.notes.front());
  most_wasted_first(bloat.tables);
  most_wasted_first(bloat.indexes);
  return bloat;
}

template <typename T>
Asked<T> because(const std::string& why) {
  Asked<T> asked;
  asked.why = why;
  return asked;
}

}  // namespace

std::string describe(const std::vector<ChecksumFailures>& failures) {
  int64_t count = 0;
  std::vector<std::string> where;
  for (const ChecksumFailures& one : failures) {
    count += one.failures;
    where.push_back(cat(one.database.empty() ? "shared objects" : cat("database ", one.database),
                        one.last.valid() ? cat(", last at ", one.last.to_string()) : ""));
  }
  return cat(counted(static_cast<uint64_t>(count), "checksum failure"),
             " since the statistics began: ", join(where, "; "));
}

Result<ServerReadings> ask_server(const ServerQuestions& questions) {
  auto client = connect(questions, questions.conninfo);
  if (!client) {
    if (client.error().kind == ErrorKind::cancelled) return std::move(client).error();
    const std::string why = client.error().to_string();
    return ServerReadings{because<ConnectionUse>(why),
                          because<Ages>(why),
                          because<PrimaryReplication>(why),
                          because<StandbyReplication>(why),
                          because<WaitingWal>(why),
                          because<Bloat>(why),
                          because<std::vector<ChecksumFailures>>(why)};
  }
  ServerReadings found;
  found.connections = Asked(ask_connections(*client));
  found.ages = Asked(ask_ages(*client));
  auto standby = client->value("SELECT pg_is_in_recovery()::text");
  if (standby && *standby == "true")
    found.standby = Asked(ask_standby(*client));
  else if (standby)
    found.primary = Asked(ask_primary(*client));
  found.waiting = Asked(ask_waiting(*client));
  found.checksums = Asked(ask_checksums(*client));
  if (questions.bloat) found.bloat = Asked(ask_bloat(*client, questions));
  if (questions.stop != nullptr) TRY(questions.stop->check());
  return found;
}

}  // namespace lifeboat::ready
