// What is in a repository: `list` reads cards and evidence only, `show` one manifest.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/catalogue/proof.h"
#include "ops/session.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

struct CatalogueEntry {
  repo::Card card;
  BackupProofs proofs;
};

struct CatalogueLineage {
  repo::LineageRecord record;
  std::vector<CatalogueEntry> backups;  // by time
  std::vector<Error> problems;          // cards and evidence that could not be read
};

struct Catalogue {
  std::string cluster;
  std::vector<CatalogueLineage> lineages;  // oldest registration first
};

enum class ListAttempts : uint8_t { hide, show };
// Errors: not_found when the cluster is not registered (names those that are).
Result<Catalogue> read_catalogue(const repo::Repository& repository, const std::string& cluster,
                                 ListAttempts attempts);

// One backup with its lineage. `id` as typed: an id, or "latest" (the newest complete one). not_found lists
// what is near.
struct FoundBackup {
  ChosenLineage lineage;
  repo::Card card;
};
Result<FoundBackup> find_backup(const repo::Repository& repository, const std::string& cluster,
                                const std::string& id);

struct BackupDetails {
  repo::LineageRecord lineage;
  repo::Manifest manifest;
  BackupProofs proofs;
  std::string location;   // URL and names of its objects
  std::string first_wal;  // segment names from start to stop
  std::string last_wal;
  uint64_t wal_segments = 0;
  struct LargeRelation {
    std::string path;  // "base/5/16384", all segments of its main fork together
    uint64_t bytes = 0;
  };
  std::vector<LargeRelation> largest;
  // Whose packs hold its blocks; more than one when it shares them. Newest first.
  struct Origin {
    BackupId backup;
    uint64_t bytes = 0;  // plain
  };
  std::vector<Origin> origins;
};
Result<BackupDetails> describe_backup(const repo::Repository& repository, const std::string& cluster,
                                      const std::string& id, size_t largest);

}  // namespace lifeboat::ops
