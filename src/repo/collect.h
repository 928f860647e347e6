// Expiry: condemn by the retention rules, and delete what was condemned long enough ago.
//
// The dance (T37). Everything happens by the store's clock; any number of hosts may run it, and it may die at
// any write: the next run goes on.
//   1  Take a reader lease, so that others see the run. List packs, then read leases; poison the dead
//   attempts (an
//      aborted card under their name); then read cards and tombstones. Packs come first, so that every pack
//      found belongs to an attempt whose lease or card is found after.
//   2  Condemn: one new tombstone for backups that no rule keeps, attempts that are dead, WAL that nothing
//   needs. 3  Of tombstones that have been visible for longer than their grace: backups that a live lease
//   refers to wait for
//      another run; of the others card, manifest and packs go. A pack goes when no tree of a backup that
//      counts reaches it, whoever wrote it; those that count have a card, and are not condemned or not ripe:
//      somebody with a read-only view may be restoring one that was condemned just now. The packs of running
//      attempts are left alone. WAL goes where the ripe tombstone and the rules of today agree, its change
//      summaries with it. Leases that are over go too, and aborted cards that nobody can be surprised by any
//      more. The tombstone itself is last, and stays while another run is at work.
// If a tree that counts cannot be read, no pack goes.
//
// Names of WAL objects come again when the same segment is stored again, so a run that fell asleep with a
// list of them must not go on: its own lease is checked before every deletion, and as long as it may still be
// alive the tombstone stands and stops everybody who would begin to need that WAL. Check and deletion are not
// one step; a host that is suspended for longer than a lease exactly between the two is not covered.
//
// What an attempt must do in return: acquire its lease (repo/lease.h) before its first pack, name what it
// refers to in the lease, tell its start position before it relies on WAL, and create its card last.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "repo/lease.h"
#include "repo/retention.h"
#include "repo/tombstone.h"

namespace lifeboat::repo {

struct ExpireOptions {
  RetentionPolicy policy;
  std::set<BackupId> verified;       // as evidence says
  std::set<BackupId> found_damaged;  // likewise
  SegmentSize segment_size;          // of the lineage
  // Between condemning and deleting. Longer than the lease time and the clocks' skew, or zero when nobody
  // else uses the repository.
  int64_t grace_us = 60ll * 60 * 1'000'000;
  // How long the card of an aborted attempt stays: longer than a host may sleep between its last check and
  // its commit.
  int64_t aborted_card_us = 30ll * 86400 * 1'000'000;
  LeaseOptions lease;  // of the run itself; its timing and is_gone judge the others'
  // Only these backups are condemned, when given: what a person saw and confirmed.
  std::optional<std::set<BackupId>> approved;
  StopToken* stop = nullptr;
  // Test-only: leaving one out must be noticed by tests/crash/repo_model_test.cc.
  struct Guards {
    bool respect_leases = true;  // before deletion
    bool grace = true;
    bool poison = true;
    bool unripe_count = true;  // trees of backups that are condemned and not ripe
    bool wal_recheck = true;   // today's rules are asked again before WAL goes
    bool own_lease = true;     // is held, and stops a run that slept
    bool packs_first = true;
    bool card_first = true;  // before manifest and packs
    bool tombstone_last = true;
    RetentionGuards retention;
  } guards;
};

// What a run would do, or did.
struct ExpirePlan {
  RetentionPlan retention;
  Tombstone tombstone;            // to be written, unless empty()
  std::vector<Tombstone> unripe;  // wait for their grace
  std::vector<Tombstone> ripe;    // carried out
  std::vector<BackupId> spared;   // ripe, but a live lease refers to them
  struct Deletion {
    std::string object;  // full name
    uint64_t bytes = 0;
  };
  std::vector<Deletion> deletions;  // in order
  uint64_t bytes = 0;               // their sum
  bool nothing_to_do() const { return tombstone.empty() && deletions.empty(); }
};

// Reads only.
Result<ExpirePlan> plan_expiry(const LineageRepo& repo, const ExpireOptions& options);
// Does it, from fresh listings, and returns what was done; `timeout` when its own lease was lost on the way.
// With a grace of zero, deletion follows in the same run. Errors: `config` when the grace is neither zero nor
// longer than the lease time, `damaged` when a tree that counts cannot be read, `cancelled`, the store's.
Result<ExpirePlan> run_expiry(const LineageRepo& repo, const ExpireOptions& options);

}  // namespace lifeboat::repo
