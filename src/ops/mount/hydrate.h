// Brings every block of a mounted tree, until the directory below stands on its own.
//
// The tree is walked as it is now, so that files which the server removed cost nothing and files that it
// renamed are found. First what is small, then what is in use, then the rest; and again until a walk finds
// nothing that has a mark.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "ops/mount/base_file.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct HydrateOptions {
  std::vector<std::string> roots;  // paths of the trees below the mount
  int threads = 2;
  uint64_t total_bytes = 0;  // for progress
  uint64_t rate = 0;         // bytes per second, of the files; 0: no limit
};

// Errors: cancelled; the first of what could not be brought, after everything else was.
Status hydrate_trees(const repo::LineageRepo& repo, uint32_t block_size, BaseFiles& files, FetchPool& pool,
                     const HydrateOptions& options, Reporter& reporter, const StopToken& stop);

}  // namespace lifeboat::ops
