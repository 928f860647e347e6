#include "repo/collect.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "repo/manifest.h"
#include "repo/pack.h"
#include "repo/summary_store.h"
#include "repo/tree.h"
#include "repo/wal_store.h"
#include "repo/wal_tail.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr std::string_view kPurpose = "expire";
constexpr int64_t kUnfinishedUs = 24ll * 3600 * 1'000'000;

struct PackFile {
  PackId id;
  PackKind kind;
  uint64_t bytes;
};

// One look at a lineage, taken in the order that collection relies on.
struct View {
  std::vector<PackFile> packs;
  std::map<BackupId, uint64_t> manifests;  // stored size
  std::map<BackupId, uint64_t> attempts;   // "attempts/<id>"
  Timestamp now;
  std::vector<LeaseState> leases;
  std::vector<LeaseVerdict> verdicts;  // of each lease
  std::map<BackupId, Card> cards;      // all states
  std::map<BackupId, uint64_t> card_bytes;
  std::vector<Tombstone> tombstones;
  std::set<BackupId> dead;  // attempts without a card whose lease is over: poisoned when they may be

  bool counts(const BackupId& id) const {
    auto card = cards.find(id);
    return card != cards.end() && card->second.state != BackupState::aborted;
  }
  bool aborted(const BackupId& id) const {
    auto card = cards.find(id);
    return dead.contains(id) || (card != cards.end() && card->second.state == BackupState::aborted);
  }
};

enum class Effect : uint8_t { look, poison };

class Looker {
 public:
  Looker(const LineageRepo& repo, const ExpireOptions& options) : repo_(repo), options_(options) {}

  Result<View> look(Effect effect) {
    View view;
    if (options_.guards.packs_first) TRY(list_packs(view));
    TRY(list_ids("manifests/", view.manifests));
    TRY(list_ids("attempts/", view.attempts));
    TRY_ASSIGN(view.now, repo_.store().now());
    TRY_ASSIGN(view.leases, read_leases(repo_));
    TRY(judge_leases(view, effect));
    TRY(list_ids("cards/", view.card_bytes));
    TRY_ASSIGN(std::vector<Card> cards, read_cards(repo_));
    for (Card& card : cards) view.cards.emplace(card.id, std::move(card));
    TRY_ASSIGN(view.tombstones, read_tombstones(repo_));
    if (!options_.guards.packs_first) TRY(list_packs(view));
    return view;
  }

 private:
  Status list_packs(View& view) {
    return repo_.store().list(repo_.name("packs/"), [&](const storage::ObjectInfo& info) -> Status {
      auto pack = parse_pack_name(std::string_view(info.name).substr(repo_.prefix().size()));
      if (pack) view.packs.push_back({pack->pack, pack->kind, info.size});  // others are reported by verify
      return {};
    });
  }

  Status list_ids(std::string_view folder, std::map<BackupId, uint64_t>& ids) {
    std::string prefix = repo_.name(folder);
    return repo_.store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
      if (auto id = BackupId::parse(std::string_view(info.name).substr(prefix.size()))) ids[*id] = info.size;
      return {};
    });
  }

  Status judge_leases(View& view, Effect effect) {
    std::map<BackupId, uint64_t> cards;
    TRY(list_ids("cards/", cards));
    auto has_card = [&](const BackupId& id) -> Result<bool> { return cards.contains(id); };
    auto is_gone = options_.lease.is_gone ? options_.lease.is_gone : process_is_gone;
    for (const LeaseState& lease : view.leases) {
      TRY_ASSIGN(LeaseVerdict verdict, judge_lease(lease, view.now, has_card, is_gone));
      view.verdicts.push_back(verdict);
      if (verdict != LeaseVerdict::dead) continue;
      auto id = BackupId::parse(lease.record.id);
      if (!id) return make_error(ErrorKind::damaged, lease.objects.front(), "does not name a backup");
      bool is_dead = true;
      if (effect == Effect::poison && options_.guards.poison) {
        std::string reason = cat("its process ", lease.record.process.pid, " on host ",
                                 lease.record.process.host, " ended, or lost its lease, without finishing");
        TRY_ASSIGN(is_dead, poison_attempt(repo_, *id, reason, lease.record.process.host, view.now));
      }
      if (is_dead) view.dead.insert(*id);
    }
    return {};
  }

  const LineageRepo& repo_;
  const ExpireOptions& options_;
};

