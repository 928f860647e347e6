// What every verb begins with: a repository opened, a lineage chosen, a data directory recognised.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "model/names.h"
#include "pg/format/control_file.h"
#include "pg/format/version.h"
#include "repo/repository.h"
#include "storage/store.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// How long a repository that does not answer is asked again (--retry-time).
struct Patience {
  int64_t us = 0;                              // after the first failure of a call; 0: not at all
  int64_t in_all_us = INT64_MAX;               // by all calls together
  const StopToken* stop = nullptr;             // ends the waiting
  std::function<void(std::string_view)> note;  // hears of it, on any thread

  // For callers who are called again by somebody else, or whose answer is wanted soon.
  Patience shortened_to(int64_t longest_us) const;
};

// The archiver and a standby try again by themselves, and what the server has to do meanwhile waits for us.
inline constexpr int64_t kArchiverPatienceUs = 10'000'000;

// What --repo, --cluster, the key options and --retry-time say.
struct RepoLocation {
  std::string url;
  std::string cluster = "main";
  repo::KeySource key;
  Patience patience = {};
};

// The store with all its wrappers. That it is not there at all is told at once: a path is more often wrong
// than about to be mounted.
Result<std::unique_ptr<storage::Store>> open_store(const RepoLocation& location, storage::StoreMode mode);
Result<repo::Repository> open_repository(const RepoLocation& location);

// The lineage to act in: the one asked for, else the newest registered (by registration time, T39).
// `not_found` when the cluster is not registered; `others` tells how many more there are, so that the caller
// can say which was taken.
struct ChosenLineage {
  repo::LineageRepo repo;
  repo::LineageRecord record;
  size_t others = 0;
};
Result<ChosenLineage> choose_lineage(const repo::Repository& repository, const std::string& cluster,
                                     std::optional<Lineage> asked = std::nullopt);
// The lineage of a data directory or server; `foreign` when the cluster name has not seen it (T26).
Result<ChosenLineage> lineage_of(const repo::Repository& repository, const std::string& cluster,
                                 const Lineage& lineage);

struct DataDirFacts;
// The same for a data directory whose WAL is to be stored; `foreign` too when its WAL segments are of another
// size than those that were registered (T12).
Result<ChosenLineage> lineage_of(const repo::Repository& repository, const std::string& cluster,
                                 const DataDirFacts& facts);

// By this host's clock.
BackupId new_backup_id();

// A data directory as its files describe it; the server need not run.
struct DataDirFacts {
  std::string path;  // absolute, symbolic links resolved
  pg::ControlFile control;
  const pg::VersionTraits* version = nullptr;
  Lineage lineage;
  uid_t owner = 0;
  gid_t group = 0;
  mode_t mode = 0700;
};
// Reads PG_VERSION and global/pg_control (again until its CRC holds, T04). `precondition` when it is no data
// directory.
Result<DataDirFacts> read_data_dir(const std::string& path);

}  // namespace lifeboat::ops
