// Gaps: WAL that is lost, written down when that was noticed (T27): a server had removed it before it was
// received, or `wal push` dropped it to save the server's disk (ops/wal/push_queue.h).
//
// The listing shows a hole as long as WAL is stored on both sides of it (WalHistory); the record says since
// when it is known and why it came to be. A gap may have been closed since, by whoever archived the same WAL.
// It is evidence of kind "wal_gap", which expiry leaves alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "repo/repository.h"
#include "util/result.h"

namespace lifeboat::ops {

struct WalGap {
  Timeline timeline;
  Lsn from;
  Lsn to;
  Timestamp noticed;
  std::string slot;    // of the receiver; empty: dropped by wal push
  std::string reason;  // what the server, or the repository, said
};

// One line of JSON, as it is stored. nullopt: something else.
std::string encode_gap(const WalGap& gap);
std::optional<WalGap> parse_gap(const std::string& text);

Status record_gap(const repo::LineageRepo& repo, const WalGap& gap);
// Oldest first. Records that cannot be read are passed over: they say nothing about WAL that is stored.
Result<std::vector<WalGap>> read_gaps(const repo::LineageRepo& repo);

}  // namespace lifeboat::ops
