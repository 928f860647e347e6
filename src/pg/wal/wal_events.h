// What some WAL records mean: transaction ends, restore points, checkpoints and the like.
//
// event_of() is a cheap classification by resource manager and operation; the read_ functions then take the
// payload apart. They return `damaged` when the payload is shorter than its own counts say. Text views point
// into the record and are valid as long as it is. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "pg/format/control_file.h"
#include "pg/format/version.h"
#include "pg/wal/wal_record.h"
#include "util/result.h"

namespace lifeboat::pg {

enum class WalEvent : uint8_t {
  none,
  commit,                // read_transaction_end, also COMMIT PREPARED
  abort,                 // read_transaction_end, also ROLLBACK PREPARED
  prepare,               // read_prepare
  checkpoint,            // read_checkpoint, online and shutdown
  checkpoint_redo,       // 17 on: the redo point of an online checkpoint
  restore_point,         // read_restore_point
  parameter_change,      // read_parameter_change
  end_of_recovery,       // read_end_of_recovery
  backup_end,            // read_backup_end
  xlog_switch,           // the rest of the segment is empty
  overwrite_contrecord,  // read_overwrite_contrecord
  logical_message,       // read_logical_message
  relation_create,       // read_relation_create
  relation_truncate,     // read_relation_truncate
  database_create,       // read_database_create, both strategies
  database_drop,         // read_database_drop
  tablespace_create,
  tablespace_drop,
};
WalEvent event_of(const WalRecord& record, const VersionTraits& version);
std::string_view to_string(WalEvent event);

struct TransactionEnd {
  bool committed = false;
  bool prepared = false;  // COMMIT PREPARED or ROLLBACK PREPARED
  uint32_t xid = 0;       // of the transaction that ended: the two-phase xid where prepared
  Timestamp time;
  Oid database = 0;  // 0: not recorded
  std::vector<uint32_t> subxids;
  std::vector<RelationLocator> dropped;  // relation files to be removed
  std::string_view gid;                  // prepared transactions with wal_level = logical only
  Lsn origin_lsn;                        // of the transaction on its replication origin, 0: none
  Timestamp origin_time;
};
Result<TransactionEnd> read_transaction_end(const WalRecord& record, const VersionTraits& version);

struct PreparedTransaction {
  uint32_t xid = 0;
  Oid database = 0;
  Timestamp time;
  std::string_view gid;
};
Result<PreparedTransaction> read_prepare(const WalRecord& record, const VersionTraits& version);

struct CheckpointRecord {
  bool shutdown = false;
  Checkpoint checkpoint;
};
Result<CheckpointRecord> read_checkpoint(const WalRecord& record);

struct RestorePoint {
  Timestamp time;
  std::string_view name;
};
Result<RestorePoint> read_restore_point(const WalRecord& record);

struct ParameterChange {
  int32_t max_connections = 0;
  int32_t max_worker_processes = 0;
  int32_t max_wal_senders = 0;
  int32_t max_prepared_transactions = 0;
  int32_t max_locks_per_transaction = 0;
  WalLevel wal_level = WalLevel::minimal;
  bool wal_log_hints = false;
  bool track_commit_timestamp = false;
};
Result<ParameterChange> read_parameter_change(const WalRecord& record);

struct EndOfRecovery {
  Timestamp time;
  Timeline timeline;                  // the new one
  Timeline previous_timeline;         // the one that was left
  std::optional<WalLevel> wal_level;  // 17 on
};
Result<EndOfRecovery> read_end_of_recovery(const WalRecord& record, const VersionTraits& version);

// What the record says of wal_level at its moment: parameter changes, and from 17 on checkpoints, redo points
// and the end of recovery. nullopt: nothing.
std::optional<WalLevel> stated_wal_level(const WalRecord& record, const VersionTraits& version);

struct BackupEnd {
  Lsn start;  // of the backup that ended here
};
Result<BackupEnd> read_backup_end(const WalRecord& record);

struct OverwriteContrecord {
  Lsn overwritten;  // the record that was begun and never finished before a crash
  Timestamp time;
};
Result<OverwriteContrecord> read_overwrite_contrecord(const WalRecord& record);

struct LogicalMessage {
  Oid database = 0;
  bool transactional = false;
  std::string_view prefix;
  ByteView content;
};
Result<LogicalMessage> read_logical_message(const WalRecord& record);

struct RelationCreate {
  RelationLocator relation;
  Fork fork = Fork::main;
};
Result<RelationCreate> read_relation_create(const WalRecord& record);

struct RelationTruncate {
  RelationLocator relation;
  uint32_t blocks = 0;  // of the main fork that remain
  bool heap = false;    // main fork truncated to `blocks`
  bool vm = false;      // the maps are cut to match
  bool fsm = false;
};
Result<RelationTruncate> read_relation_truncate(const WalRecord& record);

struct DatabaseCreate {
  Oid database = 0;
  Oid tablespace = 0;
  bool file_copy = false;   // blocks are not logged: everything in the directory is new
  Oid source_database = 0;  // file copy only
  Oid source_tablespace = 0;
};
Result<DatabaseCreate> read_database_create(const WalRecord& record, const VersionTraits& version);

struct DatabaseDrop {
  Oid database = 0;
  std::vector<Oid> tablespaces;
};
Result<DatabaseDrop> read_database_drop(const WalRecord& record);

}  // namespace lifeboat::pg