// Which packs the trees that count reach: one bit per node frame, so that a shared node is walked once, and
// one entry per data pack.
class Marker {
 public:
  explicit Marker(const LineageRepo& repo, StopToken* stop) : repo_(repo), reader_(repo), stop_(stop) {}

  Status mark(const BackupId& id) {
    auto manifest = read_manifest(repo_, id);
    if (!manifest)
      return std::move(manifest).error().within("cannot tell what it refers to, so no pack is removed");
    TreeReader::Visitor visitor;
    visitor.descend = [&](const NodeRef& node) {
      std::vector<bool>& seen = nodes_[key(node.frame.pack)];
      uint32_t number = node.frame.place.number;
      if (seen.size() <= number) seen.resize(number + 1);
      if (seen[number]) return false;
      seen[number] = true;
      return true;
    };
    visitor.data = [&](const BlockRef& ref) -> Status {
      data_.insert(key(ref.frame.pack));
      return stop_ != nullptr ? stop_->check() : Status();
    };
    auto visited = reader_.visit(manifest->root, visitor);
    if (!visited) {
      return std::move(visited).error().within(
          cat("no pack is removed while the tree of ", id.text, " is damaged"));
    }
    return {};
  }

  bool reached(const PackFile& pack) const {
    auto owner = owners_.find(pack.id.backup);
    if (owner == owners_.end()) return false;
    uint64_t wanted = uint64_t{owner->second} << 32 | pack.id.number;
    return pack.kind == PackKind::data ? data_.contains(wanted) : nodes_.contains(wanted);
  }

 private:
  uint64_t key(const PackId& pack) {
    auto owner = owners_.try_emplace(pack.backup, static_cast<uint32_t>(owners_.size())).first;
    return uint64_t{owner->second} << 32 | pack.number;
  }

  const LineageRepo& repo_;
  TreeReader reader_;
  StopToken* stop_;
  std::map<BackupId, uint32_t> owners_;
  std::unordered_map<uint64_t, std::vector<bool>> nodes_;
  std::unordered_set<uint64_t> data_;
};

class Collector {
 public:
  Collector(const LineageRepo& repo, const ExpireOptions& options, const View& view)
      : repo_(repo), options_(options), view_(view), wal_(repo), summaries_(repo), tails_(repo) {
    for (size_t i = 0; i < view.leases.size(); ++i) {
      if (view.verdicts[i] != LeaseVerdict::live) continue;
      const LeaseState& lease = view.leases[i];
      in_use_.insert(lease.record.references.begin(), lease.record.references.end());
      if (lease.kind == LeaseKind::backup) {
        running_.insert(BackupId{lease.record.id});
        live_backup_leases_.push_back(&lease);
      }
    }
    for (const LeaseState& lease : view.leases) newest_sequence_ = std::max(newest_sequence_, lease.sequence);
  }

  // --- phase 1
  // -----------------------------------------------------------------------------------------------------

