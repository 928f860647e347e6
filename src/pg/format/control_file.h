// Reads global/pg_control of PostgreSQL 13 to 18 (src/include/catalog/pg_control.h).
//
// Pure: the caller reads the file, and reads it again when the CRC does not hold, because a running server
// rewrites it in place (T04). Values are as on the disk of a little-endian machine with 8-byte alignment.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "pg/format/version.h"
#include "util/bytes.h"

namespace lifeboat::pg {

enum class DbState : uint32_t {  // DBState
  startup = 0,
  shut_down = 1,
  shut_down_in_recovery = 2,
  shutting_down = 3,
  in_crash_recovery = 4,
  in_archive_recovery = 5,
  in_production = 6,
};
std::string_view to_string(DbState state);  // as pg_controldata prints it: "in production"

enum class WalLevel : uint32_t { minimal = 0, replica = 1, logical = 2 };
std::string_view to_string(WalLevel level);

// A copy of the latest checkpoint record; also the payload of checkpoint records in WAL (wal_events.h).
struct Checkpoint {
  Lsn redo;
  Timeline timeline;
  Timeline previous_timeline;  // equals `timeline` unless this checkpoint began a timeline
  bool full_page_writes = false;
  uint64_t next_xid = 0;  // FullTransactionId: epoch in the upper 32 bits
  Oid next_oid = 0;
  uint32_t next_multi = 0;
  uint32_t next_multi_offset = 0;
  uint32_t oldest_xid = 0;
  uint32_t oldest_multi = 0;
  uint32_t oldest_active_xid = 0;
  Timestamp time;
  static constexpr size_t kSize = 88;  // in all supported majors (17 put wal_level into padding)
};
// `bytes` has at least Checkpoint::kSize bytes; else `damaged`.
Result<Checkpoint> parse_checkpoint(ByteView bytes);

struct ControlFile {
  int major = 0;
  SystemId system_id;
  uint32_t control_version = 0;
  uint32_t catalog_version = 0;
  DbState state = DbState::startup;
  Timestamp time;      // last update of pg_control
  Lsn checkpoint_lsn;  // where the latest checkpoint record begins
  Checkpoint checkpoint;
  Lsn min_recovery_point;
  Timeline min_recovery_timeline;
  Lsn backup_start;
  Lsn backup_end;
  bool backup_end_required = false;
  WalLevel wal_level = WalLevel::minimal;
  bool wal_log_hints = false;
  int32_t max_connections = 0;
  int32_t max_worker_processes = 0;
  int32_t max_wal_senders = 0;
  int32_t max_prepared_transactions = 0;
  int32_t max_locks_per_transaction = 0;
  bool track_commit_timestamp = false;
  uint32_t block_size = 0;               // bytes of a data page
  uint32_t relation_segment_blocks = 0;  // blocks of one relation segment file
  uint32_t wal_block_size = 0;
  uint32_t wal_segment_size = 0;
  uint32_t data_checksum_version = 0;  // 0: off

  bool checksums() const { return data_checksum_version != 0; }
};

// The longest prefix of pg_control that the reader needs; the file has 8192 bytes.
inline constexpr size_t kControlFileMinimum = 300;

// `major`: what PG_VERSION says, if the caller knows. Without it the major is found by the catalog version,
// which 13 to 16 need since all four have control version 1300. Errors: `damaged` (too short, CRC, impossible
// sizes, another control version than `major` has, wrong byte order), `unsupported` (a major or control
// version that this program does not know).
Result<ControlFile> parse_control_file(ByteView bytes, std::optional<int> major = std::nullopt);

}  // namespace lifeboat::pg
