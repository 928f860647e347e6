// `wal get`: one WAL file out of the repository for restore_command.
//
// PostgreSQL reads every plain failure as "the archive ends here" and promotes, so the one thing that must
// never happen is an outage that looks like absence (T29). `absent` is returned only when the repository
// answered, the cluster is registered, the listing holds no object of that name, and the repository is still
// there after the listing. What was fetched ahead (ops/wal/prefetch.h) is delivered without asking.
//
// The tail of a segment that is not stored whole (ops/wal/tail.h) is delivered, with zeros behind it, when it
// ends the archive and brings more than the directory of the target already has of that segment.
//
// A segment that waits to be checked is not handed out before (ops/wal/gate.h).
//
// A file is delivered whole or not at all (T30): written without a name in the target's directory (or under a
// temporary one), checked against its name, size, seal, system identifier and position, synced, and only then
// named.
#pragma once

#include <optional>
#include <string>

#include "ops/session.h"
#include "ops/wal/prefetch.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct WalGetOptions {
  RepoLocation repo;
  std::string name;                // %f
  std::string path;                // %p; relative to the working directory
  std::string working_directory;   // its global/pg_control, when there is one, tells the lineage
  std::optional<Lineage> lineage;  // else this one, else the newest registered
  PrefetchOptions prefetch;        // what follows is fetched meanwhile
  const StopToken* stop = nullptr;
};

enum class WalGetOutcome : uint8_t {
  delivered,
  prefetched,  // delivered from the spool
  absent,
};

// Errors, none of which is not_found: usage (no name of a WAL file), precondition (a spool in a data
// directory), foreign (the lineages differ or the cluster name has not seen this one), conflict (two contents
// are stored under the name: T46), damaged, unavailable, the store's.
Result<WalGetOutcome> get_wal(const WalGetOptions& options);

}  // namespace lifeboat::ops