  Status condemn(ExpirePlan& plan) {
    TRY_ASSIGN(RetentionInput input, retention_input());
    plan.retention = plan_retention(input, options_.policy, options_.guards.retention);
    if (options_.approved) {
      for (const BackupDecision& decision : plan.retention.expire) {
        if (!options_.approved->contains(decision.id)) input.held.insert(decision.id);
      }
      if (!input.held.empty()) {
        plan.retention = plan_retention(input, options_.policy, options_.guards.retention);
      }
    }
    Tombstone& tombstone = plan.tombstone;
    tombstone.created = view_.now;
    tombstone.grace_us = options_.grace_us;
    for (const BackupDecision& decision : plan.retention.expire) tombstone.backups.push_back(decision.id);
    for (const BackupId& id : attempts_with_objects()) {
      if (!condemned_attempts().contains(id) && !in_use_.contains(id)) tombstone.attempts.push_back(id);
    }
    std::vector<WalRange> condemned_wal;
    for (const Tombstone& old : view_.tombstones) {
      condemned_wal.insert(condemned_wal.end(), old.wal.begin(), old.wal.end());
    }
    tombstone.wal = subtract(removable_wal(plan.retention), condemned_wal);
    // What this run deletes is another matter: a backup that is condemned only now may be in use for all of
    // its grace.
    if (options_.grace_us != 0) {
      for (const BackupId& id : tombstone.backups) {
        const Card& card = view_.cards.at(id);
        input.expiring.push_back({card.timeline, card.start_lsn});
      }
    }
    removable_wal_ = removable_wal(plan_retention(input, options_.policy, options_.guards.retention));
    return {};
  }

  // --- phase 2
  // -----------------------------------------------------------------------------------------------------

  Status collect(const std::vector<Tombstone>& tombstones, ExpirePlan& plan) {
    for (const Tombstone& tombstone : tombstones) {
      bool ripe = tombstone.ripe(view_.now) || !options_.guards.grace;
      (ripe ? plan.ripe : plan.unripe).push_back(tombstone);
    }
    std::set<BackupId> doomed = doomed_in(plan.ripe, &Tombstone::backups, plan);
    std::set<BackupId> doomed_attempts = doomed_in(plan.ripe, &Tombstone::attempts, plan);

    if (!options_.guards.tombstone_last) delete_tombstones(plan);
    delete_leases(doomed, plan);
    if (options_.guards.card_first) delete_cards(doomed, plan);
    for (const BackupId& id : doomed) delete_belongings(id, plan);
    for (const BackupId& id : doomed_attempts) delete_belongings(id, plan);
    if (!doomed.empty() || !doomed_attempts.empty() || has_leftover_packs()) {
      TRY(delete_packs(doomed, doomed_attempts, plan));
    }
    TRY(delete_wal(plan));
    if (!options_.guards.card_first) delete_cards(doomed, plan);
    delete_aborted_cards(plan);
    if (options_.guards.tombstone_last) delete_tombstones(plan);
    for (const ExpirePlan::Deletion& deletion : plan.deletions) plan.bytes += deletion.bytes;
    return {};
  }

  // Backup leases that are to be marked as over before their backup's card goes.
  const std::vector<uint32_t>& leases_to_end() const { return leases_to_end_; }

 private:
  Result<RetentionInput> retention_input() {
    RetentionInput input;
    input.now = view_.now;
    input.segment_size = options_.segment_size;
    std::set<BackupId> condemned;
    std::set<BackupId> ripe;
    for (const Tombstone& tombstone : view_.tombstones) {
      condemned.insert(tombstone.backups.begin(), tombstone.backups.end());
      if (tombstone.ripe(view_.now)) ripe.insert(tombstone.backups.begin(), tombstone.backups.end());
    }
    for (const auto& [id, card] : view_.cards) {
      if (card.state == BackupState::aborted) continue;
      if (condemned.contains(id)) {
        // It will go, but who restores it now needs its WAL too, which an older tombstone may have condemned.
        bool goes_now = ripe.contains(id) && !in_use_.contains(id);
        if (!goes_now) input.expiring.push_back({card.timeline, card.start_lsn});
        continue;
      }
      const bool damaged = card.state == BackupState::damaged || options_.found_damaged.contains(id);
      input.backups.push_back({id, damaged, options_.verified.contains(id), card.started, card.stopped,
                               card.timeline, card.start_lsn, card.stop_lsn,
                               card.dump ? kinds_of(*card.dump) : std::vector<std::string>{""}});
    }
    input.leases.references = in_use_;
    for (const LeaseState* lease : live_backup_leases_) {
      if (lease->record.wal_from) {
        input.leases.running.push_back(*lease->record.wal_from);
      } else {
        input.leases.running_without_start = true;
      }
    }
    TRY_ASSIGN(std::set<Timeline> timelines, timelines_with_wal());
    for (Timeline timeline : timelines) {
      TimelineFacts facts;
      facts.timeline = timeline;
      TRY_ASSIGN(auto extent, wal_.extent(timeline));
      if (extent) {
        facts.oldest = extent->oldest;
        facts.newest = extent->newest;
      }
      // A tail is WAL like any other: it stays as long as what leads to it.
      TRY(tails_.list(timeline, {}, [&](const TailPiece& piece) -> Status {
        facts.oldest = std::min(facts.oldest.value_or(piece.segment), piece.segment);
        facts.newest = std::max(facts.newest.value_or(piece.segment), piece.segment);
        return {};
      }));
      auto history = wal_.history(timeline);
      if (history) {
        facts.history = std::move(*history);
      } else if (history.error().kind != ErrorKind::not_found &&
                 history.error().kind != ErrorKind::conflict) {
        return std::move(history).error();
      }
      input.timelines.push_back(std::move(facts));
    }
    return input;
  }

