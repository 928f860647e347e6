// What differs between the supported PostgreSQL majors, as data.
//
// A new major is one more row in version.cc; code asks the row and never compares major numbers.
// docs/pg-versions.md repeats the table with its sources. Everything here is constant and may be used from
// any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "util/result.h"

namespace lifeboat::pg {

// A server's version as server_version_num gives it: 150004 is 15.4.
struct PgVersion {
  int number = 0;

  int major() const { return number / 10000; }
  int minor() const { return number % 10000; }
  std::string to_string() const;  // "15.4"
  // "150004"; nullopt for anything that is not a server_version_num of PostgreSQL 10 or later.
  static std::optional<PgVersion> parse_number(std::string_view server_version_num);
  auto operator<=>(const PgVersion&) const = default;
};

// How the flag byte of a full-page image in a WAL record is to be read (src/include/access/xlogrecord.h).
enum class PageImageFlags : uint8_t {
  v13,  // 13, 14: hole 0x01, compressed 0x02 (pglz only), apply 0x04
  v15,  // 15 on: hole 0x01, apply 0x02, pglz 0x04, lz4 0x08, zstd 0x10
};

struct VersionTraits {
  int major;
  uint32_t control_version;  // PG_CONTROL_VERSION, src/include/catalog/pg_control.h
  uint32_t
      catalog_version;  // CATALOG_VERSION_NO of every release of this major, src/include/catalog/catversion.h
  uint16_t wal_magic;   // XLOG_PAGE_MAGIC, src/include/access/xlog_internal.h
  std::string_view backup_start;  // name of the SQL function
  std::string_view backup_stop;   //
  bool exclusive_argument;     // both functions take an `exclusive` argument, which we set to false (13, 14)
  bool archive_library;        // the setting exists (15 on)
  bool archive_exclusive;      // archive_command and archive_library must not both be set (16 on)
  bool read_replication_slot;  // replication command READ_REPLICATION_SLOT (15 on)
  bool wal_summaries;          // summarize_wal, pg_walsummary, UPLOAD_MANIFEST (17 on)
  bool checksums_by_default;   // initdb turns data checksums on (18 on)
  bool stats_temp_directory;   // the setting exists; it may point out of pg_stat_tmp (13, 14)
  PageImageFlags page_image_flags;
  bool toplevel_xid;           // WAL records may carry block id 252, XLR_BLOCK_ID_TOPLEVEL_XID (14 on)
  uint8_t dropped_stats_size;  // bytes of one dropped-statistics entry in commit records: 0 none, 12, or 16
  bool database_by_wal;        // CREATE DATABASE may be logged block by block; RM_DBASE codes moved (15 on)
  bool map_backslash;  // tablespace_map writes a backslash as two (14 on); before, only line ends are escaped
  bool control_signedness;       // pg_control holds default_char_signedness, which moves its CRC (18 on)
  bool records_state_wal_level;  // checkpoint, redo and end-of-recovery records hold wal_level (17 on)
  bool class_counts_all_frozen;  // pg_class has relallfrozen, which moves what follows it (18 on)
  std::string_view end_of_life;  // last day of community support, "2025-11-13"
};

// Ascending by major.
std::span<const VersionTraits> supported_versions();
// nullptr: not supported.
const VersionTraits* find_version(int major);
// nullptr: no supported release has it (a pre-release, a fork, a newer major).
const VersionTraits* find_version_by_catalog(uint32_t catalog_version);
const VersionTraits* find_version_by_wal_magic(uint16_t magic);
// `unsupported`, naming the range that is supported and what to do.
Result<const VersionTraits*> require_version(int major);
// The contents of PG_VERSION ("15\n"); `damaged` when it is no number, `unsupported` as require_version.
Result<const VersionTraits*> parse_pg_version_file(std::string_view text);

// Settings that recovery requires to be at least as high as on the primary (T32); the same in all supported
// majors (src/backend/access/transam/xlogrecovery.c, CheckRequiredParameterValues). wal_level is checked
// apart.
std::span<const std::string_view> recovery_minimum_settings();

}  // namespace lifeboat::pg
