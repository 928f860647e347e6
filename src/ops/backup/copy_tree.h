// Walks the data directory and hands everything that belongs into a backup to the copy pool.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "ops/backup/copy_pool.h"
#include "ops/backup/incremental.h"
#include "pg/files/external_config.h"
#include "pg/files/source.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

// What there is to copy, by listing alone: for the progress display and the plan.
struct Measure {
  uint64_t files = 0;
  uint64_t bytes = 0;
};
Result<Measure> measure_tree(pg::FileSource& source, const StopToken& stop);

struct CopiedTree {
  std::vector<repo::ExternalFile> external_files;
  std::vector<std::string> warnings;         // what was left out and why
  std::map<Oid, uint64_t> tablespace_bytes;  // sizes of the files, as they were listed
};

// `tablespaces`: oids that exist since the backup's start; a link to another one was made since and is left
// out, because WAL makes it anew. Copies the data directory to "pgdata" and the external configuration files
// to "config", pg_control last (T04). Returns when everything was read; the pool is finished by the caller.
// `incremental`: null for a full backup.
Result<CopiedTree> copy_tree(CopyPool& pool, pg::FileSource& source, const repo::LineageRepo& repo,
                             Incremental* incremental, int major, const std::set<Oid>& tablespaces,
                             const std::vector<pg::ConfigFile>& config_files, StopToken& stop);

}  // namespace lifeboat::ops
