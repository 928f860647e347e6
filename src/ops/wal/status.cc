#include "ops/wal/status.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "ops/catalogue/damage.h"
#include "ops/doctor/facts.h"
#include "ops/wal/gap.h"
#include "ops/wal/reach.h"
#include "pg/client/facts.h"
#include "repo/tombstone.h"
#include "repo/wal_store.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kHourUs = 3'600'000'000;
constexpr int64_t kDayUs = 24 * kHourUs;

class LineageLook {
 public:
  LineageLook(const ChosenLineage& lineage, Timestamp now, Reporter& reporter, const StopToken& stop)
      : lineage_(lineage), size_(lineage.record.segment_size), now_(now), reporter_(reporter), stop_(stop) {}

  Result<LineageWalStatus> run() {
    status_.record = lineage_.record;
    TRY_ASSIGN(history_, WalHistory::load(lineage_));
    TRY(read_backups());
    TRY_ASSIGN(gaps_, read_gaps(lineage_.repo));
    for (const StoredTimeline& stored : history_.timelines()) {
      TRY(stop_.check());
      TimelineStatus timeline = describe(stored);
      TRY(count_objects(timeline));
      status_.timelines.push_back(std::move(timeline));
    }
    for (TimelineStatus& timeline : status_.timelines) TRY(find_windows(timeline));
    for (const WalPath& path : paths_) mark_obstacle(path);
    for (TimelineStatus& timeline : status_.timelines) {
      for (WalHole& hole : timeline.holes) explain(hole);
    }
    return std::move(status_);
  }

 private:
  // Those that a recovery may begin with, by their end.
  Status read_backups() {
    TRY_ASSIGN(repo::Condemned condemned, repo::read_condemned(lineage_.repo));
    TRY_ASSIGN(backups_, repo::read_cards(lineage_.repo));
    TRY_ASSIGN(Proofs proofs, read_proofs(lineage_.repo));
    TRY(spread_damage(lineage_.repo, proofs));
    std::erase_if(backups_, [&](const repo::Card& card) {
      return card.state == repo::BackupState::aborted || condemned.condemns(card.id);
    });
    for (const repo::Card& card : backups_)
      if (cannot_restore(card, proofs)) damaged_.insert(card.id);
    status_.damaged_backups = damaged_.size();
    std::ranges::sort(backups_, {}, &repo::Card::stop_lsn);
    return {};
  }

  SegmentName name(Timeline timeline, uint64_t index) const {
    return SegmentName::containing(timeline, {index * uint64_t{size_.bytes}}, size_);
  }

  // What the listing says of one timeline by itself.
  TimelineStatus describe(const StoredTimeline& stored) const {
    TimelineStatus timeline;
    timeline.timeline = stored.timeline;
    timeline.has_history_file = stored.has_history_file;
    timeline.problem = stored.problem;
    timeline.partials = stored.partials;
    if (stored.history && !stored.history->ancestors().empty())
      timeline.origin = stored.history->ancestors().back();
    if (!stored.runs.empty()) {
      timeline.oldest = name(stored.timeline, stored.runs.front().first);
      timeline.newest = name(stored.timeline, stored.runs.back().last);
    }
    for (const SegmentRun& run : stored.runs) timeline.segments += run.last - run.first + 1;
    for (const SegmentName& segment : stored.conflicts) timeline.conflicts.push_back({segment, {}, false});
    for (size_t i = 1; i < stored.runs.size(); ++i) {
      add_holes(timeline, stored.runs[i - 1].last + 1, stored.runs[i].first - 1);
    }
    return timeline;
  }

  // The stretches from `first` to `last` without what is stored twice.
  void add_holes(TimelineStatus& timeline, uint64_t first, uint64_t last) const {
    auto add = [&](uint64_t from, uint64_t end) {
      if (from >= end) return;
      timeline.holes.push_back(
          {name(timeline.timeline, from), name(timeline.timeline, end - 1), end - from, false, false, ""});
    };
    for (const WalConflict& conflict : timeline.conflicts) {
      uint64_t index = conflict.segment.index(size_);
      if (index < first || index > last) continue;
      add(first, index);
      first = index + 1;
    }
    add(first, last + 1);
  }

