// Which directories a restore writes and what goes into each: the tree's files counted, tablespaces placed
// (T11).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ops/restore/options.h"
#include "ops/restore/plan.h"
#include "repo/manifest.h"
#include "repo/tree.h"
#include "util/stop.h"

namespace lifeboat::ops {

// What the tree of a backup holds, without reading any file.
struct TreeSurvey {
  struct Part {
    uint64_t files = 0;
    uint64_t bytes = 0;      // plain
    uint64_t allocated = 0;  // rounded up to 4 kB per file
  };
  Part data_directory;              // without external tablespaces
  std::map<Oid, Part> tablespaces;  // external ones
  std::set<std::string> top;        // names at the top of the data directory
  std::vector<std::string> links;   // symbolic links other than tablespaces: "path → target"
  uint32_t mode = 0700;             // of the data directory
  repo::NodeRef pgdata;             // the data directory's node
  std::optional<repo::NodeRef> config;
};
// Reads every directory node of the tree; so a damaged one is found before anything is touched.
Result<TreeSurvey> survey_tree(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                               const StopToken& stop);

// Where everything goes. [0] is the data directory. `suffix` names this restore ("20261120T105625Z"). Looks
// at the directories of this host. Errors: precondition (occupied directory or tablespace location, with what
// to do), usage (--tablespace that names no tablespace, relative or nested directories), permission.
Result<std::vector<Placement>> place_trees(const repo::Manifest& manifest, const TreeSurvey& survey,
                                           const RestoreOptions& options, const std::string& suffix);

// Is `path` a mount point, as far as its parent tells?
bool is_mount_point(const std::string& path);

}  // namespace lifeboat::ops
