#include "tests/crash/model_world.h"

#include <algorithm>
#include <cstdio>

#include "storage/wrap/readonly_store.h"

namespace lifeboat::repo::model {

namespace {

// What one point costs on the clock.
constexpr int64_t kPointUs = kSecondUs;

WalFileName wal_name(const Segment& segment) {
  return *WalFileName::parse(SegmentName{segment.timeline, 0, segment.number}.to_string());
}

}  // namespace

void Counts::add(const Counts& other) {
  episodes += other.episodes;
  points += other.points;
  backups += other.backups;
  committed += other.committed;
  pushes += other.pushes;
  conflicts += other.conflicts;
  expiries += other.expiries;
  deletions += other.deletions;
  restores += other.restores;
  crashes += other.crashes;
  checks += other.checks;
}

// --- the store as an actor sees it
// -----------------------------------------------------------------------------------

// Gives the turn away before every call, and fails for an actor that is dead or unlucky.
class ActorStore : public storage::Store {
 public:
  ActorStore(World& world, Actor& self) : world_(world), self_(self) {}

  Result<std::unique_ptr<storage::ObjectWriter>> create(std::string_view name) override;
  Result<std::unique_ptr<storage::ObjectReader>> open(std::string_view name) override;
  Status list(std::string_view prefix,
              const std::function<Status(const storage::ObjectInfo&)>& each) override {
    TRY(read_point());
    return world_.memory_.list(prefix, [&](const storage::ObjectInfo& info) -> Status {
      if (world_.chance(0.05)) TRY(read_point());
      return each(info);
    });
  }
  Result<std::vector<std::string>> list_dirs(std::string_view prefix) override {
    TRY(read_point());
    return world_.memory_.list_dirs(prefix);
  }
  Status confirm(std::string_view name) override {
    TRY(read_point());
    return world_.memory_.confirm(name);
  }
  Status remove(std::string_view name) override {
    Status done;
    TRY(write_point([&] {
      ++world_.counts.deletions;
      done = world_.memory_.remove(name);
      world_.trace(self_, "remove", name);
    }));
    return done;
  }
  Result<Timestamp> now() override {
    TRY(read_point());
    return world_.memory_.now();
  }
  Result<uint64_t> remove_unfinished(Timestamp) override { return uint64_t{0}; }
  std::string url() const override { return "model:"; }
  bool atomic_create() const override { return true; }

  Status read_point() {
    pass();
    if (world_.chance(self_.drowsy)) {
      bool nap = world_.chance(0.6);
      world_.sleep(self_, nap ? world_.between(1, 8) * kMinuteUs : world_.between(20, 200) * kMinuteUs);
    }
    if (self_.dead) return crash_error();
    return {};
  }

  // Runs `work` as one write that may be the actor's last, or fail, or work while its answer is lost.
  Status write_point(const std::function<void()>& work) {
    pass();
    if (self_.dead) return crash_error();
    ++self_.writes;
    if (self_.writes == self_.crash_at) {
      self_.dead = true;
      ++world_.counts.crashes;
      if (self_.crash_after) work();
      return crash_error();
    }
    bool unlucky = world_.chance(self_.flaky);
    if (!unlucky || world_.chance(0.5)) work();
    if (unlucky) return make_error(ErrorKind::unavailable, "", "injected");
    return {};
  }

  World& world_;
  Actor& self_;

 private:
  void pass() {
    ++world_.counts.points;
    world_.yield(self_);
  }
  static Error crash_error() { return make_error(ErrorKind::cancelled, "", "crashed"); }
};

namespace {

class ActorWriter : public storage::ObjectWriter {
 public:
  ActorWriter(ActorStore& store, std::string name, std::unique_ptr<storage::ObjectWriter> inner)
      : store_(store), name_(std::move(name)), inner_(std::move(inner)) {}
  Status append(ByteView bytes) override { return inner_->append(bytes); }
  Status commit() override {
    Status done;
    TRY(store_.write_point([&] {
      done = inner_->commit();
      store_.world_.trace(store_.self_, done ? "create" : "conflict", name_);
      if (done) store_.world_.committed(name_);
    }));
    return done;
  }

