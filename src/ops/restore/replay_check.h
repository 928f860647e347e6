// What a preflight reads WAL for (replayed_wal.h), done while the server already replays, so that its first
// query does not wait for it: `restore --instant`.
//
// A gate in the data directory (ops/wal/gate.h) hands a segment out when it has been read. What recovery must
// not meet closes it: a tablespace at a live place, settings that are too low, damage. The server ends there,
// before it, and whoever started it asks what was found.
//
// What was read can be put into pg_wal at once, a bounded way ahead of the server (placed_wal.h), so that no
// `wal get` reads it again, and with records that nobody needs made to do nothing (ops/wal/wal_filter.h).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ops/restore/owner.h"
#include "ops/restore/placed_wal.h"
#include "ops/restore/replayed_wal.h"
#include "ops/session.h"
#include "ops/wal/reach.h"
#include "ops/wal/wal_filter.h"
#include "pg/server/launcher.h"
#include "repo/manifest.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Shared buffers of a server that replays on a mount, for each byte of WAL: a full-page image may leave out
// the free part of its page, and small records change pages too. And the share of the memory at hand that
// they take at most: page cache and connections want the rest.
inline constexpr uint64_t kBuffersForWal = 2;
inline constexpr uint64_t kBuffersShare = 8;

struct PlacingOptions {
  std::string directory;  // of PlacedWal, made anew
  Owner owner;            // of the files in pg_wal
  PlacedSegments segments = PlacedSegments::kept;
  // Records that need not be replayed. Then the server gets no other WAL than this; without, `wal get` hands
  // out what is not there. May be empty.
  WalFilter::Needless needless;
  // That recovery follows, when its unfinished segment is put there too; nullopt: as it is stored.
  std::optional<WalPath> path;
};

struct ReplayCheckOptions {
  std::string directory;     // that the server is started in
  repo::Card backup;         //
  Timeline timeline;         // that recovery follows
  Lsn stop;                  // where it ends
  RecoveryTarget asked;      // a time, or anything else
  RecoveryMinimums granted;  // what the server's settings are certain to be
  std::optional<PlacingOptions> placing;
};

// Reads on a thread of its own until destroyed. Thread rule: one thread.
class ReplayCheck {
 public:
  // Closes the gate first. `lineage` outlives this.
  static Result<std::unique_ptr<ReplayCheck>> begin(const ChosenLineage& lineage, ReplayCheckOptions options);
  ~ReplayCheck();

  // The server answers: until then only what it needs for that is read, so that nothing takes the processor
  // from its first query.
  void go_on();
  // What the server does now: of what was put into pg_wal, what it has replayed goes away, and more comes.
  void watch(const pg::ServerState& state);
  // Whether reading has ended, well or not. Before that the gate has ended no server.
  bool ended() const;
  // Waits for the end of it: where recovery ends, which is earlier than planned when a commit time that goes
  // back ends it. Errors: precondition, unreachable, those of reading.
  Result<Lsn> stop();
  // What the settings have to be raised to before recovery can go on; empty: nothing. Waits as well.
  const RecoveryMinimums& raised();

 private:
  class Impl;
  explicit ReplayCheck(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lifeboat::ops
