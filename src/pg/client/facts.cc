#include "pg/client/facts.h"

#include <algorithm>

#include "pg/format/version.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

// Microseconds since 1970 of a timestamptz expression; null stays null.
std::string unix_us(std::string_view expression) {
  return cat("(extract(epoch FROM ", expression, ") * 1000000)::bigint");
}

Timestamp timestamp(const Rows& rows, int row, int column) {
  return {rows.i64(row, column).value_or(0)};
}
Lsn lsn(const Rows& rows, int row, int column) {
  return rows.null(row, column) ? Lsn() : Lsn::parse(rows.text(row, column)).value_or(Lsn());
}
std::string text(const Rows& rows, int row, int column) {
  return std::string(rows.text(row, column));
}

std::string text_array(const std::vector<std::string>& items) {
  std::string array = "{";
  for (const std::string& item : items) {
    if (array.size() > 1) array += ',';
    array += '"';
    for (char c : item) {
      if (c == '"' || c == '\\') array += '\\';
      array += c;
    }
    array += '"';
  }
  return array + "}";
}

class Reader {
 public:
  Reader(PgClient& client, const FactsRequest& request) : client_(client), request_(request) {}

  Result<ServerFacts> read() {
    facts_.version_num = client_.version_num();
    facts_.major = client_.major();
    if (auto version = require_version(facts_.major); !version) return std::move(version).error();
    TRY(read_basics());
    facts_.connection = connection_of(client_);
    TRY(read_control());
    TRY(read_position());
    TRY(read_role());
    TRY(read_settings());
    if (request_.tablespaces) TRY(read_tablespaces());
    if (request_.databases) TRY(read_databases());
    if (request_.archiver) TRY(read_archiver());
    if (request_.replication) TRY(read_replication());
    return std::move(facts_);
  }

 private:
  // The rows, or nullopt with an entry in `refused` when the role lacks the privilege.
  Result<std::optional<Rows>> ask(std::string fact, std::string grant, const std::string& sql,
                                  std::initializer_list<Param> params = {}) {
    auto rows = client_.query(sql, params);
    if (rows) return std::optional<Rows>(std::move(*rows));
    if (rows.error().kind != ErrorKind::permission)
      return std::move(rows).error().within(cat("reading ", fact));
    refuse(std::move(fact), rows.error().cause, std::move(grant));
    return std::optional<Rows>();
  }
  void refuse(std::string fact, std::string why, std::string grant) {
    facts_.refused.push_back({std::move(fact), std::move(why), std::move(grant)});
  }
  std::string me() const { return facts_.role.name.empty() ? "this role" : sql_identifier(facts_.role.name); }

  Status read_basics() {
    TRY_ASSIGN(Rows rows,
               client_.query(cat("SELECT current_setting('server_version'), pg_is_in_recovery(), ",
                                 unix_us("clock_timestamp()"), ", ", unix_us("pg_postmaster_start_time()"),
                                 ", current_setting('block_size'), current_setting('wal_block_size'),"
                                 " (SELECT setting FROM pg_settings WHERE name = 'segment_size'),"
                                 " (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'),"
                                 " current_setting('data_checksums'), current_user")));
    facts_.version_text = text(rows, 0, 0);
    facts_.in_recovery = rows.truth(0, 1);
    facts_.now = timestamp(rows, 0, 2);
    facts_.postmaster_start = timestamp(rows, 0, 3);
    facts_.block_size = static_cast<uint32_t>(rows.u64(0, 4).value_or(0));
    facts_.wal_block_size = static_cast<uint32_t>(rows.u64(0, 5).value_or(0));
    facts_.segment_blocks = rows.u64(0, 6).value_or(0);   // in blocks since 9.5 at least, on 13 to 18 always
    const uint64_t segment = rows.u64(0, 7).value_or(0);  // in bytes since 11
    if (!SegmentSize::valid(segment))
      return make_error(ErrorKind::server, "wal_segment_size",
                        cat("expected a power of two from 1 MiB to 1 GiB, found ", segment));
    facts_.wal_segment_size = {static_cast<uint32_t>(segment)};
    facts_.data_checksums = rows.text(0, 8) == "on";
    facts_.role.name = text(rows, 0, 9);
    return {};
  }

  Status read_control() {
    TRY_ASSIGN(
        auto system,
        ask("system identifier", cat("grant execute on function pg_control_system() to ", me()),
            "SELECT system_identifier, pg_control_version, catalog_version_no FROM pg_control_system()"));
    if (system) {
      // The column is a signed bigint; the number is unsigned.
      facts_.system_id = {static_cast<uint64_t>(system->i64(0, 0).value_or(0))};
      facts_.control_version = static_cast<uint32_t>(system->i64(0, 1).value_or(0));
      facts_.catalog_version = static_cast<uint32_t>(system->i64(0, 2).value_or(0));
    }
    TRY_ASSIGN(auto checkpoint,
               ask("timeline", cat("grant execute on function pg_control_checkpoint() to ", me()),
                   "SELECT timeline_id, redo_lsn FROM pg_control_checkpoint()"));
    if (checkpoint) {
      facts_.timeline = {static_cast<uint32_t>(checkpoint->u64(0, 0).value_or(0))};
      facts_.checkpoint_redo = lsn(*checkpoint, 0, 1);
    }
    return {};
  }

