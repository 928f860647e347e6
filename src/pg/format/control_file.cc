#include "pg/format/control_file.h"

#include "codec/codec.h"
#include "model/wal_name.h"
#include "pg/format/page.h"
#include "util/strings.h"

namespace lifeboat::pg {

namespace {

constexpr std::string_view kName = "pg_control";

// Offsets in ControlFileData, on machines where 64-bit integers are aligned to 8 bytes (all that we build
// for). They are the same in 13 to 18 up to data_checksum_version: 17 put Checkpoint.wal_level into padding.
// 18 put default_char_signedness after the checksum version, which moves the CRC from 288 to 292.
namespace at {
constexpr size_t kSystemId = 0;
constexpr size_t kControlVersion = 8;
constexpr size_t kCatalogVersion = 12;
constexpr size_t kState = 16;
constexpr size_t kTime = 24;
constexpr size_t kCheckpointLsn = 32;
constexpr size_t kCheckpoint = 40;
constexpr size_t kMinRecoveryPoint = 136;
constexpr size_t kMinRecoveryTimeline = 144;
constexpr size_t kBackupStart = 152;
constexpr size_t kBackupEnd = 160;
constexpr size_t kBackupEndRequired = 168;
constexpr size_t kWalLevel = 172;
constexpr size_t kWalLogHints = 176;
constexpr size_t kMaxConnections = 180;
constexpr size_t kMaxWorkerProcesses = 184;
constexpr size_t kMaxWalSenders = 188;
constexpr size_t kMaxPreparedXacts = 192;
constexpr size_t kMaxLocksPerXact = 196;
constexpr size_t kTrackCommitTimestamp = 200;
constexpr size_t kBlockSize = 216;
constexpr size_t kRelsegSize = 220;
constexpr size_t kWalBlockSize = 224;
constexpr size_t kWalSegmentSize = 228;
constexpr size_t kChecksumVersion = 252;
constexpr size_t kCrc = 288;
constexpr size_t kCrcWithSignedness = 292;
}  // namespace at

uint32_t u32(ByteView bytes, size_t offset) {
  return load_le<uint32_t>(bytes.data() + offset);
}
int32_t i32(ByteView bytes, size_t offset) {
  return load_le<int32_t>(bytes.data() + offset);
}
uint64_t u64(ByteView bytes, size_t offset) {
  return load_le<uint64_t>(bytes.data() + offset);
}
Lsn lsn_at(ByteView bytes, size_t offset) {
  return {u64(bytes, offset)};
}

// pg_time_t is a Unix time in seconds. Out of range for microseconds means damage, which the CRC would have
// shown.
Timestamp time_at(ByteView bytes, size_t offset) {
  auto seconds = load_le<int64_t>(bytes.data() + offset);
  constexpr int64_t kLimit = INT64_MAX / 1'000'000;
  return seconds > kLimit || seconds < -kLimit ? Timestamp{} : Timestamp::from_seconds(seconds);
}

Error damaged(std::string message) {
  return make_error(ErrorKind::damaged, std::string(kName), std::move(message));
}

Result<const VersionTraits*> version_of(ByteView bytes, std::optional<int> major) {
  uint32_t control_version = u32(bytes, at::kControlVersion);
  uint32_t catalog_version = u32(bytes, at::kCatalogVersion);
  if (control_version % 65536 == 0 && control_version / 65536 != 0) {
    return damaged("was written by a machine with another byte order");
  }
  if (major) {
    TRY_ASSIGN(const VersionTraits* version, require_version(*major));
    if (version->control_version != control_version) {
      return damaged(cat("has version ", control_version, ", but PG_VERSION says PostgreSQL ", *major,
                         ", which has ", version->control_version));
    }
    return version;
  }
  const VersionTraits* version = find_version_by_catalog(catalog_version);
  if (version != nullptr && version->control_version == control_version) return version;
  return make_error(ErrorKind::unsupported, std::string(kName),
                    cat("has control version ", control_version, " and catalog version ", catalog_version,
                        ", which belong to no release of PostgreSQL ", supported_versions().front().major,
                        " to ", supported_versions().back().major))
      .with_hint("pre-releases, forks and newer major versions are not supported");
}

Status check_sizes(const ControlFile& control) {
  if (!valid_page_size(control.block_size)) {
    return damaged(cat("has an impossible block size of ", control.block_size, " bytes"));
  }
  if (control.relation_segment_blocks == 0) return damaged("has a relation segment size of 0 blocks");
  uint32_t wal_block = control.wal_block_size;
  if (wal_block < 1024 || wal_block > 65536 || (wal_block & (wal_block - 1)) != 0) {
    return damaged(cat("has an impossible WAL block size of ", wal_block, " bytes"));
  }
  if (!SegmentSize::valid(control.wal_segment_size)) {
    return damaged(cat("has an impossible WAL segment size of ", control.wal_segment_size, " bytes"));
  }
  return {};
}

}  // namespace

std::string_view to_string(DbState state) {
  switch (state) {
    case DbState::startup:
      return "starting up";
    case DbState::shut_down:
      return "shut down";
    case DbState::shut_down_in_recovery:
      return "shut down in recovery";
    case DbState::shutting_down:
      return "shutting down";
    case DbState::in_crash_recovery:
      return "in crash recovery";
    case DbState::in_archive_recovery:
      return "in archive recovery";
    case DbState::in_production:
      return "in production";
  }
  return "unrecognized status code";
}

std::string_view to_string(WalLevel level) {
  switch (level) {
    case WalLevel::minimal:
      return "minimal";
    case WalLevel::replica:
      return "replica";
    case WalLevel::logical:
      return "logical";
  }
  return "unrecognized wal_level";
}

Result<Checkpoint> parse_checkpoint(ByteView bytes) {
  if (bytes.size() < Checkpoint::kSize) {
    return make_error(
        ErrorKind::damaged, "",
        cat("checkpoint is too short: expected ", Checkpoint::kSize, " bytes, found ", bytes.size()));
  }
  Checkpoint checkpoint;
  checkpoint.redo = lsn_at(bytes, 0);
  checkpoint.timeline = {u32(bytes, 8)};
  checkpoint.previous_timeline = {u32(bytes, 12)};
  checkpoint.full_page_writes = bytes[16] != 0;
  checkpoint.next_xid = u64(bytes, 24);
  checkpoint.next_oid = u32(bytes, 32);
  checkpoint.next_multi = u32(bytes, 36);
  checkpoint.next_multi_offset = u32(bytes, 40);
  checkpoint.oldest_xid = u32(bytes, 44);
  checkpoint.oldest_multi = u32(bytes, 52);
  checkpoint.time = time_at(bytes, 64);
  checkpoint.oldest_active_xid = u32(bytes, 80);
  return checkpoint;
}

Result<ControlFile> parse_control_file(ByteView bytes, std::optional<int> major) {
  if (bytes.size() < kControlFileMinimum) {
    return damaged(
        cat("is too short: expected at least ", kControlFileMinimum, " bytes, found ", bytes.size()));
  }
  TRY_ASSIGN(const VersionTraits* version, version_of(bytes, major));

  size_t crc_offset = version->control_signedness ? at::kCrcWithSignedness : at::kCrc;
  uint32_t computed = codec::crc32c(0xffffffff, bytes.first(crc_offset)) ^ 0xffffffff;
  uint32_t stored = u32(bytes, crc_offset);
  if (computed != stored) {
    return damaged(
        cat("has a wrong CRC: stored ", hex_number(stored, 8), ", computed ", hex_number(computed, 8)));
  }

  ControlFile control;
  control.major = version->major;
  control.system_id = {u64(bytes, at::kSystemId)};
  control.control_version = u32(bytes, at::kControlVersion);
  control.catalog_version = u32(bytes, at::kCatalogVersion);
  control.state = static_cast<DbState>(u32(bytes, at::kState));
  control.time = time_at(bytes, at::kTime);
  control.checkpoint_lsn = lsn_at(bytes, at::kCheckpointLsn);
  TRY_ASSIGN(control.checkpoint, parse_checkpoint(bytes.subspan(at::kCheckpoint)));
  control.min_recovery_point = lsn_at(bytes, at::kMinRecoveryPoint);
  control.min_recovery_timeline = {u32(bytes, at::kMinRecoveryTimeline)};
  control.backup_start = lsn_at(bytes, at::kBackupStart);
  control.backup_end = lsn_at(bytes, at::kBackupEnd);
  control.backup_end_required = bytes[at::kBackupEndRequired] != 0;
  control.wal_level = static_cast<WalLevel>(u32(bytes, at::kWalLevel));
  control.wal_log_hints = bytes[at::kWalLogHints] != 0;
  control.max_connections = i32(bytes, at::kMaxConnections);
  control.max_worker_processes = i32(bytes, at::kMaxWorkerProcesses);
  control.max_wal_senders = i32(bytes, at::kMaxWalSenders);
  control.max_prepared_transactions = i32(bytes, at::kMaxPreparedXacts);
  control.max_locks_per_transaction = i32(bytes, at::kMaxLocksPerXact);
  control.track_commit_timestamp = bytes[at::kTrackCommitTimestamp] != 0;
  control.block_size = u32(bytes, at::kBlockSize);
  control.relation_segment_blocks = u32(bytes, at::kRelsegSize);
  control.wal_block_size = u32(bytes, at::kWalBlockSize);
  control.wal_segment_size = u32(bytes, at::kWalSegmentSize);
  control.data_checksum_version = u32(bytes, at::kChecksumVersion);
  TRY(check_sizes(control));
  return control;
}

}  // namespace lifeboat::pg
