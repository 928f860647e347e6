#include "ops/restore/choose.h"

#include <algorithm>
#include <set>

#include "ops/catalogue/damage.h"
#include "ops/catalogue/proof.h"
#include "repo/tombstone.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kMostRead = 8ull << 30;  // bytes of WAL: some seconds
constexpr uint64_t kLookBack = 64;          // segments in which the last commit is looked for

// Can its end lie before the target? Decided by what the card says, before any WAL is read.
bool ends_too_late(const repo::Card& card, const RecoveryTarget& target) {
  if (target.kind == pg::TargetKind::lsn) return card.stop_lsn > target.lsn;
  if (target.kind == pg::TargetKind::time) return card.stopped > target.time;
  return false;
}

class Chooser {
 public:
  Chooser(const ChosenLineage& lineage, const RestoreOptions& options,
          const std::optional<PartialSegment>& local, const WalHistory& history, Reporter& reporter,
          const StopToken& stop)
      : lineage_(lineage), options_(options), local_(local), history_(history) {
    scan_.reporter = &reporter;
    scan_.stop = &stop;
  }

  Result<ChosenBackup> asked(const repo::Card& card) {
    if (card.state == repo::BackupState::aborted) {
      return make_error(
          ErrorKind::not_found, cat("backup ", card.id.text),
          cat("was never completed: ", card.reason.empty() ? "the attempt was aborted" : card.reason));
    }
    return attempt(card);
  }

  Result<ChosenBackup> newest(const std::vector<repo::Card>& candidates) {
    std::optional<Error> first;
    for (const repo::Card& card : candidates) {
      auto chosen = attempt(card);
      if (chosen) {
        chosen->warnings.insert(chosen->warnings.begin(), passed_over_.begin(), passed_over_.end());
        return chosen;
      }
      ErrorKind kind = chosen.error().kind;
      if (kind != ErrorKind::unreachable && kind != ErrorKind::conflict) return chosen;
      if (options_.target.kind == pg::TargetKind::latest ||
          options_.target.kind == pg::TargetKind::immediate) {
        passed_over_.push_back(cat("backup ", card.id.text, " is passed over: ", chosen.error().to_string()));
      }
      if (!first) first = std::move(chosen).error();
    }
    return std::move(*first);
  }

 private:
  // The newest timeline that has WAL; null: the history of none is known.
  const StoredTimeline* newest_timeline() const {
    const StoredTimeline* newest = nullptr;
    for (const StoredTimeline& stored : history_.timelines())
      if (stored.history && (!stored.runs.empty() || !stored.tails.empty())) newest = &stored;
    return newest;
  }

  // Of its last segments; unset: there is none in them.
  Result<Timestamp> last_commit_on(const StoredTimeline& timeline) const {
    // Of what a receiver has stored there may be the tail of a segment alone.
    uint64_t first = 0;
    if (!timeline.runs.empty()) {
      const SegmentRun& run = timeline.runs.back();
      first = std::max(run.first, run.last - std::min(run.last, kLookBack));
    }
    // Before the fork its first segment has what its ancestor wrote.
    const auto& ancestors = timeline.history->ancestors();
    const Lsn fork = ancestors.empty() ? Lsn{} : ancestors.back().end;
    const Lsn from = std::max(fork, Lsn{first * uint64_t{history_.segment_size().bytes}});
    TRY_ASSIGN(RecoveryWindow window, recovery_window(lineage_, history_, timeline.timeline, from, from,
                                                      timeline.timeline, kLookBack, scan_));
    return window.last_commit;
  }

  // After a rollback to before the newest backup, or a failover that it did not see, that backup leads to a
  // branch that was left, and "latest" is the end of another one. By time: a copy that was promoted somewhere
  // has the newest timeline, and not the latest commit.
  Status refuse_left_behind(const repo::Card& card) {
    if (options_.target.kind != pg::TargetKind::latest) return {};
    if (options_.timeline_choice != TimelineChoice::unset &&
        options_.timeline_choice != TimelineChoice::latest)
      return {};
    const StoredTimeline* newest = newest_timeline();
    if (newest == nullptr || newest->history->contains(card.timeline, card.stop_lsn)) return {};
    const std::vector<Timeline> own = history_.descendants(card.timeline, card.stop_lsn);
    if (own.empty()) return {};
    // The same for every backup that is passed over.
    if (!newest_commit_) {
      TRY_ASSIGN(newest_commit_, last_commit_on(*newest));
    }
    const Timestamp theirs = *newest_commit_;
    TRY_ASSIGN(RecoveryWindow ours, recovery_window(lineage_, history_, card.timeline, card.start_lsn,
                                                    card.stop_lsn, own.back(), kLookBack, scan_));
    if (theirs <= std::max(ours.last_commit, card.stopped)) return {};
    return make_error(ErrorKind::unreachable, "recovery target latest",
                      cat("timeline ", newest->timeline.value, " goes on to a commit of ", theirs.to_string(),
                          ", and does not pass through backup ", card.id.text, ", made on timeline ",
                          card.timeline.value, ": that was left by a rollback or a failover"))
        .with_hint(cat("an older backup may lead there; --timeline ", own.back().value,
                       " goes to the end of what was left"));
  }