  Status read_position() {
    if (facts_.in_recovery) {
      TRY_ASSIGN(Rows rows, client_.query("SELECT pg_last_wal_replay_lsn(), (SELECT received_tli FROM"
                                          " pg_stat_wal_receiver WHERE status = 'streaming')"));
      facts_.current_lsn = lsn(rows, 0, 0);
      facts_.current_timeline = {static_cast<uint32_t>(rows.u64(0, 1).value_or(0))};
      return {};
    }
    TRY_ASSIGN(Rows rows, client_.query("SELECT lsn, pg_walfile_name(lsn) FROM pg_current_wal_lsn() AS lsn"));
    facts_.current_lsn = lsn(rows, 0, 0);
    if (auto name = SegmentName::parse(rows.text(0, 1))) facts_.current_timeline = name->timeline;
    return {};
  }

  Status read_role() {
    // Function names by version; has_function_privilege raises an error for one that does not exist.
    const bool renamed = facts_.major >= 15;
    auto may = [](std::string_view function) {
      return cat("has_function_privilege('pg_catalog.", function, "', 'execute')");
    };
    TRY_ASSIGN(
        Rows rows,
        client_.query(
            cat("SELECT rolsuper, rolreplication,"
                " pg_has_role('pg_read_all_settings', 'usage'), pg_has_role('pg_read_all_stats', 'usage'),"
                " pg_has_role('pg_monitor', 'usage'), ",
                renamed ? "pg_has_role('pg_checkpoint', 'usage')" : "rolsuper", ", ",
                may(renamed ? "pg_backup_start(text, boolean)" : "pg_start_backup(text, boolean, boolean)"),
                ", ", may(renamed ? "pg_backup_stop(boolean)" : "pg_stop_backup(boolean, boolean)"), ", ",
                may("pg_switch_wal()"), ", ", may("pg_create_restore_point(text)"),
                " FROM pg_roles WHERE rolname = current_user")));
    if (rows.empty())
      return make_error(ErrorKind::server, facts_.role.name, "the current role is not in pg_roles");
    RoleFacts& role = facts_.role;
    role.superuser = rows.truth(0, 0);
    role.replication = rows.truth(0, 1);
    role.read_all_settings = rows.truth(0, 2);
    role.read_all_stats = rows.truth(0, 3);
    role.monitor = rows.truth(0, 4);
    role.checkpoint = rows.truth(0, 5);
    role.start_backup = rows.truth(0, 6);
    role.stop_backup = rows.truth(0, 7);
    role.switch_wal = rows.truth(0, 8);
    role.restore_point = rows.truth(0, 9);
    return {};
  }

  Status read_settings() {
    std::vector<std::string> names = request_.settings;
    names.push_back("data_directory");
    TRY_ASSIGN(Rows rows, client_.query("SELECT name, setting, unit, pending_restart FROM pg_settings"
                                        " WHERE name = ANY ($1::text[])",
                                        {Param(text_array(names))}));
    for (int row = 0; row < rows.size(); ++row) {
      std::string name = text(rows, row, 0);
      facts_.settings[name] = text(rows, row, 1);
      if (!rows.null(row, 2)) facts_.setting_units[name] = text(rows, row, 2);
      if (rows.truth(row, 3)) facts_.pending_restart.push_back(name);
    }
    // A setting that the role may not see is missing from the view without a word; asking for it by name
    // tells why.
    for (const std::string& name : names) {
      if (facts_.settings.count(name)) continue;
      TRY_ASSIGN(auto value, ask(name, cat("grant pg_read_all_settings to ", me()),
                                 "SELECT current_setting($1, true)", {Param(name)}));
      if (value && !value->null(0, 0)) facts_.settings[name] = text(*value, 0, 0);
    }
    if (auto found = facts_.settings.find("data_directory"); found != facts_.settings.end()) {
      facts_.data_directory = found->second;
      if (std::find(request_.settings.begin(), request_.settings.end(), "data_directory") ==
          request_.settings.end())
        facts_.settings.erase(found);
    }
    return {};
  }

  Status read_tablespaces() {
    TRY_ASSIGN(Rows rows, client_.query("SELECT oid, spcname, pg_tablespace_location(oid) FROM pg_tablespace"
                                        " WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY oid"));
    for (int row = 0; row < rows.size(); ++row)
      facts_.tablespaces.push_back(
          {static_cast<Oid>(rows.u64(row, 0).value_or(0)), text(rows, row, 1), text(rows, row, 2)});
    return {};
  }

