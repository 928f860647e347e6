// backup_manifest: PostgreSQL's own list of the files of a backup (13 on), made at restore from what is
// written, so that pg_verifybackup can check the directory before its first start.
//
// Format: src/backend/backup/backup_manifest.c (before 15 src/backend/replication/backup_manifest.c) and
// src/common/parse_manifest.c. Version 1 up to 16, version 2 with the system identifier from 17 on. Files
// carry CRC-32C, the whole SHA-256. pg_verifybackup of every major skips pg_wal, backup_manifest,
// postgresql.auto.conf, recovery.signal and standby.signal, so these are not listed. It reads the WAL range
// with pg_waldump from pg_wal, which is empty here: call it with --no-parse-wal.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "codec/codec.h"
#include "model/lsn.h"
#include "pg/format/version.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

struct BackupManifestHead {
  const pg::VersionTraits* version = nullptr;
  SystemId system_id;
};

struct BackupManifestWal {
  Timeline timeline;
  Lsn start;
  Lsn stop;
};

// Whether pg_verifybackup looks at a path, relative to the data directory.
bool listed_in_backup_manifest(std::string_view path);

// Streams the manifest into a file. One thread at a time. The checksum of the whole is taken on the way, so
// memory does not grow with the number of files (T42).
class BackupManifestWriter {
 public:
  static Result<BackupManifestWriter> create(const std::string& path, mode_t mode,
                                             const BackupManifestHead& head);
  // `crc`: CRC-32C of the content; `mtime_us` since 1970.
  Status add(std::string_view path, uint64_t size, int64_t mtime_us, uint32_t crc);
  Status finish(const BackupManifestWal& wal);

 private:
  BackupManifestWriter(Fd fd, std::string path)
      : fd_(std::move(fd)), path_(std::move(path)), sum_(std::make_unique<codec::Hasher256>()) {}
  Status flush();
  Fd fd_;
  std::string path_;
  std::string buffer_;
  std::unique_ptr<codec::Hasher256> sum_;  // of what is flushed
  uint64_t size_ = 0;                      // flushed
  bool first_ = true;
};

}  // namespace lifeboat::ops
