// The process that fetches WAL ahead of a recovery: left behind by a `wal get` (ops/wal/prefetch.h has the
// layout of its directory and the rules).
//
// One for each directory: it holds a lock, and a second one ends at once. It clears the directory, and
// removes those of other recoveries whose fetcher is gone; then it fetches, on several threads, the segments
// that follow the one that was delivered last, and removes those that are none of them. What is missing in
// the repository, or cannot be had, ends the row until the next request; nobody is told, because every call
// asks the repository itself for what it does not find here.
//
// It ends when nobody asked for a while, and by SIGTERM, and takes its directory with it. Its exit code is 0
// whatever happens: where the server is process 1 (containers) it inherits us, and would take anything else
// for the crash of one of its own.
#pragma once

#include <string>
#include <vector>

#include "model/wal_name.h"
#include "ops/wal/prefetch.h"
#include "util/result.h"

namespace lifeboat::ops {

// Leaves a fetcher behind that begins behind `delivered`, with at most `segments` in the spool. The process
// must have one thread. That it runs does not mean that it could begin.
Status leave_fetcher(const PrefetchPlace& place, const SegmentName& delivered, int segments);

// The fetcher's whole life, in the calling process, for tests: until nobody asked for `idle_ms`, or `stop` of
// the place's repo is requested. `busy` when another one has the directory.
Status fetch_ahead(const PrefetchPlace& place, const SegmentName& delivered, int segments, int idle_ms);

// What fetchers left that were killed: directories of `spool` whose lock nobody holds. Their locks are taken
// for a moment. Empty when there is no such spool.
struct AbandonedSpool {
  std::string directory;
  uint64_t bytes = 0;  // on disk
};
Result<std::vector<AbandonedSpool>> list_abandoned(const std::string& spool);
// Removes them, and nothing else that lies in `spool`.
Status remove_abandoned(const std::string& spool);

}  // namespace lifeboat::ops