  Status count_objects(TimelineStatus& timeline) {
    return repo::WalStore(lineage_.repo)
        .list(timeline.timeline, {}, [&](const repo::WalObject& object) -> Status {
          status_.stored_bytes += object.stored_bytes;
          if (object.file.kind != WalFileKind::segment) return {};
          ++status_.segments;
          if (object.stored >= status_.newest_stored) {
            status_.newest_stored = object.stored;
            status_.newest_segment = object.file.segment;
          }
          count(status_.last_hour, object, kHourUs);
          count(status_.last_day, object, kDayUs);
          for (WalConflict& conflict : timeline.conflicts) {
            if (conflict.segment == object.file.segment)
              conflict.contents.push_back({object.object, object.stored});
          }
          return {};
        });
  }

  void count(WalRate& rate, const repo::WalObject& object, int64_t within_us) const {
    if (now_.unix_us - object.stored.unix_us > within_us) return;
    ++rate.segments;
    rate.wal_bytes += size_.bytes;
    rate.stored_bytes += object.stored_bytes;
  }

  // --- windows

  Status find_windows(TimelineStatus& timeline) {
    const StoredTimeline* stored = history_.find(timeline.timeline);
    if (!stored->history) return {};
    std::optional<Lsn> path_end;  // of the last window
    for (const repo::Card& card : backups_) {
      if (damaged_.contains(card.id) || !stored->history->contains(card.timeline, card.stop_lsn)) continue;
      TRY(stop_.check());
      WalPath path = history_.path(timeline.timeline, card.start_lsn);
      paths_.push_back(path);
      if (path.end < card.stop_lsn) continue;  // the backup lacks WAL of its own
      if (path_end == path.end) {
        ++timeline.windows.back().backups;
        continue;
      }
      path_end = path.end;
      reporter_.progress("looking at recoverable windows", timeline.windows.size(), 0, ProgressUnit::items);
      TRY_ASSIGN(RecoverableWindow window, measure(timeline.timeline, card, path));
      timeline.windows.push_back(std::move(window));
    }
    return {};
  }

  Result<RecoverableWindow> measure(Timeline timeline, const repo::Card& card, const WalPath& path) const {
    ScanOptions scan;
    scan.stop = &stop_;
    TRY_ASSIGN(RecoveryWindow found, recovery_window(lineage_, history_, card.timeline, card.start_lsn,
                                                     card.stop_lsn, timeline, 64, scan));
    RecoverableWindow window;
    window.timeline = timeline;
    window.backup = card.id;
    window.backups = 1;
    window.from = card.stopped;
    window.from_lsn = card.stop_lsn;
    window.to = std::max(card.stopped, found.last_commit);
    window.to_lsn = std::max(card.stop_lsn, found.end);
    window.hole = path.missing;
    window.conflict = path.conflict;
    return window;
  }

  // A path ends before `path.missing` or at `path.conflict`: that is what stands in the way of recovery.
  void mark_obstacle(const WalPath& path) {
    if (path.missing) hole_at(*path.missing).in_window = true;
    if (!path.conflict) return;
    for (TimelineStatus& timeline : status_.timelines) {
      for (WalConflict& conflict : timeline.conflicts) {
        if (conflict.segment == *path.conflict) conflict.in_window = true;
      }
    }
  }

  // The hole that holds a segment. Between two timelines it is in neither's listing, and is noted here.
  WalHole& hole_at(const SegmentName& missing) {
    auto timeline = std::ranges::find(status_.timelines, missing.timeline, &TimelineStatus::timeline);
    if (timeline == status_.timelines.end()) {
      TimelineStatus unknown;
      unknown.timeline = missing.timeline;
      timeline = status_.timelines.insert(
          std::ranges::lower_bound(status_.timelines, missing.timeline, {}, &TimelineStatus::timeline),
          std::move(unknown));
    }
    for (WalHole& hole : timeline->holes) {
      if (missing >= hole.first && missing <= hole.last) return hole;
    }
    uint64_t first = missing.index(size_);
    uint64_t last = first;
    if (auto next = next_stored(first)) last = *next - 1;
    timeline->holes.push_back({missing, name(missing.timeline, last), last - first + 1, false, false, ""});
    return timeline->holes.back();
  }

  std::optional<uint64_t> next_stored(uint64_t index) const {
    std::optional<uint64_t> next;
    for (const StoredTimeline& stored : history_.timelines()) {
      for (const SegmentRun& run : stored.runs) {
        if (run.last <= index) continue;
        uint64_t first = std::max(run.first, index + 1);
        if (!next || first < *next) next = first;
      }
    }
    return next;
  }

  // --- causes

  uint64_t first_segment(const repo::Card& card) const { return card.start_lsn.value / size_.bytes; }
  uint64_t last_segment(const repo::Card& card) const { return (card.stop_lsn.value - 1) / size_.bytes; }

