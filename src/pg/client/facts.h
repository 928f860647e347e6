// What a server says about itself, asked with as few privileges as PostgreSQL allows.
//
// A fact that the role may not read is left at its default and listed in `refused` with the grant that would
// allow it; only a lost connection or a server that answers nonsense is an error. Works on PostgreSQL 13
// to 18.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "model/wal_name.h"
#include "pg/client/client.h"

namespace lifeboat::pg {

struct FactsRequest {
  std::vector<std::string> settings;  // names from pg_settings; unknown ones are absent from the answer
  bool databases = false;             // with sizes, which makes the server stat every file of every database
  bool tablespaces = true;
  bool archiver = false;
  bool replication = false;  // slots and senders
};

struct RoleFacts {
  std::string name;
  bool superuser = false;
  bool replication = false;
  bool read_all_settings =
      false;  // direct or inherited membership of pg_read_all_settings; true for superusers
  bool read_all_stats = false;
  bool monitor = false;
  bool checkpoint = false;    // pg_checkpoint, 15 and later
  bool start_backup = false;  // may execute pg_backup_start / pg_start_backup
  bool stop_backup = false;
  bool switch_wal = false;     // may execute pg_switch_wal
  bool restore_point = false;  // may execute pg_create_restore_point
};

struct TablespaceFacts {
  Oid oid = 0;
  std::string name;
  std::string location;  // pg_tablespace_location(): absolute, or "pg_tblspc/OID" for an in-place one
};

struct DatabaseFacts {
  Oid oid = 0;
  std::string name;
  std::string encoding;
  bool is_template = false;
  bool allows_connections = true;
  std::optional<uint64_t> size;  // bytes; nullopt when refused
};

struct ArchiverFacts {
  uint64_t archived_count = 0;
  std::string last_archived_wal;
  Timestamp last_archived_time;
  uint64_t failed_count = 0;
  std::string last_failed_wal;
  Timestamp last_failed_time;
  Timestamp stats_reset;
  Timestamp configuration_read;  // when the server last read its configuration files
};

struct SlotFacts {
  std::string name;
  std::string type;  // physical, logical
  std::string database;
  bool active = false;
  bool temporary = false;
  Lsn restart_lsn;
  std::string wal_status;  // reserved, extended, unreserved, lost
};

struct SenderFacts {
  int pid = 0;
  std::string application_name;
  std::string client_address;
  std::string state;
  std::string sync_state;
  Lsn sent_lsn;
  Lsn flush_lsn;
  Lsn replay_lsn;
};

// How a client reached the server.
enum class Connection : uint8_t {
  unknown,
  local_socket,  // crosses no network
  loopback,      // without TLS, on this host
  tls,           // or encrypted by GSSAPI
  plain,         // over a network without TLS
};
std::string_view to_string(Connection connection);
// pg_stat_ssl, pg_stat_gssapi and the addresses of this session; unknown where they could not be asked.
Connection connection_of(PgClient& client);

struct RefusedFact {
  std::string fact;   // "data_directory"
  std::string why;    // the server's message with SQLSTATE
  std::string grant;  // "grant pg_read_all_settings to backup"
};

struct ServerFacts {
  int version_num = 0;  // 150013
  int major = 0;
  std::string version_text;  // "15.13 (Debian 15.13-0+deb12u1)"

  SystemId system_id;
  uint32_t control_version = 0;
  uint32_t catalog_version = 0;
  std::string tablespace_version_dir() const;  // "PG_15_202209061"

  std::string data_directory;  // empty when refused
  uint32_t block_size = 0;
  uint32_t wal_block_size = 0;
  uint64_t segment_blocks = 0;  // blocks of one relation segment file
  SegmentSize wal_segment_size;
  bool data_checksums = false;

  bool in_recovery = false;
  Timeline timeline;          // of the latest checkpoint (pg_control)
  Timeline current_timeline;  // of what is written or replayed now; 0 when it cannot be known on a standby
  Lsn current_lsn;            // write position, or replay position in recovery
  Lsn checkpoint_redo;
  Timestamp now;  // the server's clock
  Timestamp postmaster_start;

  RoleFacts role;
  std::map<std::string, std::string> settings;  // those asked for, in pg_settings' unit-less `setting` form
  std::map<std::string, std::string> setting_units;  // "8kB", "ms"; absent when the setting has none
  std::vector<std::string> pending_restart;          // settings asked for that wait for a restart
  std::vector<TablespaceFacts> tablespaces;          // without pg_default and pg_global
  std::vector<DatabaseFacts> databases;
  std::optional<ArchiverFacts> archiver;
  std::vector<SlotFacts> slots;
  std::vector<SenderFacts> senders;
  std::vector<RefusedFact> refused;
  Connection connection = Connection::unknown;  // of this reading
};

// Errors: those of PgClient; unsupported for a major outside 13 to 18.
Result<ServerFacts> read_facts(PgClient& client, const FactsRequest& request);

}  // namespace lifeboat::pg