  Status read_databases() {
    TRY_ASSIGN(
        Rows rows,
        client_.query("SELECT oid, datname, pg_encoding_to_char(encoding), datistemplate, datallowconn,"
                      " CASE WHEN has_database_privilege(oid, 'connect')"
                      " OR pg_has_role('pg_read_all_stats', 'usage') THEN pg_database_size(oid) END"
                      " FROM pg_database ORDER BY oid"));
    bool hidden = false;
    for (int row = 0; row < rows.size(); ++row) {
      DatabaseFacts database;
      database.oid = static_cast<Oid>(rows.u64(row, 0).value_or(0));
      database.name = text(rows, row, 1);
      database.encoding = text(rows, row, 2);
      database.is_template = rows.truth(row, 3);
      database.allows_connections = rows.truth(row, 4);
      database.size = rows.u64(row, 5);
      hidden = hidden || !database.size;
      facts_.databases.push_back(std::move(database));
    }
    if (hidden)
      refuse("database sizes", "size of a database without the right to connect to it",
             cat("grant pg_read_all_stats to ", me()));
    return {};
  }

  Status read_archiver() {
    TRY_ASSIGN(auto rows, ask("pg_stat_archiver", cat("grant pg_monitor to ", me()),
                              cat("SELECT archived_count, last_archived_wal, ", unix_us("last_archived_time"),
                                  ", failed_count, last_failed_wal, ", unix_us("last_failed_time"), ", ",
                                  unix_us("stats_reset"), ", ", unix_us("pg_conf_load_time()"),
                                  " FROM pg_stat_archiver")));
    if (!rows || rows->empty()) return {};
    ArchiverFacts archiver;
    archiver.archived_count = rows->u64(0, 0).value_or(0);
    archiver.last_archived_wal = text(*rows, 0, 1);
    archiver.last_archived_time = timestamp(*rows, 0, 2);
    archiver.failed_count = rows->u64(0, 3).value_or(0);
    archiver.last_failed_wal = text(*rows, 0, 4);
    archiver.last_failed_time = timestamp(*rows, 0, 5);
    archiver.stats_reset = timestamp(*rows, 0, 6);
    archiver.configuration_read = timestamp(*rows, 0, 7);
    facts_.archiver = std::move(archiver);
    return {};
  }

  Status read_replication() {
    TRY_ASSIGN(auto slots,
               ask("replication slots", cat("grant pg_monitor to ", me()),
                   "SELECT slot_name, slot_type, database, active, temporary, restart_lsn, wal_status"
                   " FROM pg_replication_slots ORDER BY slot_name"));
    for (int row = 0; slots && row < slots->size(); ++row)
      facts_.slots.push_back({text(*slots, row, 0), text(*slots, row, 1), text(*slots, row, 2),
                              slots->truth(row, 3), slots->truth(row, 4), lsn(*slots, row, 5),
                              text(*slots, row, 6)});
    TRY_ASSIGN(auto senders,
               ask("replication senders", cat("grant pg_monitor to ", me()),
                   "SELECT pid, application_name, host(client_addr), state, sync_state, sent_lsn, flush_lsn,"
                   " replay_lsn FROM pg_stat_replication ORDER BY pid"));
    for (int row = 0; senders && row < senders->size(); ++row)
      facts_.senders.push_back({static_cast<int>(senders->i64(row, 0).value_or(0)), text(*senders, row, 1),
                                text(*senders, row, 2), text(*senders, row, 3), text(*senders, row, 4),
                                lsn(*senders, row, 5), lsn(*senders, row, 6), lsn(*senders, row, 7)});
    if (!facts_.senders.empty() && !facts_.role.read_all_stats)
      refuse("positions of replication senders", "shown as empty to roles without pg_read_all_stats",
             cat("grant pg_monitor to ", me()));
    return {};
  }

  PgClient& client_;
  const FactsRequest& request_;
  ServerFacts facts_;
};

}  // namespace

std::string ServerFacts::tablespace_version_dir() const {
  return cat("PG_", major, '_', catalog_version);
}

std::string_view to_string(Connection connection) {
  switch (connection) {
    case Connection::unknown:
      return "unknown";
    case Connection::local_socket:
      return "local socket";
    case Connection::loopback:
      return "loopback without TLS";
    case Connection::tls:
      return "TLS";
    case Connection::plain:
      return "network without TLS";
  }
  return "?";
}

Connection connection_of(PgClient& client) {
  auto rows = client.query(
      "SELECT s.ssl OR coalesce(g.encrypted, false), inet_client_addr() IS NULL,"
      " inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1'"
      " OR host(inet_client_addr()) = host(inet_server_addr())"
      " FROM pg_stat_ssl AS s LEFT JOIN pg_stat_gssapi AS g USING (pid) WHERE s.pid = pg_backend_pid()");
  if (!rows || rows->size() != 1) return Connection::unknown;
  if (rows->truth(0, 1)) return Connection::local_socket;
  if (rows->truth(0, 0)) return Connection::tls;
  return rows->truth(0, 2) ? Connection::loopback : Connection::plain;
}

Result<ServerFacts> read_facts(PgClient& client, const FactsRequest& request) {
  return Reader(client, request).read();
}

}  // namespace lifeboat::pg