  bool is_stored(uint64_t index) const {
    return std::ranges::any_of(history_.timelines(),
                               [&](const StoredTimeline& stored) { return stored.has(index); });
  }

  void explain(WalHole& hole) const {
    uint64_t first = hole.first.index(size_);
    uint64_t last = hole.last.index(size_);
    const repo::Card* before = nullptr;  // ends right before the hole
    const repo::Card* after = nullptr;   // begins right after it
    bool any_before = false;
    for (const repo::Card& card : backups_) {
      if (last_segment(card) < first) any_before = true;
      if (last_segment(card) + 1 == first) before = &card;
      if (first_segment(card) == last + 1 && after == nullptr) after = &card;
    }
    bool older_is_gone =
        before != nullptr && (first_segment(*before) == 0 || !is_stored(first_segment(*before) - 1));
    if (before != nullptr && after != nullptr && older_is_gone) {
      hole.expired = true;
      hole.in_window = false;
      hole.cause = cat("lies between the WAL of backup ", before->id.text, " and that of backup ",
                       after->id.text, ": removed by retention, or never archived");
    } else if (hole.in_window) {
      hole.cause =
          "never arrived: the archiver or the receiver lost it, or somebody removed it from the repository";
    } else if (!any_before) {
      hole.cause = "lies before every backup: no recovery needs it";
    } else {
      hole.cause = "no recovery passes it: history left this timeline before, or another obstacle is nearer";
    }
    if (before != nullptr && !hole.expired)
      hole.cause += cat("; it begins right behind the WAL of backup ", before->id.text);
    if (const WalGap* gap = recorded(hole))
      hole.cause += cat("; recorded at ", gap->noticed.to_string(), ": ", gap->reason);
  }

  // What was written down of it when it came to be.
  const WalGap* recorded(const WalHole& hole) const {
    const Lsn from = hole.first.start(size_);
    const Lsn to = hole.last.start(size_) + size_.bytes;
    auto found = std::ranges::find_if(gaps_, [&](const WalGap& gap) {
      return gap.timeline == hole.first.timeline && gap.from < to && gap.to > from;
    });
    return found == gaps_.end() ? nullptr : &*found;
  }

  const ChosenLineage& lineage_;
  SegmentSize size_;
  Timestamp now_;
  Reporter& reporter_;
  const StopToken& stop_;
  WalHistory history_;
  std::vector<repo::Card> backups_;
  std::set<BackupId> damaged_;  // of these: no recovery begins with one
  std::vector<WalGap> gaps_;
  std::vector<WalPath> paths_;  // of every backup along every timeline
  LineageWalStatus status_;
};

// --- the server

// To where the history of `timeline` is stored, by its newest whole segment. Right after a promotion there is
// none of the new timeline, and what the server wrote before the fork lies in its ancestors'. nullopt:
// nothing of it is stored, or what its ancestors are is not.
Result<std::optional<Lsn>> stored_up_to(const ChosenLineage& lineage, Timeline timeline) {
  const repo::WalStore store(lineage.repo);
  TRY_ASSIGN(auto newest, store.newest_segment(timeline));
  if (newest) return std::optional(newest->end(lineage.record.segment_size));
  TRY_ASSIGN(WalHistory history, WalHistory::load(lineage));
  const StoredTimeline* stored = history.find(timeline);
  if (stored == nullptr || !stored->history) return std::optional<Lsn>();
  const auto& ancestors = stored->history->ancestors();
  for (auto ancestor = ancestors.rbegin(); ancestor != ancestors.rend(); ++ancestor) {
    TRY_ASSIGN(newest, store.newest_segment(ancestor->timeline));
    if (newest) return std::optional(std::min(newest->end(lineage.record.segment_size), ancestor->end));
  }
  return std::optional<Lsn>();
}

