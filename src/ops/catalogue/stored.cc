#include "ops/catalogue/stored.h"

#include <algorithm>
#include <array>

#include "util/strings.h"

namespace lifeboat::ops {
namespace {

// `below` the lineage.
uint64_t& share_of(std::string_view below, StoredBytes& stored) {
  if (below.starts_with(repo::kDumpsFolder)) return stored.dumps;
  const std::string_view folder = below.substr(0, below.find('/'));
  static constexpr std::array<std::string_view, 3> kBackups = {"packs", "manifests", "cards"};
  static constexpr std::array<std::string_view, 3> kWal = {"wal", "tails", "summaries"};
  if (std::ranges::find(kBackups, folder) != kBackups.end()) return stored.backups;
  return std::ranges::find(kWal, folder) != kWal.end() ? stored.wal : stored.other;
}

}  // namespace

Result<StoredBytes> measure_stored(const repo::Repository& repository, const std::string& cluster) {
  const std::string prefix = cat("clusters/", cluster, "/");
  StoredBytes stored;
  TRY(repository.store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
    std::string_view below = std::string_view(info.name).substr(prefix.size());
    below.remove_prefix(std::min(below.find('/') + 1, below.size()));  // the lineage
    share_of(below, stored) += info.size;
    return {};
  }));
  return stored;
}

}  // namespace lifeboat::ops