 private:
  ActorStore& store_;
  std::string name_;
  std::unique_ptr<storage::ObjectWriter> inner_;
};

// An open object can be removed under its reader, as in a store that is not a file system.
class ActorReader : public storage::ObjectReader {
 public:
  ActorReader(World& world, Actor& self, std::string name, std::unique_ptr<storage::ObjectReader> inner)
      : world_(world), self_(self), name_(std::move(name)), inner_(std::move(inner)) {}
  uint64_t size() const override { return inner_->size(); }
  Status read_at(uint64_t offset, MutableBytes out) override {
    if (self_.dead) return make_error(ErrorKind::cancelled, "", "crashed");
    if (!*world_.memory().exists(name_))
      return make_error(ErrorKind::not_found, name_, "removed while it was read");
    return inner_->read_at(offset, out);
  }

 private:
  World& world_;
  Actor& self_;
  std::string name_;
  std::unique_ptr<storage::ObjectReader> inner_;
};

}  // namespace

Result<std::unique_ptr<storage::ObjectWriter>> ActorStore::create(std::string_view name) {
  if (self_.dead) return crash_error();
  TRY_ASSIGN(auto inner, world_.memory_.create(name));
  return std::unique_ptr<storage::ObjectWriter>(
      std::make_unique<ActorWriter>(*this, std::string(name), std::move(inner)));
}

Result<std::unique_ptr<storage::ObjectReader>> ActorStore::open(std::string_view name) {
  if (name == "lifeboat.json")
    return world_.memory_.open(name);  // every process reads it once, and it never changes
  TRY(read_point());
  TRY_ASSIGN(auto inner, world_.memory_.open(name));
  return std::unique_ptr<storage::ObjectReader>(
      std::make_unique<ActorReader>(world_, self_, std::string(name), std::move(inner)));
}

// --- the schedule
// ----------------------------------------------------------------------------------------------------

World::World(uint64_t seed, const Guards& guards) : guards_(guards), random_(seed), memory_(clock_) {
  raw_repository_ = std::make_unique<Repository>(
      *Repository::create(std::make_unique<BorrowedStore>(memory_), {}, {codec::Compression::none, 0}));
  raw_ = std::make_unique<LineageRepo>(*raw_repository_, "main", Lineage{{7}, 15});
  LineageRecord record;
  record.lineage = raw_->lineage();
  record.segment_size = kTinySegment;
  CHECK(register_lineage(*raw_, record).has_value());
  actors_.push_back(std::make_unique<Actor>());
  driver_ = actors_.back().get();
  for (int i = 0; i < 3; ++i)
    database[cat("file", i)] = tiny_content(below(1000), 64 * (1 + below(16)) - below(60));
}

World::~World() {
  // After a failure the rest dies at its next step.
  for (auto& actor : actors_) {
    if (actor.get() != driver_ && !actor->done) actor->dead = true;
  }
  join_all();
  for (auto& actor : actors_) {
    if (actor->thread.joinable()) actor->thread.join();
  }
}

void World::spawn(std::string host, std::function<void(Actor&)> run) {
  // Those that ended are put away, so that choosing stays cheap.
  std::erase_if(actors_, [&](std::unique_ptr<Actor>& actor) {
    if (!actor->done || actor.get() == driver_) return false;
    if (actor->thread.joinable()) actor->thread.join();
    return true;
  });
  actors_.push_back(std::make_unique<Actor>());
  Actor& actor = *actors_.back();
  actor.pid = ++pids_;
  actor.host = std::move(host);
  // A slow one leaves its gaps open for others.
  actor.pace = chance(0.5) ? 1 : chance(0.5) ? 0.2 : 0.04;
  actor.thread = std::thread([this, &actor, run = std::move(run)] {
    actor.turn.acquire();
    run(actor);
    give_turn(actor, true);
  });
}

Actor* World::choose() {
  while (true) {
    std::vector<Actor*> ready;
    int64_t next_wake = INT64_MAX;
    for (auto& actor : actors_) {
      if (actor->done) continue;
      if (actor->wake_us <= clock_.unix_us() || actor->dead) {
        ready.push_back(actor.get());
      } else {
        next_wake = std::min(next_wake, actor->wake_us);
      }
    }
    if (!ready.empty()) {
      double total = 0;
      for (Actor* actor : ready) total += actor->pace;
      double at = std::uniform_real_distribution<>(0, total)(random_);
      for (Actor* actor : ready) {
        at -= actor->pace;
        if (at < 0) return actor;
      }
      return ready.back();
    }
    clock_.advance_us(next_wake - clock_.unix_us());
  }
}

void World::give_turn(Actor& self, bool leaving) {
  if (leaving) self.done = true;
  Actor* next = choose();
  if (next == &self) return;
  next->turn.release();
  if (!leaving) self.turn.acquire();
}

void World::yield(Actor& self) {
  clock_.advance_us(between(0, kPointUs));
  give_turn(self, false);
}

void World::sleep(Actor& self, int64_t us) {
  self.wake_us = clock_.unix_us() + us;
  give_turn(self, false);
}

size_t World::alive() const {
  return static_cast<size_t>(std::count_if(actors_.begin(), actors_.end(), [&](const auto& actor) {
    return !actor->done && actor.get() != driver_;
  }));
}

void World::join_all() {
  while (alive() > 0) yield(*driver_);
}

World::View World::view(Actor& self, Access access) {
  std::unique_ptr<storage::Store> store = std::make_unique<ActorStore>(*this, self);
  if (access == Access::read_only) store = std::make_unique<storage::ReadOnlyStore>(std::move(store));
  auto repository = Repository::open(std::move(store), {});
  CHECK(repository.has_value());
  auto owned = std::make_unique<Repository>(std::move(*repository));
  LineageRepo repo(*owned, "main", raw_->lineage());
  return View{std::move(owned), std::move(repo)};
}

LeaseOptions World::lease_options(Actor& self) {
  LeaseOptions options;
  options.clock = &clock_;
  options.background = false;
  options.self = ProcessIdentity{self.host, "boot", 1, self.pid, 1};
  options.guards = guards_.lease;
  options.is_gone = [this, host = self.host](const ProcessIdentity& process) {
    if (process.host != host) return false;
    return std::none_of(actors_.begin(), actors_.end(), [&](const auto& actor) {
      return actor->pid == process.pid && !actor->done && !actor->dead;
    });
  };
  return options;
}

// --- the server
// ------------------------------------------------------------------------------------------------------

void World::write_something() {
  auto file = std::next(database.begin(), static_cast<ptrdiff_t>(below(database.size())));
  size_t size = 64 * (1 + below(16)) - below(60);
  if (chance(0.3)) {
    file->second = tiny_content(below(1u << 30), size);
  } else if (!file->second.empty()) {
    file->second[below(file->second.size())] ^= static_cast<uint8_t>(1 + below(255));
  }
  segment += static_cast<uint32_t>(below(3));
}

void World::promote() {
  // A clean switchover at a segment boundary: the old timeline ends with the segment before.
  history.push_back({timeline, {uint64_t{segment} << 20}});
  timeline.value += 1;
  first_segment[timeline] = segment;
}

Bytes World::wal_content(const Segment& segment, uint32_t writer) {
  return tiny_content(uint64_t{segment.timeline.value} << 40 | uint64_t{segment.number} << 8 | writer, 80);
}

bool World::finished(const Segment& wanted) const {
  auto first = first_segment.find(wanted.timeline);
  if (first == first_segment.end() || wanted.number < first->second) return false;
  auto next = first_segment.find({wanted.timeline.value + 1});
  return wanted.number < (next != first_segment.end() ? next->second : segment);
}

// --- what is true
// ----------------------------------------------------------------------------------------------------

void World::trace(const Actor& self, std::string_view what, std::string_view object) {
  if (!tracing) return;
  std::printf("%s %s/%lld %s %s\n", now().to_compact().c_str(), self.host.c_str(),
              static_cast<long long>(self.pid), std::string(what).c_str(), std::string(object).c_str());
}

void World::fail(std::string what) {
  if (failure_.empty()) failure_ = std::move(what);
}

void World::acknowledge(const Segment& segment_of, const Bytes& content) {
  auto [known, added] = acknowledged.try_emplace(segment_of, content);
  if (!added && known->second != content) {
    // Either the other copy has expired, or two servers were both told that theirs is stored.
    if (WalStore(*raw_).find_all(wal_name(segment_of))->size() > 1) {
      return fail(cat("two contents of ", wal_name(segment_of).text, " were acknowledged"));
    }
    known->second = content;
  }
  for (auto& [id, attempt] : attempts) attempt.absent.erase(segment_of);
}

std::set<Segment> World::absent_from(const Segment& begin) {
  std::set<Segment> absent;
  for (auto at = acknowledged.lower_bound(begin); at != acknowledged.end(); ++at) {
    if (WalStore(*raw_).find_all(wal_name(at->first))->empty()) absent.insert(at->first);
  }
  return absent;
}

void World::committed(std::string_view object) {
  std::string prefix = raw_->name("cards/");
  if (!object.starts_with(prefix)) return;
  auto card = read_card(*raw_, BackupId{std::string(object.substr(prefix.size()))});
  CHECK(card.has_value());
  if (card->state == BackupState::aborted) return;
  attempts.at(card->id).committed = true;
  ++counts.committed;
}

std::vector<BackupId> World::counting(std::set<BackupId>& condemned) {
  auto gone = tombstoned_backups(*raw_);
  auto cards = read_cards(*raw_);
  if (!gone || !cards) {
    fail("cards or tombstones cannot be read");
    return {};
  }
  condemned = *gone;
  std::vector<BackupId> ids;
  for (const Card& card : *cards) {
    if (card.state != BackupState::aborted) ids.push_back(card.id);
  }
  return ids;
}

void World::check() {
  if (failed()) return;
  ++counts.checks;
  check_backups();
  check_wal();
}

void World::check_backups() {
  std::set<BackupId> condemned;
  std::vector<BackupId> ids = counting(condemned);
  // Whoever has a card restores, also when it is condemned: its card goes first.
  for (const BackupId& id : ids) {
    auto files = restore_tiny(*raw_, id);
    if (!files)
      return fail(cat("backup ", id.text, " is listed and cannot be restored: ", files.error().to_string()));
    if (*files != attempts.at(id).files) return fail(cat("backup ", id.text, " restores something else"));
  }
  // The newest that ever was is there and is not condemned.
  const BackupId* newest = nullptr;
  for (const auto& [id, attempt] : attempts) {
    if (attempt.damaged || !attempt.committed) continue;
    if (newest == nullptr ||
        std::pair(attempts.at(*newest).stopped, *newest) < std::pair(attempt.stopped, id))
      newest = &id;
  }
  if (newest == nullptr) return;
  if (std::find(ids.begin(), ids.end(), *newest) == ids.end())
    return fail(cat("the newest backup ", newest->text, " is gone"));
  if (condemned.contains(*newest)) return fail(cat("the newest backup ", newest->text, " is condemned"));
  require_wal_from(*newest);
  if (!fixed_policy || !fixed_policy->pitr_days) return;
  // Under one policy from the beginning: recovery is possible to every moment of the window.
  Timestamp begin = now().plus_us(-static_cast<int64_t>(*fixed_policy->pitr_days * 24 * kHourUs));
  const BackupId* anchor = nullptr;
  for (const auto& [id, attempt] : attempts) {
    if (attempt.damaged || !attempt.committed) continue;
    if (attempt.stopped >= begin) {
      if (condemned.contains(id)) return fail(cat("backup ", id.text, " is inside the window and condemned"));
      require_wal_from(id);
    } else if (anchor == nullptr || attempts.at(*anchor).stopped < attempt.stopped) {
      anchor = &id;
    }
  }
  if (anchor == nullptr) return;
  if (condemned.contains(*anchor))
    return fail(cat("backup ", anchor->text, " begins the window and is condemned"));
  require_wal_from(*anchor);
}

// Everything acknowledged from a backup's start on, on its timeline and on those after it.
void World::require_wal_from(const BackupId& id) {
  const TinyPosition& position = attempts.at(id).position;
  const std::set<Segment>& absent = attempts.at(id).absent;
  for (const auto& [segment_of, content] : acknowledged) {
    if (absent.contains(segment_of)) continue;
    bool needed =
        segment_of.timeline > position.timeline ||
        (segment_of.timeline == position.timeline && segment_of.number >= (position.start.value >> 20));
    std::string problem;
    if (needed && !stored(segment_of, problem)) return fail(cat(problem, ", needed after ", id.text));
  }
}

bool World::stored(const Segment& wanted, std::string& problem) {
  WalFileName name = wal_name(wanted);
  auto content = WalStore(*raw_).get_small(name, 1000);
  if (!content && content.error().kind == ErrorKind::conflict && contested.contains(wanted)) return true;
  if (!content) {
    problem = cat("acknowledged WAL is lost: ", content.error().to_string());
  } else if (*content != acknowledged.at(wanted)) {
    problem = cat("acknowledged WAL ", name.text, " has other content");
  }
  return problem.empty();
}

// A backup that has a card has the WAL that makes it consistent.
void World::check_wal() {
  std::set<BackupId> condemned;
  for (const BackupId& id : counting(condemned)) {
    const TinyPosition& position = attempts.at(id).position;
    auto coverage = WalStore(*raw_).coverage(position.timeline, position.start, position.stop, kTinySegment);
    if (!coverage) return fail(coverage.error().to_string());
    if (coverage->first_missing) {
      return fail(cat("backup ", id.text, " is listed, but WAL ", coverage->first_missing->to_string(),
                      " is missing"));
    }
  }
}

void World::check_final() {
  if (failed()) return;
  ExpireOptions options;
  options.policy.keep_count = 1;
  options.segment_size = kTinySegment;
  options.grace_us = kGraceUs;
  options.aborted_card_us = kAbortedCardUs;
  options.guards = guards_.expire;
  options.lease = lease_options(*driver_);
  for (int i = 0; i < 5; ++i) {
    clock_.advance_us(2 * kAbortedCardUs);
    auto ran = run_expiry(*raw_, options);
    if (!ran) return fail(cat("the final expiry failed: ", ran.error().to_string()));
  }
  check();
  if (failed()) return;

  auto cards = read_cards(*raw_);
  if (cards->size() != 1) return fail(cat(cards->size(), " cards are left"));
  const Card& card = cards->front();
  std::set<std::string> expected{raw_->name("lineage"), raw_->name(cat("cards/", card.id.text)),
                                 raw_->name(cat("manifests/", card.id.text)),
                                 raw_->name(cat("attempts/", card.id.text))};
  TreeReader reader(*raw_);
  auto visited = reader.visit(read_manifest(*raw_, card.id)->root,
                              {.descend =
                                   [&](const NodeRef& node) {
                                     expected.insert(raw_->name(pack_name(node.frame.pack, PackKind::nodes)));
                                     return true;
                                   },
                               .data = [&](const BlockRef& ref) -> Status {
                                 expected.insert(raw_->name(pack_name(ref.frame.pack, PackKind::data)));
                                 return {};
                               }});
  if (!visited) return fail(visited.error().to_string());
  auto leases = read_leases(*raw_);
  if (leases->size() > 1) return fail(cat(leases->size(), " leases are left"));
  for (const LeaseState& lease : *leases) expected.insert(lease.objects.begin(), lease.objects.end());
  std::string problem;
  auto listed = memory_.list(raw_->prefix(), [&](const storage::ObjectInfo& info) -> Status {
    auto wal = parse_wal_object_name(std::string_view(info.name).substr(raw_->prefix().size()));
    bool kept_wal =
        wal &&
        (wal->file.kind == WalFileKind::history || wal->file.timeline > card.timeline ||
         (wal->file.timeline == card.timeline && wal->file.segment.number >= (card.start_lsn.value >> 20)));
    if (!kept_wal && expected.erase(info.name) == 0 && problem.empty())
      problem = cat("garbage is left: ", info.name);
    return {};
  });
  if (!listed) return fail(listed.error().to_string());
  if (!problem.empty()) return fail(problem);
  if (!expected.empty()) return fail(cat("missing: ", *expected.begin()));
}

}  // namespace lifeboat::repo::model
