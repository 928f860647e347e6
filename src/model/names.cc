#include "model/names.h"

#include "util/strings.h"

namespace lifeboat {

Result<std::string> check_cluster_name(std::string_view text) {
  constexpr std::string_view kFirst = "abcdefghijklmnopqrstuvwxyz0123456789";
  constexpr std::string_view kRest = "abcdefghijklmnopqrstuvwxyz0123456789_-";
  if (text.empty() || text.size() > 63 || kFirst.find(text[0]) == std::string_view::npos ||
      text.find_first_not_of(kRest) != std::string_view::npos) {
    return make_error(ErrorKind::usage, cat("cluster \"", text, "\""), "not a cluster name")
        .with_hint("use 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit");
  }
  return std::string(text);
}

std::optional<Lineage> Lineage::parse(std::string_view text) {
  size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  auto id = parse_u64(text.substr(0, dash));
  auto major = parse_u64(text.substr(dash + 1));
  if (!id || !major || *major > 999) return std::nullopt;
  return Lineage{{*id}, static_cast<int>(*major)};
}

std::string Lineage::to_string() const {
  return cat(system_id.value, "-", major);
}

std::optional<BackupId> BackupId::parse(std::string_view text) {
  if (text.size() != 23 || text[8] != 'T' || text[15] != 'Z' || text[16] != '-') return std::nullopt;
  auto digits = [&](size_t from, size_t count, std::string_view allowed) {
    return text.substr(from, count).find_first_not_of(allowed) == std::string_view::npos;
  };
  constexpr std::string_view kDecimal = "0123456789";
  if (!digits(0, 8, kDecimal) || !digits(9, 6, kDecimal) || !digits(17, 6, "0123456789abcdef"))
    return std::nullopt;
  return BackupId{std::string(text)};
}

BackupId BackupId::make(Timestamp start, uint32_t random) {
  return {cat(start.to_compact(), "-", to_lower(hex_number(random & 0xffffff, 6)))};
}

std::string_view to_string(BackupType type) {
  switch (type) {
    case BackupType::full:
      return "full";
    case BackupType::diff:
      return "diff";
    case BackupType::incr:
      return "incr";
  }
  return "?";
}

std::optional<BackupType> parse_backup_type(std::string_view text) {
  for (auto type : {BackupType::full, BackupType::diff, BackupType::incr}) {
    if (text == to_string(type)) return type;
  }
  return std::nullopt;
}

}  // namespace lifeboat
