// WAL that is put into pg_wal of a server that recovers, a bounded way ahead of it, and taken away behind it.
//
// Each that is there has an empty file of its name in another directory, by which restore_command knows it
// (WalCommandLine::placed): in pg_wal PostgreSQL gives old segments names of later ones.
//
// A server that crashes soon after its promotion recovers from what is in its pg_wal (StartupXLOG promotes
// without a checkpoint). So what was replayed stays there, durable, until the server itself takes it away;
// but for throw-away copies, which are never started again.
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

namespace lifeboat::ops {

enum class PlacedSegments : uint8_t {
  kept,          // durable, for the server to take away
  written_over,  // by later ones, when they were replayed; nothing is synced
};

// Thread rule: put() on one thread, the rest on another.
class PlacedWal {
 public:
  // `placed`: the directory of the empty files; it exists.
  // The server reads the segment of `checkpoint` before those that lead to it: up to there all are put, and
  // none is taken away before it is past it. 0: it begins anywhere.
  PlacedWal(const std::string& data_directory, std::string placed, Owner owner, PlacedSegments segments,
            SegmentSize size, Lsn checkpoint);
  ~PlacedWal();  // takes away what is done with

  // Waits while there is as much as may be. Under the segment's name it is whole. Errors: those of the file
  // system, unsupported (what the server does cannot be told).
  Status put(const SegmentName& name, ByteView content);
  // The server replays this one, or waits for it. Of any timeline.
  void replaying(const SegmentName& name);
  // Nothing is put any more, and nobody waits.
  void end();

 private:
  Result<Fd> open_fresh();

  const std::string directory_;
  const std::string placed_;
  const Owner owner_;
  const PlacedSegments segments_;
  const SegmentSize size_;
  const uint64_t first_read_;  // index of a segment
  std::mutex mutex_;           // guards what follows
  std::condition_variable changed_;
  std::deque<SegmentName> there_;
  bool ended_ = false;
  bool seen_ = false;             // somebody told what the server does
  std::deque<SegmentName> done_;  // still in pg_wal, to be written over: fresh room costs more
};

}  // namespace lifeboat::ops
