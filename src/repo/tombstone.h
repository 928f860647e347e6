// Tombstones: what is condemned. Expiry has two phases: a tombstone first, deletion after a grace that is
// longer than a lease and the clocks' skew, by the store's own clock. From the tombstone on a condemned
// backup is not listed and nobody may begin to refer to it.
//
//   tombstones/<time-ordered id>       JSON: created, grace, backups, attempts, WAL ranges
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/names.h"
#include "model/timestamp.h"
#include "model/wal_name.h"
#include "repo/repository.h"

namespace lifeboat::repo {

// Segments of one timeline (and their .partial and .backup files) from `from` to before `end`.
struct WalRange {
  SegmentName from;
  SegmentName end;  // same timeline
  bool contains(const SegmentName& segment) const {
    return segment.timeline == from.timeline && segment >= from && segment < end;
  }
  auto operator<=>(const WalRange&) const = default;
};

struct Tombstone {
  std::string id;       // last element of its name
  Timestamp created;    // store clock, when the run that wrote it began
  Timestamp published;  // store clock, when it became visible: its writer may have slept in between; not
                        // stored in it
  int64_t grace_us = 0;
  std::vector<BackupId> backups;   // complete or damaged ones that expire
  std::vector<BackupId> attempts;  // poisoned before they were condemned
  std::vector<WalRange> wal;
  // Visible for long enough to be carried out. A grace of zero is for tests and for repositories that nobody
  // else uses.
  bool ripe(Timestamp now) const {
    return grace_us == 0 || now.unix_us - std::max(created, published).unix_us > grace_us;
  }
  bool empty() const { return backups.empty() && attempts.empty() && wal.empty(); }
};
std::string encode_tombstone(const Tombstone& tombstone);
Result<Tombstone> decode_tombstone(std::string_view object, ByteView plain);

// Fills in `id` from `created` and writes it.
Status write_tombstone(const LineageRepo& repo, Tombstone& tombstone);
Result<std::vector<Tombstone>> read_tombstones(const LineageRepo& repo);  // oldest first

// All that is condemned in a lineage now.
struct Condemned {
  std::set<BackupId> backups;
  std::set<BackupId> attempts;
  std::vector<WalRange> wal;
  bool condemns(const BackupId& id) const { return backups.contains(id) || attempts.contains(id); }
  // The first condemned segment at or after `from` (and before `end`, when given) on its timeline. For a
  // restore such WAL counts as absent: it may vanish at any moment.
  std::optional<SegmentName> first_wal(const SegmentName& from, std::optional<SegmentName> end) const;
};
Result<Condemned> read_condemned(const LineageRepo& repo);

// What is left of `ranges` without `minus`, in order.
std::vector<WalRange> subtract(const std::vector<WalRange>& ranges, const std::vector<WalRange>& minus);
// What both have, in order.
std::vector<WalRange> intersect(const std::vector<WalRange>& a, const std::vector<WalRange>& b);

// What listings leave out.
Result<std::set<BackupId>> tombstoned_backups(const LineageRepo& repo);

// `precondition` unless every one of `references` is complete or damaged, or an aborted attempt that has its
// record (repo/attempt.h), and not condemned. Tombstones are read before cards and records: collection
// removes these first and the tombstone last, so a reference that passes was not collected, and a tombstone
// written later waits for its grace.
Status check_references(const LineageRepo& repo, const std::vector<BackupId>& references);

}  // namespace lifeboat::repo
