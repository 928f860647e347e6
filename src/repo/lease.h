// Leases: who is at work in a lineage, for how long that may be believed, and what they refer to.
//
// Nothing is ever overwritten, so a lease is a small family of objects:
//   leases/backup/<8-digit sequence>          one backup; an exclusive chain: number n+1 is created only when
//   n is over leases/backup/<sequence>.<4-digit n>      its renewals, each a whole record leases/reader/<id>,
//   <id>.<n>, <id>.end    shared: restore, verify, drill, expire
//
// Time is the store's own clock, so that hosts need not agree. A backup lease is over when a card of its
// backup id exists, in whatever state: the card is the commit point, and who wants to declare an attempt dead
// creates the card first, with state "aborted". A host that slept past its lease then finds its own card's
// name taken and cannot commit. Without a card it is over when it expired, or at once when the same host
// (host name, boot id, pid name space) shows that the process does not exist any more.
//
// What makes references safe against collection (T37): a lease is created with the backups it refers to, and
// only then is checked, tombstones first and cards after, that none of them is condemned or gone. A tombstone
// that is written after that check waits for its grace and then meets this lease; one from before is seen.
// repo/collect.h does the other half.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "model/names.h"
#include "model/timestamp.h"
#include "model/wal_name.h"
#include "repo/repository.h"
#include "util/clock.h"
#include "util/stop.h"

namespace lifeboat::repo {

// One process, told apart from a later one with the same pid and from one in another container.
struct ProcessIdentity {
  std::string host;
  std::string boot_id;         // /proc/sys/kernel/random/boot_id
  uint64_t pid_namespace = 0;  // inode of /proc/self/ns/pid
  int64_t pid = 0;
  uint64_t start_ticks = 0;  // /proc/<pid>/stat, field 22
  bool operator==(const ProcessIdentity&) const = default;
  static ProcessIdentity self();
};
// True only when this host can tell for certain that the process is gone.
bool process_is_gone(const ProcessIdentity& process);

struct LeaseTiming {
  int64_t lease_us = 15ll * 60 * 1'000'000;
  int64_t renew_us = 5ll * 60 * 1'000'000;
};

// Where WAL begins that the holder needs; all WAL from there on is kept while the lease lives.
struct WalPosition {
  Timeline timeline;
  Lsn lsn;
};

// What a lease object holds.
struct LeaseRecord {
  std::string purpose;  // "backup", "restore", "verify", "drill", "expire"
  std::string id;       // backup id, or the reader's own id
  ProcessIdentity process;
  Timestamp started;  // store clock
  Timestamp expires;  // store clock
  std::vector<BackupId> references;
  std::optional<WalPosition> wal_from;
};
std::string encode_lease(const LeaseRecord& record);
Result<LeaseRecord> decode_lease(std::string_view object, ByteView plain);

enum class LeaseKind : uint8_t { backup, reader };

// A lease as it stands in the store.
struct LeaseState {
  LeaseKind kind = LeaseKind::backup;
  uint32_t sequence = 0;             // of a backup lease
  LeaseRecord record;                // of the newest renewal
  std::vector<std::string> objects;  // full names of all its objects
  bool ended = false;                // .end exists
};

struct LeaseOptions {
  LeaseTiming timing;
  Clock* clock = nullptr;     // local; null: the system's
  bool background = true;     // renew by a thread; else the owner calls renew() in time
  StopToken* stop = nullptr;  // requested when the lease is lost
  std::function<bool(const ProcessIdentity&)> is_gone;  // default process_is_gone
  std::optional<ProcessIdentity> self;
  // Test-only: leaving one out must be noticed by tests/crash/repo_model_test.cc.
  struct Guards {
    bool check_references = true;  // after the lease is visible
    bool check_expiry = true;      // check(), confirm() and renew() look at the clocks
  } guards;
};

// The exclusive lease of one backup. Movable; destruction stops renewing and writes nothing.
// Thread rule: check() from any thread, the rest from the owner's.
class BackupLease {
 public:
  // `busy` while another backup runs: names host, process and start of the holder. `precondition` when a
  // reference is condemned or gone (the attempt is then aborted; choose others under a new id). Poisons a
  // dead predecessor.
  static Result<BackupLease> acquire(const LineageRepo& repo, const BackupId& id,
                                     std::vector<BackupId> references, LeaseOptions options = {});
  BackupLease(BackupLease&&) noexcept;
  BackupLease& operator=(BackupLease&&) noexcept;
  ~BackupLease();

  uint64_t sequence() const;
  // To be called between pg_backup_start and reading: pins all WAL from the start position on. `precondition`
  // when a part of it is condemned already. Until it was called, nothing of the lineage's WAL is removed.
  Status set_start(Timeline timeline, Lsn start, SegmentSize segment_size);
  // By the local monotonic clock, cheap: `timeout` when the lease could not be renewed before it expired.
  Status check() const;
  // By the store: alive, not declared dead, references not condemned. Call right before the card is written.
  Status confirm();
  // Renews now (what the background thread does).
  Status renew();
  // Declares the attempt failed: an aborted card with this reason. Success when the card is there already.
  Status abort(std::string_view reason);

 private:
  struct State;
  explicit BackupLease(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A shared lease. On a repository that refuses writing (permission) acquire() succeeds without one: held() is
// false and the holder relies on the grace between condemning and deleting.
class ReaderLease {
 public:
  // `precondition` when a reference is condemned or gone.
  static Result<ReaderLease> acquire(const LineageRepo& repo, std::string_view purpose,
                                     std::vector<BackupId> references, LeaseOptions options = {});
  ReaderLease(ReaderLease&&) noexcept;
  ReaderLease& operator=(ReaderLease&&) noexcept;
  ~ReaderLease();

  bool held() const;
  Status check() const;  // success without a lease
  Status renew();
  Status end();                   // writes .end; success without a lease
  Status remove();                // removes its objects instead: for expiry, which may delete
  const std::string& id() const;  // empty without a lease

 private:
  struct State;
  explicit ReaderLease(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// All leases of a lineage, backup leases by sequence, then readers by id.
Result<std::vector<LeaseState>> read_leases(const LineageRepo& repo);

enum class LeaseVerdict : uint8_t {
  live,
  over,
  dead
};  // dead: over without a card; its attempt can be poisoned
// Says that a backup lease is over although its card is about to go; for expiry.
Status end_backup_lease(const LineageRepo& repo, uint32_t sequence);
// `has_card` is asked for the backup id of a backup lease.
Result<LeaseVerdict> judge_lease(const LeaseState& lease, Timestamp now,
                                 const std::function<Result<bool>(const BackupId&)>& has_card,
                                 const std::function<bool(const ProcessIdentity&)>& is_gone);

// Creates the aborted card of an attempt unless a card is there. Returns whether the attempt is dead now:
// false means that it had committed before.
Result<bool> poison_attempt(const LineageRepo& repo, const BackupId& id, std::string_view reason,
                            std::string_view host, Timestamp now);

}  // namespace lifeboat::repo
