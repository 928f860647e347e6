// The slot of our WAL receiver, made again after it was dropped or given up by the server (SH1).
//
// From then on the server keeps WAL for the receiver. What it has removed meanwhile is a hole where the
// repository does not have it from elsewhere; it is recorded there (T27).
#pragma once

#include <optional>
#include <string>

#include "ops/session.h"
#include "ops/wal/gap.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct SlotRequest {
  RepoLocation location;
  std::string conninfo;  // of the primary; its role has REPLICATION
  std::string slot;
};

struct SlotOutcome {
  bool made = false;  // false: it was there, and whole, when this came to it
  Lsn reserved;       // WAL is kept from here on; 0: unknown (before 15)
  std::optional<WalGap> hole;
};

// `lost`: the server has the slot and serves nobody from it; it is dropped first. Errors: foreign, those of
// the server and the repository.
Result<SlotOutcome> remake_slot(const SlotRequest& request, bool lost, const StopToken& stop);

}  // namespace lifeboat::ops