Result<WalLag> ask_server(const WalStatusRequest& request, const repo::Repository& repository,
                          const StopToken& stop) {
  pg::ConnectOptions options;
  options.stop = &stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(request.conninfo, options));
  pg::FactsRequest wanted;
  wanted.archiver = true;
  wanted.tablespaces = false;
  TRY_ASSIGN(pg::ServerFacts facts, pg::read_facts(client, wanted));
  TRY_ASSIGN(ChosenLineage lineage,
             lineage_of(repository, request.where.cluster, Lineage{facts.system_id, facts.major}));
  WalLag lag;
  lag.in_recovery = facts.in_recovery;
  lag.timeline = facts.current_timeline.value != 0 ? facts.current_timeline : facts.timeline;
  lag.current = facts.current_lsn;
  TRY_ASSIGN(lag.stored, stored_up_to(lineage, lag.timeline));
  if (lag.stored) lag.bytes = lag.current.value - std::min(lag.current, *lag.stored).value;
  if (facts.archiver) {
    lag.archived = facts.archiver->archived_count;
    lag.failed = facts.archiver->failed_count;
    lag.last_archived = facts.archiver->last_archived_wal;
    lag.last_archived_time = facts.archiver->last_archived_time;
    lag.last_failed = facts.archiver->last_failed_wal;
    lag.last_failed_time = facts.archiver->last_failed_time;
  }
  return lag;
}

void look_at_backlog(const std::string& pgdata, WalLag& lag) {
  std::string directory = join_path(pgdata, "pg_wal/archive_status");
  auto entries = list_dir(directory);
  if (!entries) return;
  BacklogFacts backlog = read_backlog(*entries, directory);
  lag.ready = backlog.ready;
  lag.oldest_ready = backlog.oldest;
}

}  // namespace

std::vector<std::string> WalStatus::problems() const {
  std::vector<std::string> lines;
  for (const LineageWalStatus& lineage : lineages) {
    for (const TimelineStatus& timeline : lineage.timelines) {
      if (!timeline.problem.empty())
        lines.push_back(cat("timeline ", timeline.timeline.value, ": ", timeline.problem));
      for (const WalHole& hole : timeline.holes) {
        if (hole.in_window)
          lines.push_back(cat(counted(hole.segments, "segment"), " missing from ", hole.first.to_string()));
      }
      for (const WalConflict& conflict : timeline.conflicts) {
        if (conflict.in_window)
          lines.push_back(cat(conflict.segment.to_string(), " is stored with different contents"));
      }
    }
  }
  return lines;
}

std::vector<LostMoments> lost_moments(const LineageWalStatus& lineage) {
  const std::vector<RecoverableWindow>* followed = nullptr;
  for (const TimelineStatus& timeline : lineage.timelines) {
    if (timeline.windows.empty()) continue;
    if (followed == nullptr || timeline.windows.back().to >= followed->back().to)
      followed = &timeline.windows;
  }
  std::vector<LostMoments> lost;
  if (followed == nullptr) return lost;
  for (size_t i = 1; i < followed->size(); ++i) {
    const RecoverableWindow& before = (*followed)[i - 1];
    const RecoverableWindow& next = (*followed)[i];
    const std::optional<SegmentName>& obstacle = before.hole ? before.hole : before.conflict;
    if (!obstacle || next.from <= before.to) continue;
    LostMoments moments{before.to, next.from, *obstacle, false};
    for (const TimelineStatus& timeline : lineage.timelines)
      for (const WalHole& hole : timeline.holes)
        if (hole.first <= *obstacle && *obstacle <= hole.last) moments.expired = hole.expired;
    lost.push_back(moments);
  }
  return lost;
}

Result<LineageWalStatus> wal_status_of(const ChosenLineage& lineage, Timestamp now, Reporter& reporter,
                                       const StopToken& stop) {
  return LineageLook(lineage, now, reporter, stop).run();
}

Result<WalStatus> wal_status(const WalStatusRequest& request, Reporter& reporter, const StopToken& stop) {
  WalStatus status;
  status.cluster = request.where.cluster;
  TRY_ASSIGN(repo::Repository repository, open_repository(request.where));
  TRY_ASSIGN(status.now, repository.store().now());
  TRY(choose_lineage(repository, request.where.cluster));  // says what is registered when this is not
  TRY_ASSIGN(auto records, repo::list_lineages(repository, request.where.cluster));
  for (const repo::LineageRecord& record : records) {
    TRY_ASSIGN(ChosenLineage lineage, choose_lineage(repository, request.where.cluster, record.lineage));
    TRY_ASSIGN(LineageWalStatus looked, wal_status_of(lineage, status.now, reporter, stop));
    status.lineages.push_back(std::move(looked));
  }
  if (!request.ask_server) return status;
  auto lag = ask_server(request, repository, stop);
  TRY(stop.check());
  if (!lag) {
    status.lag_problem = lag.error().to_string();
    return status;
  }
  if (request.pgdata) look_at_backlog(*request.pgdata, *lag);
  status.lag = std::move(*lag);
  return status;
}

}  // namespace lifeboat::ops
