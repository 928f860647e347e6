#include "pg/wal/wal_events.h"

#include <cstring>

#include "util/strings.h"

namespace lifeboat::pg {

namespace {

// Operations of the resource manager XLOG (src/include/catalog/pg_control.h).
constexpr uint8_t kCheckpointShutdown = 0x00;
constexpr uint8_t kCheckpointOnline = 0x10;
constexpr uint8_t kSwitch = 0x40;
constexpr uint8_t kBackupEnd = 0x50;
constexpr uint8_t kParameterChange = 0x60;
constexpr uint8_t kRestorePoint = 0x70;
constexpr uint8_t kEndOfRecovery = 0x90;
constexpr uint8_t kOverwriteContrecord = 0xd0;
constexpr uint8_t kCheckpointRedo = 0xe0;

// Where wal_level stands in CheckPoint (17 on: behind fullPageWrites), xl_parameter_change and
// xl_end_of_recovery (17 on).
constexpr size_t kCheckpointLevelOffset = 20;
constexpr size_t kParameterLevelOffset = 20;
constexpr size_t kEndOfRecoveryLevelOffset = 16;

// Of Transaction (src/include/access/xact.h).
constexpr uint8_t kXactMask = 0x70;
constexpr uint8_t kXactHasInfo = 0x80;
constexpr uint8_t kCommit = 0x00;
constexpr uint8_t kPrepare = 0x10;
constexpr uint8_t kAbort = 0x20;
constexpr uint8_t kCommitPrepared = 0x30;
constexpr uint8_t kAbortPrepared = 0x40;
constexpr uint32_t kHasDatabase = 1u << 0;
constexpr uint32_t kHasSubxacts = 1u << 1;
constexpr uint32_t kHasRelations = 1u << 2;
constexpr uint32_t kHasInvalidations = 1u << 3;
constexpr uint32_t kHasTwophase = 1u << 4;
constexpr uint32_t kHasOrigin = 1u << 5;
constexpr uint32_t kHasGid = 1u << 7;
constexpr uint32_t kHasDroppedStats = 1u << 8;
constexpr size_t kRelationSize = 12;      // RelFileLocator
constexpr size_t kInvalidationSize = 16;  // SharedInvalidationMessage

// Of Storage (src/include/catalog/storage_xlog.h).
constexpr uint8_t kSmgrCreate = 0x10;
constexpr uint8_t kSmgrTruncate = 0x20;
constexpr uint32_t kTruncateHeap = 1;
constexpr uint32_t kTruncateVm = 2;
constexpr uint32_t kTruncateFsm = 4;

// Of Database (src/include/commands/dbcommands_xlog.h): up to 14 create 0x00 and drop 0x10, from 15 on create
// by file copy 0x00, create by WAL 0x10, drop 0x20.
constexpr uint8_t kDatabaseCreateCopy = 0x00;
constexpr uint8_t kDatabaseCreateWal = 0x10;
constexpr uint8_t kDatabaseDropOld = 0x10;
constexpr uint8_t kDatabaseDrop = 0x20;

Error damaged(const WalRecord& record, std::string_view what) {
  return make_error(ErrorKind::damaged, cat("WAL record at ", record.lsn.to_string()),
                    cat(what, " does not fit into its ", record.main_data.size(), " bytes"));
}

RelationLocator read_relation(ByteReader& in) {
  RelationLocator relation;
  relation.tablespace = in.u32();
  relation.database = in.u32();
  relation.number = in.u32();
  return relation;
}

Timestamp read_time(ByteReader& in) {
  auto microseconds = static_cast<int64_t>(in.u64());
  // Beyond what the sum can hold; no server writes such a time.
  if (microseconds > INT64_MAX - Timestamp::kPostgresEpochUs) return {};
  return Timestamp::from_postgres(microseconds);
}

// A 32-bit count of items of `size` bytes that are all there; else fails the reader.
size_t read_count(ByteReader& in, size_t size) {
  size_t count = in.u32();
  if (in.ok() && count > in.remaining() / size) in.fail();
  return in.ok() ? count : 0;
}

// Text up to a zero byte, which is consumed.
std::string_view read_c_string(ByteReader& in, ByteView all) {
  ByteView rest = all.last(in.remaining());
  const void* zero = rest.empty() ? nullptr : std::memchr(rest.data(), 0, rest.size());
  if (zero == nullptr) {
    in.fail();
    return {};
  }
  auto length = static_cast<size_t>(static_cast<const uint8_t*>(zero) - rest.data());
  in.bytes(length + 1);
  return as_text(rest.first(length));
}

WalEvent xlog_event(uint8_t operation) {
  switch (operation) {
    case kCheckpointShutdown:
    case kCheckpointOnline:
      return WalEvent::checkpoint;
    case kSwitch:
      return WalEvent::xlog_switch;
    case kBackupEnd:
      return WalEvent::backup_end;
    case kParameterChange:
      return WalEvent::parameter_change;
    case kRestorePoint:
      return WalEvent::restore_point;
    case kEndOfRecovery:
      return WalEvent::end_of_recovery;
    case kOverwriteContrecord:
      return WalEvent::overwrite_contrecord;
    case kCheckpointRedo:
      return WalEvent::checkpoint_redo;
    default:
      return WalEvent::none;
  }
}

WalEvent xact_event(uint8_t operation) {
  switch (operation) {
    case kCommit:
    case kCommitPrepared:
      return WalEvent::commit;
    case kAbort:
    case kAbortPrepared:
      return WalEvent::abort;
    case kPrepare:
      return WalEvent::prepare;
    default:
      return WalEvent::none;
  }
}

WalEvent dbase_event(uint8_t operation, const VersionTraits& version) {
  if (operation == kDatabaseCreateCopy) return WalEvent::database_create;
  if (!version.database_by_wal)
    return operation == kDatabaseDropOld ? WalEvent::database_drop : WalEvent::none;
  if (operation == kDatabaseCreateWal) return WalEvent::database_create;
  return operation == kDatabaseDrop ? WalEvent::database_drop : WalEvent::none;
}

}  // namespace

WalEvent event_of(const WalRecord& record, const VersionTraits& version) {
  switch (record.rmgr) {
    case Rmgr::xlog:
      return xlog_event(record.operation());
    case Rmgr::xact:
      return xact_event(record.info & kXactMask);
    case Rmgr::smgr:
      if (record.operation() == kSmgrCreate) return WalEvent::relation_create;
      return record.operation() == kSmgrTruncate ? WalEvent::relation_truncate : WalEvent::none;
    case Rmgr::dbase:
      return dbase_event(record.operation(), version);
    case Rmgr::tblspc:
      if (record.operation() == 0x00) return WalEvent::tablespace_create;
      return record.operation() == 0x10 ? WalEvent::tablespace_drop : WalEvent::none;
    case Rmgr::logicalmsg:
      return record.operation() == 0x00 ? WalEvent::logical_message : WalEvent::none;
    default:
      return WalEvent::none;
  }
}

std::string_view to_string(WalEvent event) {
  switch (event) {
    case WalEvent::none:
      return "none";
    case WalEvent::commit:
      return "commit";
    case WalEvent::abort:
      return "abort";
    case WalEvent::prepare:
      return "prepare";
    case WalEvent::checkpoint:
      return "checkpoint";
    case WalEvent::checkpoint_redo:
      return "checkpoint redo";
    case WalEvent::restore_point:
      return "restore point";
    case WalEvent::parameter_change:
      return "parameter change";
    case WalEvent::end_of_recovery:
      return "end of recovery";
    case WalEvent::backup_end:
      return "backup end";
    case WalEvent::xlog_switch:
      return "xlog switch";
    case WalEvent::overwrite_contrecord:
      return "overwrite contrecord";
    case WalEvent::logical_message:
      return "logical message";
    case WalEvent::relation_create:
      return "relation create";
    case WalEvent::relation_truncate:
      return "relation truncate";
    case WalEvent::database_create:
      return "database create";
    case WalEvent::database_drop:
      return "database drop";
    case WalEvent::tablespace_create:
      return "tablespace create";
    case WalEvent::tablespace_drop:
      return "tablespace drop";
  }
  return "unknown";
}

// xl_xact_commit and xl_xact_abort: the time, then the parts that xinfo announces, in the order below. Abort
// records have no invalidation messages.
Result<TransactionEnd> read_transaction_end(const WalRecord& record, const VersionTraits& version) {
  ByteReader in(record.main_data);
  TransactionEnd end;
  uint8_t operation = record.info & kXactMask;
  end.committed = operation == kCommit || operation == kCommitPrepared;
  end.prepared = operation == kCommitPrepared || operation == kAbortPrepared;
  end.xid = record.xid;
  end.time = read_time(in);
  uint32_t parts = (record.info & kXactHasInfo) != 0 ? in.u32() : 0;
  if ((parts & kHasDatabase) != 0) {
    end.database = in.u32();
    in.u32();  // its default tablespace
  }
  if ((parts & kHasSubxacts) != 0) {
    end.subxids.resize(read_count(in, sizeof(uint32_t)));
    for (uint32_t& xid : end.subxids) xid = in.u32();
  }
  if ((parts & kHasRelations) != 0) {
    end.dropped.resize(read_count(in, kRelationSize));
    for (RelationLocator& relation : end.dropped) relation = read_relation(in);
  }
  if ((parts & kHasDroppedStats) != 0 && version.dropped_stats_size != 0) {
    in.bytes(read_count(in, version.dropped_stats_size) * version.dropped_stats_size);
  }
  if ((parts & kHasInvalidations) != 0) in.bytes(read_count(in, kInvalidationSize) * kInvalidationSize);
  if ((parts & kHasTwophase) != 0) {
    end.xid = in.u32();
    if ((parts & kHasGid) != 0) end.gid = read_c_string(in, record.main_data);
  }
  if ((parts & kHasOrigin) != 0) {
    end.origin_lsn = {in.u64()};
    end.origin_time = read_time(in);
  }
  if (!in.ok()) return damaged(record, "transaction end");
  return end;
}

// xl_xact_prepare: 8 xid, 12 database, 16 prepared_at, 24 owner, 28 nsubxacts, 32 ncommitrels, 36 nabortrels,
// then two counts of dropped statistics from 15 on, ninvalmsgs, initfileinval (1 byte), a pad byte, gidlen (2
// bytes), origin_lsn, origin_timestamp; the gid with its zero follows.
Result<PreparedTransaction> read_prepare(const WalRecord& record, const VersionTraits& version) {
  size_t counts = version.dropped_stats_size != 0 ? 6 : 4;
  ByteReader in(record.main_data);
  PreparedTransaction prepared;
  in.bytes(8);
  prepared.xid = in.u32();
  prepared.database = in.u32();
  prepared.time = read_time(in);
  in.bytes(4 + counts * 4 + 2);
  size_t gid_length = in.u16();
  in.bytes(16);
  prepared.gid = as_text(in.bytes(gid_length));
  if (!in.ok()) return damaged(record, "prepared transaction");
  if (prepared.gid.ends_with('\0')) prepared.gid.remove_suffix(1);
  return prepared;
}

Result<CheckpointRecord> read_checkpoint(const WalRecord& record) {
  CheckpointRecord result;
  result.shutdown = record.operation() == kCheckpointShutdown;
  auto checkpoint = parse_checkpoint(record.main_data);
  if (!checkpoint) return damaged(record, "checkpoint");
  result.checkpoint = *checkpoint;
  return result;
}

// xl_restore_point: the time, and a name in a field of 64 bytes.
Result<RestorePoint> read_restore_point(const WalRecord& record) {
  ByteReader in(record.main_data);
  RestorePoint point;
  point.time = read_time(in);
  point.name = read_c_string(in, record.main_data);
  if (!in.ok()) return damaged(record, "restore point");
  return point;
}

Result<ParameterChange> read_parameter_change(const WalRecord& record) {
  ByteReader in(record.main_data);
  ParameterChange change;
  auto i32 = [&in] { return static_cast<int32_t>(in.u32()); };
  change.max_connections = i32();
  change.max_worker_processes = i32();
  change.max_wal_senders = i32();
  change.max_prepared_transactions = i32();
  change.max_locks_per_transaction = i32();
  change.wal_level = static_cast<WalLevel>(in.u32());
  change.wal_log_hints = in.u8() != 0;
  change.track_commit_timestamp = in.u8() != 0;
  if (!in.ok()) return damaged(record, "parameter change");
  return change;
}

Result<EndOfRecovery> read_end_of_recovery(const WalRecord& record, const VersionTraits& version) {
  ByteReader in(record.main_data);
  EndOfRecovery end;
  end.time = read_time(in);
  end.timeline = {in.u32()};
  end.previous_timeline = {in.u32()};
  if (version.records_state_wal_level) end.wal_level = static_cast<WalLevel>(in.u32());
  if (!in.ok()) return damaged(record, "end of recovery");
  return end;
}

std::optional<WalLevel> stated_wal_level(const WalRecord& record, const VersionTraits& version) {
  ByteReader in(record.main_data);
  switch (event_of(record, version)) {
    case WalEvent::parameter_change:
      in.bytes(kParameterLevelOffset);
      break;
    case WalEvent::checkpoint:
      if (!version.records_state_wal_level) return std::nullopt;
      in.bytes(kCheckpointLevelOffset);
      break;
    case WalEvent::checkpoint_redo:
      if (!version.records_state_wal_level) return std::nullopt;
      break;
    case WalEvent::end_of_recovery:
      if (!version.records_state_wal_level) return std::nullopt;
      in.bytes(kEndOfRecoveryLevelOffset);
      break;
    default:
      return std::nullopt;
  }
  auto level = static_cast<WalLevel>(in.u32());
  return in.ok() ? std::optional(level) : std::nullopt;
}

Result<BackupEnd> read_backup_end(const WalRecord& record) {
  ByteReader in(record.main_data);
  BackupEnd end{{in.u64()}};
  if (!in.ok()) return damaged(record, "backup end");
  return end;
}

Result<OverwriteContrecord> read_overwrite_contrecord(const WalRecord& record) {
  ByteReader in(record.main_data);
  OverwriteContrecord overwrite;
  overwrite.overwritten = {in.u64()};
  overwrite.time = read_time(in);
  if (!in.ok()) return damaged(record, "overwrite contrecord");
  return overwrite;
}

// xl_logical_message: 0 dbId, 4 transactional (1 byte), 8 prefix_size with its zero, 16 message_size, 24 both
// texts.
Result<LogicalMessage> read_logical_message(const WalRecord& record) {
  ByteReader in(record.main_data);
  LogicalMessage message;
  message.database = in.u32();
  message.transactional = in.u8() != 0;
  in.bytes(3);
  uint64_t prefix_size = in.u64();
  uint64_t content_size = in.u64();
  if (prefix_size > in.remaining() || content_size > in.remaining() - prefix_size) in.fail();
  if (!in.ok()) return damaged(record, "logical message");
  message.prefix = as_text(in.bytes(prefix_size));
  if (message.prefix.ends_with('\0')) message.prefix.remove_suffix(1);
  message.content = in.bytes(content_size);
  return message;
}

Result<RelationCreate> read_relation_create(const WalRecord& record) {
  ByteReader in(record.main_data);
  RelationCreate create;
  create.relation = read_relation(in);
  uint32_t fork = in.u32();
  if (fork > static_cast<uint32_t>(Fork::init)) in.fail();
  create.fork = static_cast<Fork>(fork);
  if (!in.ok()) return damaged(record, "relation create");
  return create;
}

Result<RelationTruncate> read_relation_truncate(const WalRecord& record) {
  ByteReader in(record.main_data);
  RelationTruncate truncate;
  truncate.blocks = in.u32();
  truncate.relation = read_relation(in);
  uint32_t flags = in.u32();
  truncate.heap = (flags & kTruncateHeap) != 0;
  truncate.vm = (flags & kTruncateVm) != 0;
  truncate.fsm = (flags & kTruncateFsm) != 0;
  if (!in.ok()) return damaged(record, "relation truncate");
  return truncate;
}

Result<DatabaseCreate> read_database_create(const WalRecord& record, const VersionTraits& version) {
  ByteReader in(record.main_data);
  DatabaseCreate create;
  create.file_copy = !(version.database_by_wal && record.operation() == kDatabaseCreateWal);
  create.database = in.u32();
  create.tablespace = in.u32();
  if (create.file_copy) {
    create.source_database = in.u32();
    create.source_tablespace = in.u32();
  }
  if (!in.ok()) return damaged(record, "database create");
  return create;
}

Result<DatabaseDrop> read_database_drop(const WalRecord& record) {
  ByteReader in(record.main_data);
  DatabaseDrop drop;
  drop.database = in.u32();
  drop.tablespaces.resize(read_count(in, sizeof(Oid)));
  for (Oid& tablespace : drop.tablespaces) tablespace = in.u32();
  if (!in.ok()) return damaged(record, "database drop");
  return drop;
}

}  // namespace lifeboat::pg
