// The model check of the repository (T37, T41, T46): seeded schedules of backups, pushes, expiries and
// restores on several hosts that crash at any write, get no answer, or sleep past their leases. After every
// operation:
//   - whatever is listed restores bit for bit, and its WAL from start to stop is there;
//   - the newest backup is there, and all acknowledged WAL after it; with a recovery window, after all in the
//   window;
//   - a restore that holds a lease, or is quicker than the grace, is never disturbed;
//   - no two contents of a WAL segment are both acknowledged;
// and when all is over, one expiry after the other leaves exactly the objects that the newest backup needs.
//
// Each guard of the code is left out once, and the same check must notice: a checker that cannot fail proves
// nothing.
//
//   repo_model_test [--seed N] [--soak SECONDS]      also LIFEBOAT_SOAK_SECONDS; LIFEBOAT_MODEL_TRACE=1 tells
//   all
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include "repo/verify.h"
#include "tests/crash/model_world.h"

namespace lifeboat::repo::model {
namespace {

uint64_t first_seed = 1;
double soak_seconds = 0;

enum class Mood : uint8_t {
  calm,    // nothing goes wrong
  unruly,  // sleeps, dies, gets no answers
};

// --- what actors do
// ---------------------------------------------------------------------------------------------------

class Player {
 public:
  Player(World& world, Actor& self, Mood mood) : world_(world), self_(self), mood_(mood) {
    if (mood == Mood::calm) return;
    if (world.chance(0.25)) {
      self.crash_at = 1 + world.below(40);
      self.crash_after = world.chance(0.5);
    }
    if (world.chance(0.15)) self.flaky = 0.05;
  }

  Status back_up();
  void push_wal();
  void push_foreign_wal();
  void expire();
  void restore_with_lease();
  void restore_read_only();

 private:
  // A host that sleeps renews nothing.
  void doze(double probability, int64_t most_us) {
    if (mood_ == Mood::calm || !world_.chance(probability)) return;
    int64_t us = world_.between(1, 14) * kMinuteUs;
    if (world_.chance(0.5)) us = world_.between(16, 100) * kMinuteUs;
    if (world_.chance(0.2)) us = world_.between(9, 20) * kHourUs;
    world_.sleep(self_, std::min(us, most_us));
  }
  // A process that takes its time and renews its lease.
  template <typename Lease>
  Status work(Lease& lease, int64_t us) {
    for (; us > 0; us -= 4 * kMinuteUs) {
      world_.sleep(self_, std::min(us, 4 * kMinuteUs));
      TRY(lease.renew());
    }
    return {};
  }
  std::optional<BackupId> choose_backup(const LineageRepo& repo, double newest, double stale = 0);
  std::vector<BackupId> choose_attempts(const LineageRepo& repo);
  Status fill(const LineageRepo& repo, const BackupId& id, std::optional<BackupId> base,
              const std::vector<BackupId>& unfinished, BackupLease& lease);
  Status await_wal(const LineageRepo& repo, const TinyPosition& position);
  bool push(const LineageRepo& repo, const Segment& segment, uint32_t writer);

