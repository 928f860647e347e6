// What a cluster takes in the repository, by what it is for. From one listing of all its objects: for
// reports, not for what runs every minute.
#pragma once

#include <cstdint>
#include <string>

#include "repo/repository.h"
#include "util/result.h"

namespace lifeboat::ops {

struct StoredBytes {
  uint64_t backups = 0;  // packs, manifests, cards of physical backups
  uint64_t wal = 0;      // with its summaries and tails
  uint64_t dumps = 0;
  uint64_t other = 0;  // evidence, leases, tombstones, registrations
  uint64_t total() const { return backups + wal + dumps + other; }
};

// Of all lineages. Errors: those of the store.
Result<StoredBytes> measure_stored(const repo::Repository& repository, const std::string& cluster);

}  // namespace lifeboat::ops