  Result<std::set<Timeline>> timelines_with_wal() const {
    TRY_ASSIGN(std::vector<Timeline> found, wal_.timelines());
    TRY_ASSIGN(std::vector<Timeline> with_tails, tails_.timelines());
    std::set<Timeline> timelines(found.begin(), found.end());
    timelines.insert(with_tails.begin(), with_tails.end());
    return timelines;
  }

  static std::vector<WalRange> removable_wal(const RetentionPlan& retention) {
    std::vector<WalRange> ranges;
    for (const WalDecision& decision : retention.remove_wal) ranges.push_back(decision.range);
    return ranges;
  }

  // Attempts that will never become backups, as far as they left a record or a manifest. Packs without these
  // have had their grace: a later backup went on with them, or their writer slept past its end.
  std::set<BackupId> attempts_with_objects() const {
    std::set<BackupId> found;
    for (const auto& [id, size] : view_.manifests) found.insert(id);
    for (const auto& [id, size] : view_.attempts) found.insert(id);
    std::erase_if(found, [&](const BackupId& id) { return !view_.aborted(id) || running_.contains(id); });
    return found;
  }

  std::set<BackupId> condemned_attempts() const {
    std::set<BackupId> condemned;
    for (const Tombstone& tombstone : view_.tombstones) {
      condemned.insert(tombstone.attempts.begin(), tombstone.attempts.end());
    }
    return condemned;
  }

  bool leased(const BackupId& id) const { return options_.guards.respect_leases && in_use_.contains(id); }

  std::set<BackupId> doomed_in(const std::vector<Tombstone>& ripe, std::vector<BackupId> Tombstone::* member,
                               ExpirePlan& plan) const {
    std::set<BackupId> doomed;
    for (const Tombstone& tombstone : ripe) {
      for (const BackupId& id : tombstone.*member) {
        if (leased(id)) {
          plan.spared.push_back(id);
        } else {
          doomed.insert(id);
        }
      }
    }
    return doomed;
  }

  void remove(ExpirePlan& plan, std::string object, uint64_t bytes) const {
    plan.deletions.push_back({std::move(object), bytes});
  }

  // A lease goes when its backup has a card, which says all there is to say; the newest one stays, because
  // its number must never be given again.
  void delete_leases(const std::set<BackupId>& doomed, ExpirePlan& plan) {
    for (size_t i = 0; i < view_.leases.size(); ++i) {
      const LeaseState& lease = view_.leases[i];
      if (view_.verdicts[i] == LeaseVerdict::live) continue;
      if (lease.kind == LeaseKind::backup) {
        BackupId id{lease.record.id};
        if (lease.sequence == newest_sequence_) {
          if (!lease.ended && doomed.contains(id)) leases_to_end_.push_back(lease.sequence);
          continue;
        }
        // A dead attempt that could not be poisoned had committed.
        if (view_.verdicts[i] == LeaseVerdict::dead && !view_.aborted(id) && !view_.counts(id)) continue;
      }
      for (const std::string& object : lease.objects) remove(plan, object, 0);
    }
  }

