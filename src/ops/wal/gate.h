// A recovery that has begun before all of its WAL was read: `wal get` hands out what was read so far and
// waits for the rest.
//
// The gate is a file in the data directory, which `wal get` finds beside pg_wal by itself, so that whoever
// starts the server there is held too. It tells how far WAL was checked and by which process. Nothing of it
// has to be durable: after a crash the process that it names is gone, and then nothing passes until somebody
// checks again. Without the file everything passes.
//
// Who changes WAL on its way (wal_filter.h) puts the segments into pg_wal itself: `wal get` waits in the same
// way, and then says that the repository does not have them, so that PostgreSQL takes those that are there.
#pragma once

#include <cstdint>
#include <string>

#include "model/lsn.h"
#include "model/wal_name.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

inline constexpr const char* kWalGateFile = "lifeboat.wal-check";

enum class WalComes : uint8_t { from_repository, in_pg_wal };

// Held by who checks. Thread rule: one thread at a time.
class WalGate {
 public:
  // Nothing passes yet.
  static Result<WalGate> close(const std::string& data_directory, SegmentSize size,
                               WalComes comes = WalComes::from_repository);
  // Every segment that ends at or before `checked` passes. Cheap enough to call for every segment.
  Status advance(Lsn checked);
  // Who waits, or asks later, gets `why`, and its recovery ends.
  Status refuse(const std::string& why);
  // Everything passes.
  Status open();

 private:
  WalGate(std::string path, SegmentSize size, WalComes comes)
      : path_(std::move(path)), size_(size), comes_(comes) {}
  Status write(const std::string& first_line) const;
  std::string path_;
  SegmentSize size_;
  WalComes comes_;
};

// For `wal get` of a segment to `target`, a path in pg_wal: returns when it may pass. Errors: precondition
// (refused, or the process that checked is gone), damaged (not such a file), cancelled.
Result<WalComes> wait_at_gate(const std::string& target, const SegmentName& segment,
                              const StopToken* stop = nullptr);

}  // namespace lifeboat::ops
