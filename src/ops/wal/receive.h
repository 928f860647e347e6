// `wal receive`: WAL streamed from a server through a replication slot, into the repository, as it is
// written.
//
// Whole segments are stored as `wal push` stores them, by the same checks, so that both may run at once. Of
// the segment at hand the tail is stored at short intervals (repo/wal_tail.h), or at once when the receiver
// is to be a synchronous standby. What is reported to the server as flushed is in the repository (T25): the
// server keeps everything else for us, and a commit that waits for us waits for that.
//
// At every connection the server has to be the one that is registered (system identifier, version, segment
// size: T26), and a primary unless a standby was allowed (T25). History files are stored before any WAL of
// their timeline (T23); after a promotion the old timeline is received to its end first (T24). WAL that the
// server has removed before we had it is a hole: noted, and recorded in the repository (T27).
//
// Lost connections and servers are tried again for ever, stores too. What ends it: a request to stop, and
// what time does not heal. Then what had arrived is stored and acknowledged first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/session.h"
#include "ops/wal/wal_keeper.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct ReceiveOptions {
  RepoLocation repo;
  std::string conninfo;  // several hosts: the first that accepts writes, or any with allow_standby
  std::string slot;      // empty: default_slot_name()
  KeeperOptions keep;
  bool allow_standby = false;
  std::optional<Lsn> until;  // end when everything before it is stored
};

// WAL that the server had removed before it was received.
struct ReceiveHole {
  Timeline timeline;
  Lsn from;
  Lsn to;
};

struct ReceiveOutcome {
  Lineage lineage;
  std::string slot;
  Timeline timeline;
  Lsn durable;               // everything before is stored and was acknowledged
  uint64_t bytes = 0;        // received
  uint64_t connections = 0;  // that streamed
  KeeperTotals kept;
  std::vector<ReceiveHole> holes;
};

// "lifeboat_<cluster>", dashes as underscores.
std::string default_slot_name(const std::string& cluster);

// Returns when it is stopped and everything received is stored, or `until` is reached. Errors: usage (slot),
// foreign, conflict (T46), damaged, config, those of the first connection that trying again does not mend;
// unavailable when it was stopped while the repository was away.
Result<ReceiveOutcome> receive_wal(const ReceiveOptions& options, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