  Result<ChosenBackup> attempt(const repo::Card& card) {
    TRY(refuse_left_behind(card));
    ReachRequest request = ReachRequest::from(card);
    request.target = options_.target;
    request.choice = options_.timeline_choice;
    request.timeline = options_.timeline;
    request.unfinished = UnfinishedSegment::use;
    request.local = local_;
    ChosenBackup chosen{card, {}, {}, {}, {}};
    TRY_ASSIGN(chosen.reach, find_reach(lineage_, history_, request, scan_));
    TRY(read_wal(chosen));
    if (!chosen.replayed.stops_earlier) return chosen;
    request.commit_times = CommitTimes::any_order;
    TRY_ASSIGN(chosen.reach, find_reach(lineage_, history_, request, scan_));
    TRY(read_wal(chosen));
    chosen.warnings.push_back(
        "the clock of the server was set back, or ahead for a while: recovery to a time stops at the first "
        "later "
        "commit, whatever follows it");
    return chosen;
  }

  // Raised settings are all that is looked for where tablespaces keep their places and the end is no time:
  // not worth minutes.
  Status read_wal(ChosenBackup& chosen) const {
    const Reach& reach = chosen.reach;
    if (options_.replace && options_.target.kind != pg::TargetKind::time && reach.wal_bytes > kMostRead) {
      chosen.warnings.push_back(
          cat(format_bytes(reach.wal_bytes),
              " of WAL are not searched for raised settings; if recovery stops because max_connections or "
              "another setting is lower than on the primary, raise it in postgresql.auto.conf and start "
              "again"));
      return {};
    }
    Lsn from = chosen.card.start_lsn;
    if (options_.reads_wal_later) {
      // Segments are read when the server wants them (replay_check.h), but for an unfinished one, which is
      // put into pg_wal, and what leads into it.
      if (!reach.partial) return {};
      from = std::max(from, Lsn{reach.path.whole_end.value - reach.path.segment_size.bytes});
    }
    ScanOptions scan = scan_;
    scan.from_is_record = from == chosen.card.start_lsn;
    TRY_ASSIGN(chosen.replayed,
               read_replayed_wal(lineage_, options_.target, reach.path, from, reach.stop, scan));
    return {};
  }

  const ChosenLineage& lineage_;
  const RestoreOptions& options_;
  const std::optional<PartialSegment>& local_;
  const WalHistory& history_;
  ScanOptions scan_;
  std::vector<std::string> passed_over_;
  std::optional<Timestamp> newest_commit_;  // on the newest timeline, once it was looked for
};

// What is known against restoring a backup; empty: nothing. That the operator's own questions failed in a
// drill is not: it came back, and an older one would hardly answer them better.
std::string known_against(const repo::Card& card, const Proofs& proofs) {
  if (card.state == repo::BackupState::damaged) {
    return cat("backup ", card.id.text, " holds ", card.broken_pages, " broken pages");
  }
  const BackupProofs* of = proofs.of(card.id);
  const BackupProof* failed = of == nullptr ? nullptr : failed_proof(*of);
  if (failed == nullptr || failed->by_questions) return "";
  return cat("backup ", card.id.text, " failed its last check (", failed->evidence,
             "): ", first_problem(*failed));
}

// It came back, so it is taken; whoever restores may want to know.
void tell_of_questions(const Proofs& proofs, ChosenBackup& chosen) {
  const BackupProofs* of = proofs.of(chosen.card.id);
  const BackupProof* failed = of == nullptr ? nullptr : failed_proof(*of);
  if (failed != nullptr && failed->by_questions)
    chosen.warnings.push_back(cat("in the last drill of backup ", chosen.card.id.text,
                                  " an answer was not as expected (", failed->evidence,
                                  "): ", first_problem(*failed)));
}

struct Candidates {
  std::vector<repo::Card> good;
  std::vector<repo::Card> doubtful;  // those that cannot restore last
};

