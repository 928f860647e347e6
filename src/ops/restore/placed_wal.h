// WAL that is put into pg_wal of a server that recovers, a bounded way ahead of it, and taken away behind it.
//
// For throw-away copies: nothing is synced, and a server that crashed does not find again what it had
// replayed.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

#include "model/wal_name.h"
#include "ops/restore/owner.h"
#include "util/bytes.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Thread rule: put() on one thread, the rest on another.
class PlacedWal {
 public:
  PlacedWal(const std::string& data_directory, Owner owner, const StopToken& stop);

  // Waits while there is as much as may be. Under the segment's name it is whole. Errors: those of the file
  // system, cancelled.
  Status put(const SegmentName& name, ByteView content);
  // The server has come to this one, and replays it.
  void replaying(const SegmentName& name);
  // Nobody waits any more: `stop` was requested.
  void end();

 private:
  const std::string directory_;
  const Owner owner_;
  const StopToken& stop_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<SegmentName> there_;
};

}  // namespace lifeboat::ops
