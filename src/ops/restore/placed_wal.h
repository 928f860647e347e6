// WAL that is put into pg_wal of a server that recovers, a bounded way ahead of it, and taken away behind it.
//
// Each that is there has an empty file of its name in another directory, by which restore_command knows it
// (WalCommandLine::placed): in pg_wal PostgreSQL gives old segments names of later ones.
//
// For throw-away copies: nothing is synced, and a server that crashed does not find again what it had
// replayed.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "model/wal_name.h"
#include "ops/restore/owner.h"
#include "util/bytes.h"
#include "util/files.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Thread rule: put() on one thread, the rest on another.
class PlacedWal {
 public:
  // `placed`: the directory of the empty files; it exists.
  PlacedWal(const std::string& data_directory, std::string placed, Owner owner, const StopToken& stop);

  // Waits while there is as much as may be. Under the segment's name it is whole. Errors: those of the file
  // system, cancelled.
  Status put(const SegmentName& name, ByteView content);
  // The server replays this one, or waits for it.
  void replaying(const SegmentName& name);
  // Nobody waits any more: `stop` was requested.
  void end();

 private:
  Result<Fd> open_fresh();

  const std::string directory_;
  const std::string placed_;
  const Owner owner_;
  const StopToken& stop_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<SegmentName> there_;
  std::deque<SegmentName> done_;  // still in pg_wal, to be written over: fresh room costs more
};

}  // namespace lifeboat::ops