std::vector<BackupId> others_than(const BackupId& chosen, const Candidates& candidates,
                                  const Proofs& proofs) {
  std::vector<BackupId> others;
  for (const auto* cards : {&candidates.good, &candidates.doubtful})
    for (const repo::Card& card : *cards)
      if (card.id != chosen && !cannot_restore(card, proofs)) others.push_back(card.id);
  return others;
}

Result<ChosenBackup> choose_asked(Chooser& chooser, const repo::Card& card, const Proofs& proofs) {
  TRY_ASSIGN(ChosenBackup chosen, chooser.asked(card));
  if (std::string against = known_against(card, proofs); !against.empty()) chosen.warnings.push_back(against);
  tell_of_questions(proofs, chosen);
  return chosen;
}

Result<ChosenBackup> choose_among(Chooser& chooser, const Candidates& candidates, const Proofs& proofs) {
  if (!candidates.good.empty()) {
    auto chosen = chooser.newest(candidates.good);
    if (chosen) {
      tell_of_questions(proofs, *chosen);
      // Replaying from an older one costs time, and whoever restores may know better.
      for (const repo::Card& card : candidates.doubtful) {
        if (card.started < chosen->card.started) continue;
        chosen->warnings.push_back(cat(known_against(card, proofs), "; the older ", chosen->card.id.text,
                                       " is used (--backup ", card.id.text, " takes it all the same)"));
      }
      return chosen;
    }
    if (candidates.doubtful.empty()) return chosen;
    auto fallback = chooser.newest(candidates.doubtful);
    if (!fallback) return chosen;
    fallback->warnings.push_back(known_against(fallback->card, proofs));
    return fallback;
  }
  TRY_ASSIGN(ChosenBackup chosen, chooser.newest(candidates.doubtful));
  chosen.warnings.push_back(known_against(chosen.card, proofs));
  return chosen;
}

}  // namespace

Result<ChosenBackup> choose_backup(const ChosenLineage& lineage, const RestoreOptions& options,
                                   const std::optional<PartialSegment>& local, Reporter& reporter,
                                   const StopToken& stop) {
  std::string where = cat("cluster ", lineage.repo.cluster(), " in ", lineage.repo.store().url());
  TRY_ASSIGN(WalHistory history, WalHistory::load(lineage));
  TRY_ASSIGN(std::vector<repo::Card> cards, repo::read_cards(lineage.repo));
  TRY_ASSIGN(std::set<BackupId> condemned, repo::tombstoned_backups(lineage.repo));
  // What was proven is advice here: a restore goes on without it.
  Proofs proofs;
  if (auto read = read_proofs(lineage.repo)) proofs = std::move(*read);
  Chooser chooser(lineage, options, local, history, reporter, stop);

  Candidates candidates;
  const repo::Card* oldest = nullptr;
  for (auto card = cards.rbegin(); card != cards.rend(); ++card) {
    if (card->state == repo::BackupState::aborted || condemned.contains(card->id)) continue;
    oldest = &*card;
    if (ends_too_late(*card, options.target)) continue;
    (known_against(*card, proofs).empty() ? candidates.good : candidates.doubtful).push_back(*card);
  }
  std::ranges::stable_sort(candidates.doubtful, {},
                           [&](const repo::Card& card) { return cannot_restore(card, proofs); });

  if (options.backup) {
    auto card = std::ranges::find_if(cards, [&](const repo::Card& c) { return c.id == *options.backup; });
    if (card == cards.end() || condemned.contains(card->id)) {
      return make_error(ErrorKind::not_found, cat("backup ", options.backup->text),
                        cat(card == cards.end() ? "is not in " : "has expired in ", where))
          .with_hint("lifeboat list shows what is there");
    }
    TRY_ASSIGN(ChosenBackup chosen, choose_asked(chooser, *card, proofs));
    chosen.others = others_than(card->id, candidates, proofs);
    return chosen;
  }
  if (oldest == nullptr) {
    return make_error(ErrorKind::not_found, where, "there is no backup")
        .with_hint("make one: lifeboat backup");
  }
  if (candidates.good.empty() && candidates.doubtful.empty()) {
    return make_error(ErrorKind::unreachable, cat("recovery target ", options.target.to_string()),
                      cat("lies before the end of the oldest backup, ", oldest->id.text, ", which ended at ",
                          oldest->stopped.to_string(), ", ", oldest->stop_lsn.to_string()))
        .with_hint("recovery can only go forward from the end of a backup");
  }
  TRY_ASSIGN(ChosenBackup chosen, choose_among(chooser, candidates, proofs));
  chosen.others = others_than(chosen.card.id, candidates, proofs);
  return chosen;
}

}  // namespace lifeboat::ops