  void delete_cards(const std::set<BackupId>& doomed, ExpirePlan& plan) const {
    for (const BackupId& id : doomed) {
      auto bytes = view_.card_bytes.find(id);
      if (bytes != view_.card_bytes.end()) remove(plan, repo_.name(cat("cards/", id.text)), bytes->second);
    }
  }

  void delete_belongings(const BackupId& id, ExpirePlan& plan) const {
    if (auto manifest = view_.manifests.find(id); manifest != view_.manifests.end()) {
      remove(plan, repo_.name(cat("manifests/", id.text)), manifest->second);
    }
    if (auto attempt = view_.attempts.find(id); attempt != view_.attempts.end()) {
      remove(plan, repo_.name(cat("attempts/", id.text)), attempt->second);
    }
  }

  // Of an attempt whose record is gone, or that never had one.
  bool is_leftover(const BackupId& owner) const {
    return view_.aborted(owner) && !view_.attempts.contains(owner) && !running_.contains(owner);
  }

  bool has_leftover_packs() const {
    return std::ranges::any_of(view_.packs,
                               [&](const PackFile& pack) { return is_leftover(pack.id.backup); });
  }

  Status delete_packs(const std::set<BackupId>& doomed, const std::set<BackupId>& doomed_attempts,
                      ExpirePlan& plan) {
    std::set<BackupId> unripe;
    for (const Tombstone& tombstone : plan.unripe)
      unripe.insert(tombstone.backups.begin(), tombstone.backups.end());
    Marker marker(repo_, options_.stop);
    for (const auto& [id, card] : view_.cards) {
      if (!view_.counts(id) || doomed.contains(id)) continue;
      if (!options_.guards.unripe_count && unripe.contains(id)) continue;
      TRY(marker.mark(id));
    }
    // A manifest or record without card and lease is what two runs left that overtook each other.
    auto stray = [&](const BackupId& id) {
      return !view_.cards.contains(id) && !view_.dead.contains(id) && !running_.contains(id) &&
             !doomed.contains(id);
    };
    for (const auto& [id, bytes] : view_.manifests) {
      if (stray(id)) remove(plan, repo_.name(cat("manifests/", id.text)), bytes);
    }
    for (const auto& [id, bytes] : view_.attempts) {
      if (stray(id)) remove(plan, repo_.name(cat("attempts/", id.text)), bytes);
    }
    for (const PackFile& pack : view_.packs) {
      const BackupId& owner = pack.id.backup;
      if (running_.contains(owner)) continue;
      // Packs of attempts have a grace of their own. Those of a backup that expired long ago, without card
      // and lease, have had theirs, and so have those of an attempt without its record.
      if (view_.aborted(owner) && !doomed_attempts.contains(owner) && !is_leftover(owner)) continue;
      if (marker.reached(pack)) continue;
      remove(plan, repo_.name(pack_name(pack.id, pack.kind)), pack.bytes);
    }
    return {};
  }

  Status delete_wal(ExpirePlan& plan) {
    std::vector<WalRange> condemned;
    for (const Tombstone& tombstone : plan.ripe) {
      condemned.insert(condemned.end(), tombstone.wal.begin(), tombstone.wal.end());
    }
    if (options_.guards.wal_recheck) condemned = intersect(condemned, removable_wal_);
    std::set<std::string> named;
    auto remove_once = [&](const WalObject& object) -> Status {
      if (named.insert(object.object).second) remove(plan, object.object, object.stored_bytes);
      return {};
    };
    for (const WalRange& range : condemned) {
      TRY(summaries_.list(range.from.timeline, {range.from, range.end}, remove_once));
      TRY(wal_.list(range.from.timeline, {range.from, range.end}, remove_once));
    }
    TRY(delete_tails(condemned, plan));
    // Somebody may have summarised a segment while another run removed it.
    TRY_ASSIGN(std::vector<Timeline> timelines, summaries_.timelines());
    for (Timeline timeline : timelines) {
      TRY_ASSIGN(auto extent, wal_.extent(timeline));
      WalStore::Range gone;
      if (extent) gone.end = extent->oldest;
      TRY(summaries_.list(timeline, gone, remove_once));
    }
    return {};
  }

