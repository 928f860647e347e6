// Names that users choose or that we make: clusters, lineages, backups.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "util/result.h"

namespace lifeboat {

// 1 to 63 of [a-z0-9_-], first a letter or digit. A path element in the repository.
Result<std::string> check_cluster_name(std::string_view text);

// One history of a cluster: a system identifier under one major version. pg_upgrade and initdb start a new
// one.
struct Lineage {
  SystemId system_id;
  int major = 0;                                               // 13 … 18
  static std::optional<Lineage> parse(std::string_view text);  // "7424242424242424242-15"
  std::string to_string() const;
  auto operator<=>(const Lineage&) const = default;
};

// "20261120T105625Z-4f2a9c": start in UTC and six random hex digits. Orders by time (T39).
struct BackupId {
  std::string text;
  static std::optional<BackupId> parse(std::string_view text);
  static BackupId make(Timestamp start, uint32_t random);
  auto operator<=>(const BackupId&) const = default;
};

enum class BackupType : uint8_t { full, diff, incr };
std::string_view to_string(BackupType type);
std::optional<BackupType> parse_backup_type(std::string_view text);

}  // namespace lifeboat
