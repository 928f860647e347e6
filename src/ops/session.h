// What every verb begins with: a repository opened, a lineage chosen, a data directory recognised.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "model/names.h"
#include "pg/format/control_file.h"
#include "pg/format/version.h"
#include "repo/repository.h"
#include "util/result.h"

namespace lifeboat::ops {

// What --repo, --cluster and the key options say.
struct RepoLocation {
  std::string url;
  std::string cluster = "main";
  repo::KeySource key;
};

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