  // Those of condemned WAL, and what a receiver left that died before it could remove them, or that may not.
  Status delete_tails(const std::vector<WalRange>& condemned, ExpirePlan& plan) const {
    TRY_ASSIGN(std::vector<Timeline> timelines, tails_.timelines());
    for (Timeline timeline : timelines) {
      TRY_ASSIGN(std::vector<TailPiece> pieces, tails_.list(timeline));
      for (const TailPiece& piece : pieces) {
        bool goes = std::ranges::any_of(condemned,
                                        [&](const WalRange& range) { return range.contains(piece.segment); });
        if (!goes) {
          TRY_ASSIGN(goes, stored_whole(piece.segment));
        }
        if (goes) remove(plan, piece.object, piece.stored_bytes);
      }
    }
    return {};
  }

  Result<bool> stored_whole(const SegmentName& segment) const {
    auto file = WalFileName::parse(segment.to_string());
    CHECK(file.has_value());
    TRY_ASSIGN(std::vector<WalObject> stored, wal_.find_all(*file));
    return !stored.empty();
  }

  // An aborted card is what stops a host that wakes up late, so it stays long after all else of the attempt
  // is gone.
  void delete_aborted_cards(ExpirePlan& plan) {
    std::set<BackupId> with_objects = attempts_with_objects();
    std::set<BackupId> condemned = condemned_attempts();
    for (const auto& [id, card] : view_.cards) {
      if (card.state != BackupState::aborted || with_objects.contains(id) || condemned.contains(id)) continue;
      if (view_.now.unix_us - card.stopped.unix_us <= options_.aborted_card_us) continue;
      for (const LeaseState& lease : view_.leases) {
        if (lease.kind == LeaseKind::backup && lease.record.id == id.text && !lease.ended &&
            lease.sequence == newest_sequence_) {
          leases_to_end_.push_back(lease.sequence);
        }
      }
      remove(plan, repo_.name(cat("cards/", id.text)), view_.card_bytes.at(id));
    }
  }

  void delete_tombstones(ExpirePlan& plan) const {
    for (const Tombstone& tombstone : plan.ripe) {
      bool waits = std::any_of(tombstone.backups.begin(), tombstone.backups.end(),
                               [&](const BackupId& id) { return leased(id); }) ||
                   std::any_of(tombstone.attempts.begin(), tombstone.attempts.end(),
                               [&](const BackupId& id) { return leased(id); });
      if (!waits) remove(plan, repo_.name(cat("tombstones/", tombstone.id)), 0);
    }
  }

  const LineageRepo& repo_;
  const ExpireOptions& options_;
  const View& view_;
  WalStore wal_;
  SummaryStore summaries_;
  TailStore tails_;
  std::set<BackupId> in_use_;   // what live leases refer to
  std::set<BackupId> running_;  // attempts with a live lease
  std::vector<const LeaseState*> live_backup_leases_;
  uint32_t newest_sequence_ = 0;
  std::vector<WalRange> removable_wal_;  // by the rules of today; set by condemn()
  std::vector<uint32_t> leases_to_end_;
};

}  // namespace

Result<ExpirePlan> plan_expiry(const LineageRepo& repo, const ExpireOptions& options) {
  TRY_ASSIGN(View view, Looker(repo, options).look(Effect::look));
  Collector collector(repo, options, view);
  ExpirePlan plan;
  TRY(collector.condemn(plan));
  std::vector<Tombstone> tombstones = view.tombstones;
  // With no grace the run itself carries out what it condemns.
  if (options.grace_us == 0 && !plan.tombstone.empty()) tombstones.push_back(plan.tombstone);
  TRY(collector.collect(tombstones, plan));
  return plan;
}

