#include "ops/backup/catalog.h"

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kStatementTimeoutMs = 60'000;

// Ordinary tables, materialised views and partitions of users; toast and system catalogues are PostgreSQL's
// own.
constexpr std::string_view kTablesSql =
    "select n.nspname, c.relname, c.reltuples::bigint, c.relpages, coalesce(s.n_tup_ins, 0),"
    " coalesce(s.n_tup_upd, 0), coalesce(s.n_tup_del, 0)"
    " from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
    " left join pg_catalog.pg_stat_all_tables s on s.relid = c.oid"
    " where c.relkind in ('r', 'm') and c.relpersistence = 'p'"
    " and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname not like "
    "'pg\\_temp\\_%'"
    " order by c.relpages desc, n.nspname, c.relname limit $1";
constexpr std::string_view kCountsSql =
    "select count(*) filter (where relkind in ('r', 'm')), coalesce(sum(greatest(reltuples, 0)) filter"
    " (where relkind in ('r', 'm')), 0)::bigint, count(*) from pg_catalog.pg_class c"
    " join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')";
constexpr std::string_view kExtensionsSql =
    "select extname || ' ' || extversion from pg_catalog.pg_extension where extname <> 'plpgsql' order by 1";

Status read_database(pg::PgClient& client, repo::DatabaseInfo& database, CatalogRecord& record) {
  TRY_ASSIGN(pg::Rows counts, client.query(std::string(kCountsSql)));
  database.estimated_rows = counts.i64(0, 1).value_or(0);
  database.relations = counts.u64(0, 2).value_or(0);
  record.table_count += counts.u64(0, 0).value_or(0);
  record.estimated_rows += database.estimated_rows;
  int room = kMostTables - static_cast<int>(record.tables.size());
  TRY_ASSIGN(pg::Rows tables, client.query(std::string(kTablesSql), {cat(room)}));
  for (int i = 0; i < tables.size(); ++i) {
    record.tables.push_back({database.name, std::string(tables.text(i, 0)), std::string(tables.text(i, 1)),
                             tables.i64(i, 2).value_or(-1), tables.i64(i, 3).value_or(0),
                             tables.i64(i, 4).value_or(0), tables.i64(i, 5).value_or(0),
                             tables.i64(i, 6).value_or(0)});
  }
  TRY_ASSIGN(pg::Rows extensions, client.query(std::string(kExtensionsSql)));
  for (int i = 0; i < extensions.size(); ++i) {
    record.extensions.push_back(cat(database.name, ": ", extensions.text(i, 0)));
  }
  return {};
}

}  // namespace

const std::vector<std::string>& recorded_settings() {
  static const std::vector<std::string> names = {"archive_command",
                                                 "archive_library",
                                                 "archive_mode",
                                                 "autovacuum_max_workers",
                                                 "cluster_name",
                                                 "config_file",
                                                 "data_checksums",
                                                 "data_directory",
                                                 "default_transaction_read_only",
                                                 "external_pid_file",
                                                 "hba_file",
                                                 "huge_pages",
                                                 "ident_file",
                                                 "lc_messages",
                                                 "listen_addresses",
                                                 "log_directory",
                                                 "logging_collector",
                                                 "max_connections",
                                                 "max_locks_per_transaction",
                                                 "max_prepared_transactions",
                                                 "max_wal_senders",
                                                 "max_wal_size",
                                                 "max_worker_processes",
                                                 "port",
                                                 "primary_slot_name",
                                                 "server_encoding",
                                                 "server_version",
                                                 "shared_buffers",
                                                 "shared_preload_libraries",
                                                 "ssl",
                                                 "synchronous_standby_names",
                                                 "timezone",
                                                 "track_commit_timestamp",
                                                 "unix_socket_directories",
                                                 "wal_level",
                                                 "wal_log_hints"};
  return names;
}

Result<CatalogRecord> read_catalog(pg::PgClient& client, const std::string& conninfo,
                                   const pg::ServerFacts& facts, const StopToken& stop) {
  CatalogRecord record;
  // BOOTSTRAP_SUPERUSERID, src/include/catalog/pg_authid.dat.
  TRY_ASSIGN(auto role, client.value("select rolname from pg_catalog.pg_roles where oid = 10"));
  record.bootstrap_role = role.value_or("");
  for (const pg::DatabaseFacts& from : facts.databases) {
    TRY(stop.check());
    repo::DatabaseInfo database{from.oid, from.name, from.size.value_or(0), 0, 0};
    if (from.allows_connections) {
      pg::ConnectOptions options;
      options.statement_timeout_ms = kStatementTimeoutMs;
      options.stop = &stop;
      auto there = pg::PgClient::connect(pg::with_database(conninfo, from.name), options);
      Status read = there ? read_database(*there, database, record) : Status(there.error());
      if (!read)
        record.warnings.push_back(
            cat("database ", from.name, ": row estimates not recorded: ", read.error().to_string()));
    }
    record.databases.push_back(std::move(database));
  }
  return record;
}

}  // namespace lifeboat::ops
