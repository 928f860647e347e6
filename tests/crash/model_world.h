// The stage of the repository's model check: hosts that take turns at every step they make in one store, a
// clock that the schedule moves, hosts that fall asleep or die, and what is true about it all.
//
// Each actor (a backup, a push, an expiry …) is a thread, but only the one that holds the turn runs: it gives
// the turn away before every call of the store, and the seed decides who is next. So one seed is one
// interleaving.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <semaphore>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "repo/collect.h"
#include "repo/lease.h"
#include "repo/wal_store.h"
#include "tests/support/repo_fixture.h"

namespace lifeboat::repo::model {

inline constexpr int64_t kSecondUs = 1'000'000;
inline constexpr int64_t kMinuteUs = 60 * kSecondUs;
inline constexpr int64_t kHourUs = 60 * kMinuteUs;
inline constexpr int64_t kGraceUs = 60 * kMinuteUs;
inline constexpr int64_t kAbortedCardUs = 8 * kHourUs;

// What a canary leaves out.
struct Guards {
  LeaseOptions::Guards lease;
  ExpireOptions::Guards expire;
  WalStore::Guards wal;
};

struct Actor {
  int64_t pid = 0;
  std::string host;
  std::binary_semaphore turn{0};
  bool done = false;
  bool dead = false;         // crashed: every call fails from now on
  int64_t wake_us = 0;       // asleep until then
  uint64_t writes = 0;       // write points passed
  uint64_t crash_at = 0;     // at which one it dies; 0: never
  bool crash_after = false;  // the write is done, the answer is lost
  double flaky = 0;          // chance that a write fails, or works and its answer is lost
  double pace = 1;           // how often it is chosen, beside others
  double drowsy = 0;         // chance of a long sleep at a point
  std::thread thread;
};

struct Segment {
  Timeline timeline;
  uint32_t number = 0;
  auto operator<=>(const Segment&) const = default;
};

// How an episode is played: what is rare in the field is frequent in some.
struct Style {
  double standby = 0.3;    // share of backups from a standby
  uint64_t behind = 20;    // segments that it may be behind
  double drowsy = 0.01;    // chance that an expiry falls asleep at a point
  double stale = 0.4;      // share of references that are chosen from an old list
  double expiries = 0.26;  // share of the operations
  double readers = 0.08;   // share of the other operations that are restores with a lease
  double leisure = 0.5;    // share of backups that take their time
  double newest = 0.5;     // share of references to the newest
};

// A backup that was attempted: what it must give back once it has a card.
struct Attempt {
  TinyFiles files;
  TinyPosition position;
  Timestamp stopped;
  bool damaged = false;
  bool committed = false;    // its card was created, whatever became of the answer
  std::set<Segment> absent;  // WAL after its start that had expired before it began
};

struct Counts {
  uint64_t episodes = 0;
  uint64_t points = 0;
  uint64_t backups = 0;
  uint64_t committed = 0;
  uint64_t pushes = 0;
  uint64_t conflicts = 0;
  uint64_t expiries = 0;
  uint64_t deletions = 0;
  uint64_t restores = 0;
  uint64_t crashes = 0;
  uint64_t checks = 0;
  void add(const Counts& other);
};

class World {
 public:
  World(uint64_t seed, const Guards& guards);
  ~World();

  // --- the schedule ---
  void spawn(std::string host, std::function<void(Actor&)> run);
  // The calling actor gives the turn away; comes back when it is chosen again.
  void yield(Actor& self);
  void sleep(Actor& self, int64_t us);
  // Lets the driver go on when all the others have ended.
  void join_all();
  size_t alive() const;
  Actor& driver() { return *driver_; }
  bool chance(double probability) { return std::uniform_real_distribution<>(0, 1)(random_) < probability; }
  uint64_t below(uint64_t bound) { return std::uniform_int_distribution<uint64_t>(0, bound - 1)(random_); }
  int64_t between(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random_);
  }

  // --- the repository as one actor sees it ---
  struct View {
    std::unique_ptr<Repository> repository;
    LineageRepo repo;
  };
  enum class Access : uint8_t { write, read_only };
  View view(Actor& self, Access access = Access::write);
  LeaseOptions lease_options(Actor& self);
  const Guards& guards() const { return guards_; }
  const LineageRepo& raw() const { return *raw_; }  // no points: for checks
  storage::MemoryStore& memory() { return memory_; }
  Timestamp now() { return {clock_.unix_us()}; }

  // --- the server ---
  Timeline timeline{1};
  uint32_t segment = 5;  // being written; those before it are finished
  TinyFiles database;
  std::vector<HistoryLine> history;
  std::map<Timeline, uint32_t> first_segment{{{1}, 1}};
  void write_something();
  void promote();
  static Bytes wal_content(const Segment& segment, uint32_t writer = 0);
  bool finished(const Segment& wanted) const;  // exists whole on the server's history

  // --- what is true ---
  std::map<BackupId, Attempt> attempts;
  std::map<Segment, Bytes> acknowledged;  // WAL that some push said is stored
  std::set<Segment> contested;            // pushed with two contents
  std::optional<RetentionPolicy> fixed_policy;
  Style style;
  void acknowledge(const Segment& segment, const Bytes& content);
  // What is not stored of the WAL from a position on: nobody can ask for it.
  std::set<Segment> absent_from(const Segment& begin);
  void committed(std::string_view object);
  BackupId new_backup_id() { return BackupId::make(now(), ++backup_ids_); }
  // Checks everything that must hold at any moment.
  void check();
  // All actors are gone: expires everything but the newest backup and compares what is left with what must
  // be.
  void check_final();
  void fail(std::string what);
  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }

  Counts counts;
  bool tracing = false;  // print every change of the store
  void trace(const Actor& self, std::string_view what, std::string_view object);

 private:
  friend class ActorStore;
  void give_turn(Actor& self, bool leaving);
  Actor* choose();
  std::vector<BackupId> counting(std::set<BackupId>& condemned);
  void check_backups();
  void check_wal();
  void require_wal_from(const BackupId& id);
  bool stored(const Segment& segment, std::string& problem);

  Guards guards_;
  std::mt19937_64 random_;
  ManualClock clock_;
  storage::MemoryStore memory_;
  std::unique_ptr<Repository> raw_repository_;
  std::unique_ptr<LineageRepo> raw_;
  std::vector<std::unique_ptr<Actor>> actors_;
  Actor* driver_ = nullptr;
  uint32_t backup_ids_ = 0;
  int64_t pids_ = 100;
  std::string failure_;
};

}  // namespace lifeboat::repo::model
