// Makes restored trees survive a power cut: every file and every directory, tablespaces too (T34).
//
// Where the kernel promises that syncfs(2) writes everything and reports write errors (Linux 5.8 on, local
// file systems), one call per file system does it and costs least. Elsewhere (network file systems, FUSE,
// older kernels) each file and directory is synced by itself, in parallel.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "util/files.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

class DurableTrees {
 public:
  // Call before anything is written below `roots` (existing directories): the kernel reports write errors
  // since then.
  static Result<DurableTrees> watch(std::vector<std::string> roots);
  // Returns when everything below the roots, and the roots' own entries in their parents, are durable.
  Status sync(int workers, const StopToken& stop);

 private:
  struct FileSystem {
    Fd fd;
    std::string path;
    bool whole = false;  // syncfs can be relied on
  };
  std::vector<std::string> roots_;
  std::vector<FileSystem> file_systems_;
  std::vector<size_t> of_root_;  // index into file_systems_
};

// Syncs each file and directory below `root`, and `root`. Symbolic links are not followed.
Status sync_each(const std::string& root, int workers, const StopToken& stop);

}  // namespace lifeboat::ops
