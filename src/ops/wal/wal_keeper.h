// Makes received WAL durable while it goes on arriving.
//
// Two threads of its own work on it. One stores the tail of the segment at hand, piece by piece: at once and
// with everything that has arrived meanwhile (a synchronous commit waits for it), or when a byte has waited
// for an interval. The other stores whole segments, removes their tails, and merges pieces as they age. A
// store that fails is tried again for ever, with growing pauses: what is not durable is not acknowledged, and
// the server keeps it. After each object the repository's marker is looked at, so that WAL that went into the
// bare mount point of a repository that is not there is not taken for stored.
//
// Room is for the segment at hand and the one before it, twice wal_segment_size; take() takes no more until
// the older one is stored. That is the back-pressure.
//
// Thread rule: the public functions are for one thread, the one that receives.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "ops/session.h"
#include "ops/wal/incoming.h"
#include "repo/wal_tail.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/reporter.h"
#include "util/result.h"

namespace lifeboat::ops {

struct KeeperOptions {
  int64_t interval_us = 1'000'000;  // the longest that a byte waits for its piece
  bool at_once = false;             // store pieces as bytes arrive: group commit
};

struct KeeperTotals {
  uint64_t segments = 0;  // stored whole
  uint64_t pieces = 0;    // of tails, merged ones not counted
  uint64_t merged = 0;    // pieces made of others
  uint64_t failures = 0;  // of the store
};

class WalKeeper {
 public:
  // All references must outlive it.
  static Result<std::unique_ptr<WalKeeper>> create(const ChosenLineage& lineage, const KeeperOptions& options,
                                                   Reporter& reporter, Clock& clock);
  ~WalKeeper();  // abandons what is not stored; see settle()
  WalKeeper(const WalKeeper&) = delete;
  WalKeeper& operator=(const WalKeeper&) = delete;

  // What follows is WAL of `timeline` from `at`, a segment's begin, on. What was taken before must be settled
  // (CHECKed). Reads the tail that is stored of that segment, so that what comes can be compared with it.
  Status begin(Timeline timeline, Lsn at);
  // Takes as many of the bytes as there is room for; they follow those that were taken before. `conflict`
  // when they are not what is stored.
  Result<size_t> take(ByteView bytes);
  Lsn received() const;
  // Everything before is in the repository. Never goes back but by begin().
  Lsn durable() const;
  // Stores what there is without waiting for the interval.
  void hurry();
  // Waits until everything that was taken is durable and the threads rest. `stop` (may be null) shortens the
  // wait to `grace_us` from then on. Errors: what made a thread give up; unavailable when the time is over.
  Status settle(const StopToken* stop, int64_t grace_us);
  // Readable when durable() has grown, there is room again, or a thread has given up; clear_wake() ends that.
  int wake_fd() const { return wake_.get(); }
  void clear_wake();
  // What a thread gave up for: conflict, damaged and other errors that time does not heal.
  std::optional<Error> error() const;
  KeeperTotals totals() const;

 private:
  using Lock = std::unique_lock<std::mutex>;
  using Shared = std::shared_ptr<IncomingSegment>;

  WalKeeper(const ChosenLineage& lineage, const KeeperOptions& options, Reporter& reporter, Clock& clock,
            Fd wake);

  void store_tails();
  void store_segments();
  // The first segment with bytes that are in no piece; null: none.
  Shared waiting_for_tail() const;
  bool tail_is_due(const IncomingSegment& segment) const;
  Status store_piece(Lock& lock, const Shared& segment);
  Status store_whole(Lock& lock, const Shared& segment);
  Status merge_pieces(Lock& lock, const Shared& segment, size_t first);
  void remove_pieces(const std::vector<repo::TailPiece>& pieces);
  Status check_marker() const;
  Status next_segment(SegmentName name);
  bool rests() const;
  void publish();
  void wake();
  // After a failure of a thread: notes it and waits. False: give up.
  bool bear(Lock& lock, Error error, int& failures);

  const ChosenLineage& lineage_;
  const KeeperOptions options_;
  Reporter& reporter_;
  Clock& clock_;
  repo::TailStore tails_;
  Fd wake_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  Shared current_;
  Shared full_;  // the one before, until it is stored whole
  Lsn durable_;
  bool hurry_ = false;
  bool ending_ = false;
  bool storing_tail_ = false;
  bool storing_segment_ = false;
  bool may_remove_ = true;
  int64_t noted_us_ = 0;
  std::optional<Error> error_;
  std::optional<Error> last_failure_;
  KeeperTotals totals_;

  std::thread tail_thread_;
  std::thread segment_thread_;
};

}  // namespace lifeboat::ops