namespace {

// Is another run of expiry at work, that may hold a list of what it is going to delete?
Result<bool> others_at_work(const LineageRepo& repo, const std::string& own_id,
                            const ExpireOptions& options) {
  TRY_ASSIGN(Timestamp now, repo.store().now());
  TRY_ASSIGN(std::vector<LeaseState> leases, read_leases(repo));
  auto is_gone = options.lease.is_gone ? options.lease.is_gone : process_is_gone;
  auto no_card = [](const BackupId&) -> Result<bool> { return false; };
  for (const LeaseState& lease : leases) {
    if (lease.kind != LeaseKind::reader || lease.record.purpose != kPurpose || lease.record.id == own_id)
      continue;
    TRY_ASSIGN(LeaseVerdict verdict, judge_lease(lease, now, no_card, is_gone));
    if (verdict == LeaseVerdict::live) return true;
  }
  return false;
}

Status delete_all(const LineageRepo& repo, const ExpireOptions& options, const ReaderLease* lease,
                  ExpirePlan& plan) {
  std::vector<ExpirePlan::Deletion> done;
  std::optional<bool> others;
  for (ExpirePlan::Deletion& deletion : plan.deletions) {
    if (options.stop != nullptr) TRY(options.stop->check());
    bool is_tombstone = deletion.object.starts_with(repo.name("tombstones/"));
    if (is_tombstone && lease != nullptr && !others) {
      TRY_ASSIGN(others, others_at_work(repo, lease->id(), options));
    }
    if (is_tombstone && others.value_or(false)) continue;
    if (lease != nullptr) TRY(lease->check());
    TRY(repo.store().remove(deletion.object));
    done.push_back(std::move(deletion));
  }
  plan.deletions = std::move(done);
  return {};
}

Result<ExpirePlan> condemn_and_collect(const LineageRepo& repo, const ExpireOptions& options,
                                       const ReaderLease* lease) {
  Looker looker(repo, options);
  TRY_ASSIGN(View view, looker.look(Effect::poison));
  ExpirePlan plan;
  auto collector = std::make_unique<Collector>(repo, options, view);
  TRY(collector->condemn(plan));
  if (!plan.tombstone.empty()) TRY(write_tombstone(repo, plan.tombstone));
  if (!plan.tombstone.empty() && options.grace_us == 0) {
    // It is carried out at once; who took a lease before it was there must be seen first.
    TRY_ASSIGN(view, looker.look(Effect::poison));
    collector = std::make_unique<Collector>(repo, options, view);
    ExpirePlan today;
    TRY(collector->condemn(today));
  }
  TRY(collector->collect(view.tombstones, plan));
  for (uint32_t sequence : collector->leases_to_end()) TRY(end_backup_lease(repo, sequence));
  TRY(delete_all(repo, options, lease, plan));
  TRY_ASSIGN(Timestamp now, repo.store().now());
  TRY(repo.store().remove_unfinished(now.plus_us(-kUnfinishedUs)));
  return plan;
}

}  // namespace

Result<ExpirePlan> run_expiry(const LineageRepo& repo, const ExpireOptions& options) {
  int64_t lease_us = options.lease.timing.lease_us;
  if (options.grace_us != 0 && options.grace_us <= lease_us) {
    return make_error(ErrorKind::config, "grace",
                      cat(options.grace_us / 1'000'000, " s is not longer than the lease time, ",
                          lease_us / 1'000'000, " s"));
  }
  if (!options.guards.own_lease) return condemn_and_collect(repo, options, nullptr);
  TRY_ASSIGN(ReaderLease lease, ReaderLease::acquire(repo, kPurpose, {}, options.lease));
  if (!lease.held()) {
    return make_error(ErrorKind::permission, repo.store().url(),
                      "the repository cannot be written, so nothing can expire");
  }
  auto plan = condemn_and_collect(repo, options, &lease);
  auto removed = lease.remove();
  if (plan && !removed) return std::move(removed).error();
  return plan;
}

}  // namespace lifeboat::repo