  World& world_;
  Actor& self_;
  Mood mood_;
};

// With probability `stale` from a list that knows nothing of tombstones: what is chosen may be condemned
// meanwhile.
std::optional<BackupId> Player::choose_backup(const LineageRepo& repo, double newest, double stale) {
  auto condemned = world_.chance(stale) ? Result<Condemned>(Condemned()) : read_condemned(repo);
  if (!condemned) return std::nullopt;
  auto cards = read_cards(repo);
  if (!cards) return std::nullopt;
  std::erase_if(*cards, [&](const Card& card) {
    return card.state == BackupState::aborted || condemned->condemns(card.id);
  });
  if (cards->empty()) return std::nullopt;
  return world_.chance(newest) ? cards->back().id : (*cards)[world_.below(cards->size())].id;
}

// Attempts that never became backups, to go on with what they stored.
std::vector<BackupId> Player::choose_attempts(const LineageRepo& repo) {
  std::vector<BackupId> chosen;
  if (!world_.chance(0.6)) return chosen;
  auto condemned = world_.chance(mood_ == Mood::calm ? 0 : world_.style.stale)
                       ? Result<Condemned>(Condemned())
                       : read_condemned(repo);
  auto recorded = list_attempts(repo);
  if (!condemned || !recorded) return chosen;
  for (const BackupId& id : *recorded) {
    auto card = read_card(repo, id);
    bool finished = card ? card->state != BackupState::aborted : card.error().kind != ErrorKind::not_found;
    if (!finished && !condemned->condemns(id)) chosen.push_back(id);
  }
  if (chosen.size() > 2) chosen.erase(chosen.begin(), chosen.end() - 2);
  return chosen;
}

Status Player::back_up() {
  ++world_.counts.backups;
  World::View view = world_.view(self_);
  BackupId id = world_.new_backup_id();
  std::optional<BackupId> base;
  if (world_.chance(0.8))
    base = choose_backup(view.repo, world_.style.newest, mood_ == Mood::calm ? 0 : world_.style.stale);
  std::vector<BackupId> unfinished = choose_attempts(view.repo);
  doze(0.2, 100 * kMinuteUs);
  std::vector<BackupId> references = unfinished;
  if (base) references.push_back(*base);
  TRY_ASSIGN(BackupLease lease, BackupLease::acquire(view.repo, id, references, world_.lease_options(self_)));
  auto done = fill(view.repo, id, base, unfinished, lease);
  if (!done)
    (void)lease.abort(done.error().to_string());  // whether it works or not, nothing may be listed wrongly
  return done;
}

Status Player::fill(const LineageRepo& repo, const BackupId& id, std::optional<BackupId> base,
                    const std::vector<BackupId>& unfinished, BackupLease& lease) {
  // A standby may be behind; its WAL may have expired, or be about to.
  bool standby = mood_ == Mood::unruly && world_.chance(world_.style.standby);
  Attempt attempt;
  TinyPosition& position = attempt.position;
  position.timeline = world_.timeline;
  uint32_t least = world_.first_segment.at(position.timeline);
  uint32_t behind = standby ? static_cast<uint32_t>(world_.below(world_.style.behind)) : 0;
  uint32_t start = world_.segment - std::min(behind, world_.segment - least);
  position.start = {(uint64_t{start} << 20) + 100};
  TRY(lease.set_start(position.timeline, position.start, kTinySegment));
  attempt.absent = world_.absent_from({position.timeline, start});
  Timestamp started = world_.now();

  attempt.files = world_.database;
  std::optional<Manifest> reference;
  if (base) {
    TRY_ASSIGN(reference, read_manifest(repo, *base));
  }
  TRY(write_attempt(repo, {id, started, position.timeline, position.start, kTinyBlock, false}));
  TRY_ASSIGN(NodeRef root,
             store_tiny_tree(repo, id, attempt.files, reference ? &*reference : nullptr, unfinished));
  if (mood_ == Mood::unruly && world_.chance(world_.style.leisure))
    TRY(work(lease, world_.between(1, 150) * kMinuteUs));
  doze(0.2, 20 * kHourUs);

  if (world_.timeline != position.timeline)
    return make_error(ErrorKind::failed, id.text, "promoted meanwhile");
  uint32_t stop = standby && start < world_.segment ? start : world_.segment;
  position.stop = {(uint64_t{stop} << 20) + 200};
  world_.segment = std::max(world_.segment, stop + 1);
  attempt.stopped = world_.now();
  TRY(await_wal(repo, position));
  TRY(lease.check());
  attempt.damaged = mood_ == Mood::unruly && world_.chance(0.1);
  BackupState state = attempt.damaged ? BackupState::damaged : BackupState::complete;
  Manifest manifest = tiny_manifest(id, root, started, attempt.stopped, position, state);
  TRY(write_manifest(repo, manifest));
  doze(0.2, 20 * kHourUs);
  TRY(lease.confirm());
  doze(0.2, kAbortedCardUs - kHourUs);
  // WAL that was acknowledged in the meantime counts too.
  std::erase_if(attempt.absent,
                [&](const Segment& segment) { return !world_.absent_from(segment).contains(segment); });
  world_.attempts[id] = std::move(attempt);
  return write_card(repo, manifest.card);
}

// Stores what is missing from the server's own pg_wal (T03).
Status Player::await_wal(const LineageRepo& repo, const TinyPosition& position) {
  for (int tries = 0; tries < 40; ++tries) {
    TRY_ASSIGN(Coverage coverage,
               WalStore(repo).coverage(position.timeline, position.start, position.stop, kTinySegment));
    if (coverage.complete()) return {};
    if (!coverage.first_missing) break;
    Segment missing{position.timeline, coverage.first_missing->number};
    if (!world_.finished(missing) || !push(repo, missing, 0)) break;
  }
  return make_error(ErrorKind::timeout, "wal", "did not arrive");
}

bool Player::push(const LineageRepo& repo, const Segment& segment, uint32_t writer) {
  ++world_.counts.pushes;
  Bytes content = World::wal_content(segment, writer);
  WalFileName name = *WalFileName::parse(SegmentName{segment.timeline, 0, segment.number}.to_string());
  auto pushed = WalStore(repo, world_.guards().wal).push(name, WalSource::from_bytes(content));
  if (pushed) world_.acknowledge(segment, content);
  if (!pushed && pushed.error().kind == ErrorKind::conflict) ++world_.counts.conflicts;
  return pushed.has_value();
}

// The archiver: in order, from the first that is not known to be stored.
void Player::push_wal() {
  World::View view = world_.view(self_);
  for (const auto& [timeline, first] : world_.first_segment) {
    if (timeline.value > 1) {
      std::string text;
      for (const HistoryLine& line : world_.history) {
        if (line.timeline < timeline)
          text += cat(line.timeline.value, "\t", line.switch_point.to_string(), "\tx\n");
      }
      auto name = WalFileName::parse(cat(timeline.to_hex(), ".history"));
      if (!WalStore(view.repo).push(*name, WalSource::from_bytes(as_bytes(text)))) return;
    }
    for (uint32_t number = first; world_.finished({timeline, number}); ++number) {
      Segment segment{timeline, number};
      if (world_.acknowledged.contains(segment) || world_.contested.contains(segment)) continue;
      if (!push(view.repo, segment, 0)) return;
    }
  }
}

// Another server that believes to be the primary.
void Player::push_foreign_wal() {
  World::View view = world_.view(self_);
  Segment segment{world_.timeline, world_.segment - static_cast<uint32_t>(world_.below(3))};
  world_.contested.insert(segment);
  push(view.repo, segment, 1);
  // The primary's own, at the same time or after.
  if (world_.finished(segment)) push(world_.view(self_).repo, segment, 0);
}

RetentionPolicy random_policy(World& world) {
  RetentionPolicy policy;
  if (world.chance(0.6)) policy.keep_count = static_cast<uint32_t>(world.below(4));
  if (world.chance(0.3)) policy.keep_days = static_cast<double>(world.below(10)) / 24;
  if (world.chance(0.4) || policy.empty()) policy.pitr_days = static_cast<double>(world.below(12)) / 24;
  return policy;
}

void Player::expire() {
  ++world_.counts.expiries;
  if (mood_ == Mood::unruly && world_.chance(0.4)) self_.drowsy = world_.style.drowsy;
  World::View view = world_.view(self_);
  ExpireOptions options;
  options.policy = world_.fixed_policy ? *world_.fixed_policy : random_policy(world_);
  options.segment_size = kTinySegment;
  options.grace_us = kGraceUs;
  options.aborted_card_us = kAbortedCardUs;
  options.lease = world_.lease_options(self_);
  options.guards = world_.guards().expire;
  // An expiry may fail: it crashed, lost its lease, or met another one. Nothing may be wrong after it all the
  // same.
  (void)run_expiry(view.repo, options);
}

void Player::restore_with_lease() {
  ++world_.counts.restores;
  World::View view = world_.view(self_);
  auto id = choose_backup(view.repo, 0.2, world_.style.stale);
  if (!id) return;
  doze(0.2, 100 * kMinuteUs);
  auto lease = ReaderLease::acquire(view.repo, "restore", {*id}, world_.lease_options(self_));
  if (!lease || !work(*lease, world_.between(1, 200) * kMinuteUs)) return;
  auto files = restore_tiny(view.repo, *id);
  if (!files && !self_.dead && self_.flaky == 0 && lease->check()) {
    world_.fail(cat("a restore of ", id->text, " under a lease failed: ", files.error().to_string()));
  }
  (void)lease->end();
}

void Player::restore_read_only() {
  ++world_.counts.restores;
  World::View view = world_.view(self_, World::Access::read_only);
  Timestamp begin = world_.now();
  auto id = choose_backup(view.repo, 0.2);
  if (!id) return;
  auto lease = ReaderLease::acquire(view.repo, "restore", {*id}, world_.lease_options(self_));
  if (!lease) return;
  world_.sleep(self_, world_.between(0, 45) * kMinuteUs);
  auto files = restore_tiny(view.repo, *id);
  bool in_time = world_.now() < begin.plus_us(kGraceUs);
  if (!files && !self_.dead && in_time) {
    world_.fail(cat("a restore of ", id->text, " within the grace failed: ", files.error().to_string()));
  }
}

// --- episodes
// ---------------------------------------------------------------------------------------------------------

void let_play(World& world, std::string host, Mood mood, void (Player::*act)()) {
  world.spawn(std::move(host), [&world, mood, act](Actor& self) {
    Player player(world, self, mood);
    (player.*act)();
    world.check();
  });
}

void let_back_up(World& world, std::string host, Mood mood, Status* outcome = nullptr) {
  world.spawn(std::move(host), [&world, mood, outcome](Actor& self) {
    Player player(world, self, mood);
    auto done = player.back_up();
    if (outcome != nullptr) *outcome = std::move(done);
    world.check();
  });
}

void play_episode(World& world) {
  if (world.chance(0.5)) world.fixed_policy = random_policy(world);
  int operations = 45;
  for (int i = 0; i < operations && !world.failed(); ++i) {
    while (world.alive() >= 4 && !world.failed()) world.sleep(world.driver(), kMinuteUs);
    std::string host = cat("host", world.below(2));
    void (Player::*act)() = &Player::restore_read_only;  // none: a backup
    if (world.chance(world.style.expiries)) {
      act = &Player::expire;
    } else if (world.chance(world.style.readers)) {
      act = &Player::restore_with_lease;
    } else if (world.chance(0.45)) {
      act = nullptr;
    } else if (world.chance(0.65)) {
      act = &Player::push_wal;
    } else if (world.chance(0.1)) {
      act = &Player::push_foreign_wal;
    }
    if (act != nullptr) {
      let_play(world, host, Mood::unruly, act);
    } else {
      let_back_up(world, host, Mood::unruly);
    }
    for (uint64_t n = world.below(4); n > 0; --n) world.write_something();
    if (world.chance(0.02)) world.promote();
    int64_t pause = world.between(0, 30) * kSecondUs;
    if (world.chance(0.3)) pause = world.between(5, 70) * kMinuteUs;
    if (world.chance(0.05)) pause = world.between(1, 14) * kHourUs;
    world.sleep(world.driver(), pause);
  }
  world.join_all();
}

void finish_episode(World& world) {
  if (world.failed()) return;
  world.check();
  // Once the leases of the dead have lapsed a backup must work.
  world.sleep(world.driver(), kHourUs);
  let_play(world, "host0", Mood::calm, &Player::push_wal);
  world.join_all();
  Status backed_up = make_error(ErrorKind::failed, "", "not run");
  let_back_up(world, "host0", Mood::calm, &backed_up);
  world.join_all();
  if (!backed_up && !world.failed())
    world.fail(cat("a backup afterwards failed: ", backed_up.error().to_string()));
  if (world.failed()) return;
  VerifyOptions options;
  options.take_lease = false;
  auto report = verify_repository(world.raw().repository(), options);
  if (!report) return world.fail(report.error().to_string());
  for (const Damage& damage : report->damage) {
    if (damage.kind != DamageKind::conflict) world.fail(cat("verify: ", damage.object, ": ", damage.message));
  }
  world.check_final();
}

// Standbys far behind and expiries that sleep.
void far_behind(Style& style) {
  style.standby = 0.9;
  style.behind = 60;
  style.drowsy = 0.05;
  style.expiries = 0.45;
  style.leisure = 0.05;
}
// References from old lists, many readers with leases, many expiries.
void stale_lists(Style& style) {
  style.drowsy = 0.03;
  style.stale = 0.8;
  style.newest = 0.1;
  style.expiries = 0.45;
  style.readers = 0.5;
  style.leisure = 0.1;
}
void random_style(World& world, Style& style) {
  if (world.chance(0.4)) far_behind(style);
  if (world.chance(0.4)) stale_lists(style);
}

// The failure, or nothing.
std::string run_episode(uint64_t seed, const Guards& guards, void (*stress)(Style&), Counts& counts) {
  World world(seed, guards);
  if (stress != nullptr) {
    stress(world.style);
  } else {
    random_style(world, world.style);
  }
  world.tracing = std::getenv("LIFEBOAT_MODEL_TRACE") != nullptr;
  play_episode(world);
  finish_episode(world);
  ++world.counts.episodes;
  counts.add(world.counts);
  return world.failure();
}

void print(const Counts& counts) {
  std::printf(
      "%llu episodes, %llu points, %llu backups (%llu committed), %llu pushes (%llu conflicts), %llu "
      "expiries "
      "(%llu deletions), %llu restores, %llu crashes, %llu checks\n",
      static_cast<unsigned long long>(counts.episodes), static_cast<unsigned long long>(counts.points),
      static_cast<unsigned long long>(counts.backups), static_cast<unsigned long long>(counts.committed),
      static_cast<unsigned long long>(counts.pushes), static_cast<unsigned long long>(counts.conflicts),
      static_cast<unsigned long long>(counts.expiries), static_cast<unsigned long long>(counts.deletions),
      static_cast<unsigned long long>(counts.restores), static_cast<unsigned long long>(counts.crashes),
      static_cast<unsigned long long>(counts.checks));
}

// Plays episodes of ascending seeds on two threads until one fails or `enough` says so.
struct Campaign {
  Counts counts;
  std::string failure;
  uint64_t failed_seed = 0;
  uint64_t seeds = 0;
};
Campaign run_campaign(const Guards& guards, void (*stress)(Style&),
                      const std::function<bool(uint64_t episodes)>& enough) {
  Campaign campaign;
  std::mutex mutex;  // guards campaign
  auto play = [&] {
    std::unique_lock lock(mutex);
    while (campaign.failure.empty() && !enough(campaign.seeds)) {
      uint64_t seed = first_seed + campaign.seeds++;
      lock.unlock();
      Counts counts;
      std::string failure = run_episode(seed, guards, stress, counts);
      lock.lock();
      campaign.counts.add(counts);
      if (failure.empty() || !campaign.failure.empty()) continue;
      campaign.failure = std::move(failure);
      campaign.failed_seed = seed;
    }
  };
  std::thread second(play);
  play();
  second.join();
  return campaign;
}

TEST(RepoModel, what_must_hold_holds_over_random_schedules) {
  constexpr uint64_t kFastEpisodes = 150;
  int64_t begin_us = Clock::system().monotonic_us();
  Campaign campaign = run_campaign({}, nullptr, [&](uint64_t episodes) {
    double seconds = static_cast<double>(Clock::system().monotonic_us() - begin_us) / 1e6;
    return episodes >= kFastEpisodes && seconds >= soak_seconds;
  });
  const Counts& counts = campaign.counts;
  std::printf("seeds from %llu on: ", static_cast<unsigned long long>(first_seed));
  print(counts);
  ASSERT_EQ(campaign.failure, "") << "again with --seed " << campaign.failed_seed;
  EXPECT_GT(counts.committed, counts.episodes) << "the schedule is too hostile to prove anything";
  EXPECT_GT(counts.deletions, counts.episodes * 10);
  EXPECT_GT(counts.crashes, counts.episodes);
}

// --- canaries
// ---------------------------------------------------------------------------------------------------------

struct Canary {
  const char* name;
  void (*leave_out)(Guards&);
  void (*stress)(Style&) = nullptr;  // none: as the seed decides
};

class RepoModelCanary : public ::testing::TestWithParam<Canary> {};

TEST_P(RepoModelCanary, a_missing_guard_is_noticed) {
  constexpr uint64_t kMostEpisodes = 5000;
  Guards guards;
  GetParam().leave_out(guards);
  Campaign campaign =
      run_campaign(guards, GetParam().stress, [](uint64_t episodes) { return episodes >= kMostEpisodes; });
  EXPECT_NE(campaign.failure, "") << "nothing was noticed in " << kMostEpisodes << " episodes";
  std::printf("without %s, seed %llu: %s\n", GetParam().name,
              static_cast<unsigned long long>(campaign.failed_seed), campaign.failure.c_str());
}

INSTANTIATE_TEST_SUITE_P(
    Guards, RepoModelCanary,
    ::testing::Values(
        Canary{"check_references", [](Guards& g) { g.lease.check_references = false; }, stale_lists},
        Canary{"check_expiry", [](Guards& g) { g.lease.check_expiry = false; }},
        Canary{"respect_leases", [](Guards& g) { g.expire.respect_leases = false; }, stale_lists},
        Canary{"grace", [](Guards& g) { g.expire.grace = false; }},
        Canary{"poison", [](Guards& g) { g.expire.poison = false; }},
        Canary{"unripe_count", [](Guards& g) { g.expire.unripe_count = false; }},
        Canary{"wal_recheck", [](Guards& g) { g.expire.wal_recheck = false; }},
        Canary{"own_lease", [](Guards& g) { g.expire.own_lease = false; }, far_behind},
        Canary{"packs_first", [](Guards& g) { g.expire.packs_first = false; }, stale_lists},
        Canary{"card_first", [](Guards& g) { g.expire.card_first = false; }},
        Canary{"tombstone_last", [](Guards& g) { g.expire.tombstone_last = false; }, stale_lists},
        Canary{"keep_newest", [](Guards& g) { g.expire.retention.keep_newest = false; }},
        Canary{"conflict_check", [](Guards& g) { g.wal.conflict_check = false; }}),
    [](const auto& canary) { return canary.param.name; });

}  // namespace
}  // namespace lifeboat::repo::model

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  namespace model = lifeboat::repo::model;
  if (const char* text = std::getenv("LIFEBOAT_SOAK_SECONDS")) model::soak_seconds = std::atof(text);
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], "--soak") == 0) model::soak_seconds = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--seed") == 0) model::first_seed = std::strtoull(argv[i + 1], nullptr, 10);
  }
  return RUN_ALL_TESTS();
}
