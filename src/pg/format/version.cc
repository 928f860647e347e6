#include "pg/format/version.h"

#include <array>

#include "util/strings.h"

namespace lifeboat::pg {

namespace {

// Sources, each in the release branch of that major: catalog/pg_control.h, catalog/catversion.h,
// access/xlog_internal.h, access/xlogrecord.h, access/xact.h, commands/dbcommands_xlog.h, utils/misc/guc*.c,
// access/transam/xlog*.c. docs/pg-versions.md has the same table for readers.
constexpr VersionTraits kV13 = {
    .major = 13,
    .control_version = 1300,
    .catalog_version = 202007201,
    .wal_magic = 0xD106,
    .backup_start = "pg_start_backup",
    .backup_stop = "pg_stop_backup",
    .exclusive_argument = true,
    .archive_library = false,
    .archive_exclusive = false,
    .read_replication_slot = false,
    .wal_summaries = false,
    .checksums_by_default = false,
    .stats_temp_directory = true,
    .page_image_flags = PageImageFlags::v13,
    .toplevel_xid = false,
    .dropped_stats_size = 0,
    .database_by_wal = false,
    .map_backslash = false,
    .control_signedness = false,
    .records_state_wal_level = false,
    .class_counts_all_frozen = false,
    .end_of_life = "2025-11-13",
};

// Each row states only what changed since the row before.
constexpr std::array<VersionTraits, 6> make_table() {
  std::array<VersionTraits, 6> table = {kV13, kV13, kV13, kV13, kV13, kV13};

  auto since = [&table](size_t first, auto change) {
    for (size_t i = first; i < table.size(); ++i) change(table[i]);
  };
  since(1, [](VersionTraits& v) {
    v.major = 14;
    v.catalog_version = 202107181;
    v.wal_magic = 0xD10D;
    v.toplevel_xid = true;
    v.map_backslash = true;
    v.end_of_life = "2026-11-12";
  });
  since(2, [](VersionTraits& v) {
    v.major = 15;
    v.catalog_version = 202209061;
    v.wal_magic = 0xD110;
    v.backup_start = "pg_backup_start";
    v.backup_stop = "pg_backup_stop";
    v.exclusive_argument = false;
    v.archive_library = true;
    v.read_replication_slot = true;
    v.stats_temp_directory = false;
    v.page_image_flags = PageImageFlags::v15;
    v.dropped_stats_size = 12;
    v.database_by_wal = true;
    v.end_of_life = "2027-11-11";
  });
  since(3, [](VersionTraits& v) {
    v.major = 16;
    v.catalog_version = 202307071;
    v.wal_magic = 0xD113;
    v.archive_exclusive = true;
    v.end_of_life = "2028-11-09";
  });
  since(4, [](VersionTraits& v) {
    v.major = 17;
    v.control_version = 1700;
    v.catalog_version = 202406281;
    v.wal_magic = 0xD116;
    v.wal_summaries = true;
    v.records_state_wal_level = true;
    v.end_of_life = "2029-11-08";
  });
  since(5, [](VersionTraits& v) {
    v.major = 18;
    v.control_version = 1800;
    v.catalog_version = 202506291;
    v.wal_magic = 0xD118;
    v.checksums_by_default = true;
    v.dropped_stats_size = 16;
    v.control_signedness = true;
    v.class_counts_all_frozen = true;
    v.end_of_life = "2030-11-14";
  });
  return table;
}

constexpr std::array<VersionTraits, 6> kVersions = make_table();

constexpr std::array<std::string_view, 5> kRecoveryMinimumSettings = {
    "max_connections",           "max_worker_processes",      "max_wal_senders",
    "max_prepared_transactions", "max_locks_per_transaction",
};

}  // namespace

std::string PgVersion::to_string() const {
  return cat(major(), ".", minor());
}

std::optional<PgVersion> PgVersion::parse_number(std::string_view server_version_num) {
  auto number = parse_u64(server_version_num);
  if (!number || *number < 100000 || *number > 9999999) return std::nullopt;
  return PgVersion{static_cast<int>(*number)};
}

std::span<const VersionTraits> supported_versions() {
  return kVersions;
}

const VersionTraits* find_version(int major) {
  for (const VersionTraits& version : kVersions) {
    if (version.major == major) return &version;
  }
  return nullptr;
}

const VersionTraits* find_version_by_catalog(uint32_t catalog_version) {
  for (const VersionTraits& version : kVersions) {
    if (version.catalog_version == catalog_version) return &version;
  }
  return nullptr;
}

const VersionTraits* find_version_by_wal_magic(uint16_t magic) {
  for (const VersionTraits& version : kVersions) {
    if (version.wal_magic == magic) return &version;
  }
  return nullptr;
}

Result<const VersionTraits*> require_version(int major) {
  if (const VersionTraits* version = find_version(major)) return version;
  int first = kVersions.front().major;
  int last = kVersions.back().major;
  Error error = make_error(ErrorKind::unsupported, "",
                           cat("PostgreSQL ", major, " is not supported: expected ", first, " to ", last));
  if (major > last) {
    return std::move(error).with_hint("use a lifeboat release that knows this PostgreSQL version");
  }
  return std::move(error).with_hint(
      "upgrade PostgreSQL; this version no longer gets fixes from its makers either");
}

Result<const VersionTraits*> parse_pg_version_file(std::string_view text) {
  auto major = parse_u64(trim(text));
  if (!major || *major == 0 || *major > 9999) {
    return make_error(ErrorKind::damaged, "PG_VERSION",
                      cat("expected a major version number, found \"", trim(text).substr(0, 20), "\""));
  }
  return require_version(static_cast<int>(*major));
}

std::span<const std::string_view> recovery_minimum_settings() {
  return kRecoveryMinimumSettings;
}

}  // namespace lifeboat::pg
