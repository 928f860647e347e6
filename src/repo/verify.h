// Reads every byte of every object of every cluster and says what is wrong (V1 "hashed"; restore drills prove
// more).
//
// Dumps are checked as backups are. Checked: names, headers, every frame's seal, nothing behind the last
// frame, pack footers equal to the frames that are there, every tree of every backup that counts (references
// exist, lengths, hashes of ranges), manifests against cards, WAL content against its name, key slots and
// marker. Objects that nothing knows and packs that nothing refers to are reported but are not damage.
// Whether WAL is continuous and its records whole is ops' to check.
//
// Memory: bounded by workers × frame size, one bit per node frame and `reference_budget` data references;
// more references are checked in several batches.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "repo/repository.h"
#include "util/stop.h"

namespace lifeboat::repo {

enum class DamageKind : uint8_t {
  unreadable,    // the store could not read it; may be an outage
  damaged,       // bytes do not match seal, hash or structure
  missing,       // something refers to an object or frame that is not there
  conflict,      // two contents for one WAL file
  inconsistent,  // whole, but contradicts another object
};
std::string_view to_string(DamageKind kind);

struct Damage {
  DamageKind kind = DamageKind::damaged;
  std::string object;  // full name
  std::string message;
  std::string cluster;  // empty outside clusters
  std::string lineage;
  std::vector<std::string> backups;  // that cannot be restored whole because of it, as far as known
};

struct VerifyTotals {
  uint64_t objects = 0;
  uint64_t bytes = 0;  // stored bytes read
  uint64_t packs = 0;
  uint64_t frames = 0;
  uint64_t backups = 0;
  uint64_t wal_files = 0;
  uint64_t references = 0;
};

struct VerifyReport {
  std::vector<Damage> damage;             // by object name
  uint64_t damage_not_listed = 0;         // past `damage_limit`
  std::vector<std::string> unknown;       // names that nothing here makes (the first 1,000)
  std::vector<std::string> unreferenced;  // packs and manifests that no backup reaches (the first 1,000)
  struct BackupVerdict {
    std::string cluster;
    Lineage lineage;
    BackupId id;
    bool whole = false;
    bool dump = false;
  };
  std::vector<BackupVerdict> backups;  // those that count: complete or damaged, not condemned
  VerifyTotals totals;
  bool ok() const { return damage.empty() && damage_not_listed == 0; }
};

struct VerifyOptions {
  int workers = 1;
  std::string cluster;                // empty: every cluster and everything else
  size_t reference_budget = 1 << 19;  // 48 bytes each
  size_t damage_limit = 10000;
  StopToken* stop = nullptr;
  bool take_lease = true;  // a reader lease per lineage, so that nothing verified is collected meanwhile
  std::function<void(const VerifyTotals&)> progress;  // from any worker, one at a time
};

// An Error is returned only when verifying itself could not go on (listing failed, stopped).
Result<VerifyReport> verify_repository(const Repository& repository, const VerifyOptions& options);

}  // namespace lifeboat::repo
