// One attempt per timeline that the backup may lead to. An attempt either finds where a recovery stops or
// says why it does not. When several find something, they must agree on the committed state, or else somebody
// has to choose: after a failover both the old server's last commits and the new server's first ones may fit
// a time.
#include "ops/wal/reach.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <variant>

#include "pg/format/version.h"
#include "pg/wal/wal_events.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kLookBack = 64;             // segments, for the last commit before a stop
constexpr uint64_t kDuplicateLookAhead = 256;  // segments, for a second restore point of the same name

// --- what records say

struct TransactionMark {
  bool commit = false;
  uint32_t xid = 0;
  Timestamp time;
  Lsn lsn;
  Lsn end;
};

std::optional<TransactionMark> transaction_end(const pg::WalRecord& record,
                                               const pg::VersionTraits& version) {
  pg::WalEvent event = pg::event_of(record, version);
  if (event != pg::WalEvent::commit && event != pg::WalEvent::abort) return std::nullopt;
  auto read = pg::read_transaction_end(record, version);
  if (!read)
    return std::nullopt;  // the CRC held: a form that this program does not know, which recovery would refuse
  return TransactionMark{read->committed, read->xid, read->time, record.lsn, record.end};
}

// The time in a record that is no transaction end; it proves that WAL goes on past that time.
Timestamp other_time(const pg::WalRecord& record, const pg::VersionTraits& version) {
  auto time_of = [](auto read) { return read ? read->time : Timestamp(); };
  switch (pg::event_of(record, version)) {
    case pg::WalEvent::prepare:
      return time_of(pg::read_prepare(record, version));
    case pg::WalEvent::restore_point:
      return time_of(pg::read_restore_point(record));
    case pg::WalEvent::end_of_recovery:
      return time_of(pg::read_end_of_recovery(record, version));
    case pg::WalEvent::overwrite_contrecord:
      return time_of(pg::read_overwrite_contrecord(record));
    case pg::WalEvent::checkpoint: {
      auto read = pg::read_checkpoint(record);
      return read ? read->checkpoint.time : Timestamp();
    }
    default:
      return {};
  }
}

// --- outcomes of an attempt

struct Found {
  Lsn stop;
  Lsn decided;  // end of the record that decided it
  std::optional<TransactionMark> last_commit;
  Timestamp next_commit;
  RecoveryTarget effective;
  bool past_last_commit = false;
  std::vector<std::string> notes;
};
struct Miss {
  std::string why;
  std::string hint;  // instead of the latest reachable position
  ErrorKind kind = ErrorKind::unreachable;
  bool read_to_end = false;  // the target does not occur up to the end of the path
};
using Attempt = std::variant<Found, Miss>;

// The end of a path.
struct Tail {
  Lsn last_record;
  Lsn end;  // of it
  std::optional<TransactionMark> last_commit;
  Timestamp last_time;
};

std::string describe(const Tail& tail, Timeline timeline) {
  return cat(
      "timeline ", timeline.value, " reaches to ", tail.end.to_string(), ", last commit ",
      tail.last_commit ? tail.last_commit->time.to_string() : std::string("not seen since the backup"),
      tail.last_record.valid() ? cat(" (all of it: --target-lsn ", tail.last_record.to_string(), ")") : "");
}

// The position up to which two histories are the same; nullopt: throughout, one target.
std::optional<Lsn> divergence(const pg::TimelineHistory& a, const pg::TimelineHistory& b) {
  Timeline common = a.has(b.target()) ? b.target() : Timeline{};
  if (b.has(a.target())) common = std::max(common, a.target());
  for (const pg::TimelineSwitch& ancestor : a.ancestors()) {
    if (b.has(ancestor.timeline)) common = std::max(common, ancestor.timeline);
  }
  if (common.value == 0) return Lsn{0};
  auto end_a = a.end_of(common);
  auto end_b = b.end_of(common);
  if (end_a && end_b) return std::min(*end_a, *end_b);
  return end_a ? end_a : end_b;
}

// --- one timeline

class Searcher {
 public:
  Searcher(const ChosenLineage& lineage, const ReachRequest& request, WalPath path,
           const ScanOptions& options)
      : lineage_(lineage),
        request_(request),
        path_(std::move(path)),
        options_(options),
        version_(pg::find_version(lineage.record.lineage.major)) {}

  const WalPath& path() const { return path_; }

  // `known_absent_to`: the target was not met before this position (a shared beginning that was read
  // already).
  Result<Attempt> search(Lsn known_absent_to) {
    if (version_ == nullptr) {
      return make_error(ErrorKind::unsupported, cat("PostgreSQL ", lineage_.record.lineage.major),
                        "not a supported version");
    }
    if (path_.whole_end < request_.backup_stop || path_.empty()) return Attempt(incomplete_backup());
    switch (request_.target.kind) {
      case pg::TargetKind::latest:
        return latest();
      case pg::TargetKind::immediate:
        return lsn(request_.backup_stop, false);
      case pg::TargetKind::lsn:
        return lsn(request_.target.lsn, request_.target.inclusive);
      case pg::TargetKind::time:
        return time();
      case pg::TargetKind::xid:
      case pg::TargetKind::name:
        return met_in_scan(known_absent_to);
    }
    CHECK(false);
    return Attempt(Miss{});
  }

  // Reads backwards from the end until a commit was seen, at most `look_back` segments.
  Result<const Tail*> tail(uint64_t look_back = kLookBack) {
    if (!tail_) {
      TRY_ASSIGN(tail_, read_tail(path_.end, look_back));
    }
    return &*tail_;
  }

 private:
  uint64_t bytes() const { return path_.segment_size.bytes; }
  Lsn start_of(uint64_t index) const { return std::max(Lsn{index * bytes()}, path_.from); }
  ScanOptions options_at(Lsn from) const {
    ScanOptions options = options_;
    options.from_is_record = from == request_.backup_start;
    return options;
  }

  Miss incomplete_backup() const {
    SegmentName missing = path_.conflict ? *path_.conflict
                                         : SegmentName::containing(request_.backup_timeline, path_.whole_end,
                                                                   path_.segment_size);
    Miss miss;
    miss.why = cat(
        "the backup needs WAL from ", request_.backup_start.to_string(), " to ",
        request_.backup_stop.to_string(),
        path_.conflict ? " and two contents are stored of " : " and this is missing: ", missing.to_string());
    miss.hint = "this backup cannot be recovered; choose another one, or store that file";
    if (path_.conflict) miss.kind = ErrorKind::conflict;
    return miss;
  }

  Miss before_consistency() const {
    return {cat("it lies before the end of the backup, ", request_.backup_stop.to_string()),
            "choose a backup that ended before the target", ErrorKind::unreachable, false};
  }

  Miss damaged_at(const pg::WalDamage& damage) const {
    return {cat("WAL is damaged at ", damage.lsn.to_string(), ": ", damage.text),
            "recovery cannot go past that position; a target before it can be reached",
            ErrorKind::unreachable, false};
  }

  // Recovery stops after the record that begins here.
  static RecoveryTarget at_record(Lsn lsn) {
    return {.kind = pg::TargetKind::lsn, .time = {}, .lsn = lsn, .xid = 0, .name = {}, .inclusive = true};
  }

  // Why the stored WAL ends where it ends.
  std::string ending() const {
    if (path_.conflict) return cat("; two contents are stored of ", path_.conflict->to_string());
    if (path_.missing) return cat("; ", path_.missing->to_string(), " is missing, later WAL is stored");
    return "";
  }

  Result<Miss> not_met(std::string_view what) {
    TRY_ASSIGN(const Tail* end, tail());
    Miss miss;
    miss.why = cat(what, " on timeline ", path_.target.value, " up to ", end->end.to_string(), ending());
    miss.hint = cat("the latest reachable: ", describe(*end, path_.target), "; ",
                    path_.conflict || path_.missing
                        ? "newer WAL does not close a gap: a backup that began behind it goes on from there"
                        : "while the server still runs, SELECT pg_switch_wal() brings newer WAL here");
    miss.read_to_end = true;
    return miss;
  }

  // --- reading

  // Last record and last commit of the WAL before `end`, reading at most `look_back` segments backwards.
  Result<Tail> read_tail(Lsn end, uint64_t look_back) {
    Tail tail;
    if (path_.empty() || end <= path_.from) return tail;
    uint64_t index = std::min((end.value - 1) / bytes(), path_.last_index());
    // Only when the segment before it leads into it does an unfinished one mean anything.
    if (path_.unfinished && index == path_.last_index() && index > path_.first_index()) --index;
    Lsn to = end;
    for (uint64_t count = 0; count < look_back; ++count, --index) {
      Lsn from = start_of(index);
      Tail here;
      ScanOptions quiet = options_at(from);
      quiet.reporter = nullptr;  // a few segments again and again are no progress
      auto scanned = scan_wal(
          lineage_, path_, from, to,
          [&](const pg::WalRecord& record) {
            here.last_record = record.lsn;
            here.end = record.end;
            if (auto mark = transaction_end(record, *version_)) {
              if (mark->commit) here.last_commit = *mark;
              here.last_time = std::max(here.last_time, mark->time);
            } else {
              here.last_time = std::max(here.last_time, other_time(record, *version_));
            }
            return ScanNext::more;
          },
          quiet);
      TRY(scanned);
      if (!tail.last_record.valid()) {
        tail.last_record = here.last_record;
        tail.end = here.end;
      }
      tail.last_time = std::max(tail.last_time, here.last_time);
      tail.last_commit = here.last_commit;
      if (tail.last_commit && tail.last_record.valid()) break;
      if (index == path_.first_index()) break;
      to = from;
    }
    return tail;
  }

  Status fill_last_commit(Found& found, Lsn scanned_from) {
    if (found.last_commit || scanned_from <= path_.from) return {};
    TRY_ASSIGN(Tail before, read_tail(scanned_from, kLookBack));
    found.last_commit = before.last_commit;
    return {};
  }

  // --- targets

  Result<Attempt> latest() {
    if (path_.conflict) {
      return Attempt(Miss{cat("two contents are stored of ", path_.conflict->to_string()),
                          "two servers archived under one name; choose by hand which is right, or recover to "
                          "a target before it",
                          ErrorKind::conflict, false});
    }
    TRY_ASSIGN(const Tail* end, tail());
    if (path_.missing) {
      Miss miss;
      miss.why =
          cat(path_.missing->to_string(), " is missing and later WAL is stored: recovery would end there");
      miss.hint =
          cat("store the missing file, or recover to a target before it: ", describe(*end, path_.target));
      return Attempt(std::move(miss));
    }
    if (end->end < request_.backup_stop) return Attempt(before_consistency());
    return Attempt(to_the_end(*end));
  }

  // Through the last record: no record begins where it ends, and that is the position that servers and
  // `wal status` name.
  static Found to_the_end(const Tail& end) {
    Found found;
    found.stop = found.decided = end.end;
    found.last_commit = end.last_commit;
    found.effective = at_record(end.last_record);
    return found;
  }

  // Stops after (inclusive) or before the first record that begins at or past `target`.
  Result<Attempt> lsn(Lsn target, bool inclusive) {
    if (target < request_.backup_start) return Attempt(before_consistency());
    if (inclusive) {
      TRY_ASSIGN(const Tail* end, tail());
      if (target == end->end && target >= request_.backup_stop) return Attempt(to_the_end(*end));
    }
    if (target >= path_.end) {
      TRY_ASSIGN(Miss miss, not_met(cat("WAL is not stored that far")));
      return Attempt(std::move(miss));
    }
    Found found;
    found.effective = request_.target;
    bool met = false;
    auto visit = [&](const pg::WalRecord& record) {
      if (record.lsn < target) return ScanNext::more;
      met = true;
      found.stop = inclusive ? record.end : record.lsn;
      found.decided = record.end;
      if (auto mark = transaction_end(record, *version_)) {
        if (!inclusive) found.next_commit = mark->time;
        if (inclusive && mark->commit) found.last_commit = *mark;
      }
      return ScanNext::stop;
    };
    TRY_ASSIGN(ScanResult scanned, scan_wal(lineage_, path_, target, {}, visit, options_at(target)));
    if (!met && scanned.damage) {
      // Behind a segment switch lie zeros up to the segment's end; only who has read the switch knows that.
      Lsn from = start_of(target.value / bytes());
      TRY_ASSIGN(scanned, scan_wal(lineage_, path_, from, {}, visit, options_at(from)));
    }
    if (!met && scanned.damage) return Attempt(damaged_at(*scanned.damage));
    if (!met) {
      TRY_ASSIGN(Miss miss, not_met("no record begins at or past it"));
      return Attempt(std::move(miss));
    }
    if (found.stop < request_.backup_stop) return Attempt(before_consistency());
    TRY(fill_last_commit(found, std::min(found.stop, target)));
    return Attempt(std::move(found));
  }

  // The first time that is told by a transaction end or restore point in a segment.
  Result<std::optional<Timestamp>> first_time(uint64_t index) {
    auto known = first_times_.find(index);
    if (known != first_times_.end()) return known->second;
    std::optional<Timestamp> first;
    Lsn from = start_of(index);
    ScanOptions quiet = options_at(from);
    quiet.reporter = nullptr;
    TRY(scan_wal(
        lineage_, path_, from, Lsn{(index + 1) * bytes()},
        [&](const pg::WalRecord& record) {
          if (auto mark = transaction_end(record, *version_)) {
            first = mark->time;
          } else if (pg::event_of(record, *version_) == pg::WalEvent::restore_point) {
            if (auto point = pg::read_restore_point(record)) first = point->time;
          }
          return first ? ScanNext::stop : ScanNext::more;
        },
        quiet));
    first_times_.emplace(index, first);
    return first;
  }

  // The last segment that begins no later than `time`, as far as its first timestamp tells; the path's first
  // one when the timestamps that were looked at fall somewhere.
  Result<uint64_t> segment_of(Timestamp time) {
    uint64_t low = path_.first_index();
    uint64_t high = path_.last_index();
    while (low < high) {
      uint64_t middle = low + (high - low + 1) / 2;
      uint64_t at = middle;
      TRY_ASSIGN(std::optional<Timestamp> first, first_time(at));
      while (!first && at < high) {
        TRY_ASSIGN(first, first_time(++at));
      }
      if (first && *first <= time) {
        low = at;
      } else {
        high = middle - 1;
      }
    }
    Timestamp before;
    for (const auto& [index, first] : first_times_) {
      if (first && *first < before) return path_.first_index();
      if (first) before = *first;
    }
    return low;
  }

  Result<Attempt> time() {
    const Timestamp wanted = request_.target.time;
    if (wanted < request_.backup_stopped) return Attempt(before_consistency());
    uint64_t index = path_.first_index();
    if (request_.commit_times == CommitTimes::rising) {
      TRY_ASSIGN(index, segment_of(wanted));
      // One segment of margin: times of commits are taken before their records are placed.
      if (index > path_.first_index()) --index;
    }
    Lsn from = start_of(index);
    Found found;
    found.effective = request_.target;
    bool met = false;
    Timestamp later;  // a time past the target in a record that does not stop recovery
    Lsn last_record;
    TRY_ASSIGN(ScanResult scanned,
               scan_wal(
                   lineage_, path_, from, {},
                   [&](const pg::WalRecord& record) {
                     auto mark = transaction_end(record, *version_);
                     if (mark && (request_.target.inclusive ? mark->time > wanted : mark->time >= wanted)) {
                       met = true;
                       found.stop = record.lsn;
                       found.decided = record.end;
                       found.next_commit = mark->time;
                       return ScanNext::stop;
                     }
                     last_record = record.lsn;
                     found.stop = found.decided = record.end;
                     if (mark && mark->commit) found.last_commit = *mark;
                     if (!mark) {
                       Timestamp other = other_time(record, *version_);
                       if (other > wanted) later = std::max(later, other);
                     }
                     return ScanNext::more;
                   },
                   options_at(from)));
    if (!met && scanned.damage) return Attempt(damaged_at(*scanned.damage));
    if (!met && !later.valid()) {
      TRY_ASSIGN(Miss miss, not_met("no commit and nothing else is stored that is later"));
      return Attempt(std::move(miss));
    }
    if (found.stop < request_.backup_stop) return Attempt(before_consistency());
    TRY(fill_last_commit(found, from));
    if (!met) {
      found.past_last_commit = true;
      found.effective = at_record(last_record);
      found.notes.push_back(cat("no transaction ended after the target, and WAL is stored to ",
                                later.to_string(), " at least: recovery goes to the end of it"));
    }
    return Attempt(std::move(found));
  }

  // Transaction ids and restore points: everything is read until they are met.
  Result<Attempt> met_in_scan(Lsn known_absent_to) {
    const bool by_name = request_.target.kind == pg::TargetKind::name;
    const bool inclusive = by_name || request_.target.inclusive;
    const auto xid = static_cast<uint32_t>(request_.target.xid);
    Lsn from = std::clamp(known_absent_to, request_.backup_start, std::max(path_.end, request_.backup_start));
    Found found;
    found.effective = request_.target;
    bool met = false;
    uint64_t duplicates = 0;
    Lsn look_to;
    TRY_ASSIGN(ScanResult scanned,
               scan_wal(
                   lineage_, path_, from, {},
                   [&](const pg::WalRecord& record) {
                     if (met && record.lsn >= look_to) return ScanNext::stop;
                     auto mark = transaction_end(record, *version_);
                     bool hit = false;
                     if (by_name) {
                       if (pg::event_of(record, *version_) == pg::WalEvent::restore_point) {
                         auto point = pg::read_restore_point(record);
                         hit = point && point->name == request_.target.name;
                       }
                     } else {
                       hit = mark && mark->xid == xid;
                     }
                     if (hit && met) ++duplicates;
                     if (hit && !met) {
                       met = true;
                       found.stop = inclusive ? record.end : record.lsn;
                       found.decided = record.end;
                       if (mark && mark->commit && inclusive) found.last_commit = *mark;
                       if (mark && !inclusive) found.next_commit = mark->time;
                       look_to = Lsn{(record.lsn.value / bytes() + kDuplicateLookAhead) * bytes()};
                       return by_name ? ScanNext::more : ScanNext::stop;
                     }
                     if (!met && mark && mark->commit) found.last_commit = *mark;
                     return ScanNext::more;
                   },
                   options_at(from)));
    if (!met && scanned.damage) return Attempt(damaged_at(*scanned.damage));
    if (!met) {
      TRY_ASSIGN(Miss miss,
                 not_met(by_name ? "there is no such restore point" : "no transaction of that id ended"));
      return Attempt(std::move(miss));
    }
    if (found.stop < request_.backup_stop) return Attempt(before_consistency());
    TRY(fill_last_commit(found, from));
    if (duplicates > 0) {
      found.notes.push_back(cat("the restore point occurs ", duplicates + 1,
                                " times; recovery stops at the first, ", found.stop.to_string()));
    }
    return Attempt(std::move(found));
  }

  const ChosenLineage& lineage_;
  const ReachRequest& request_;
  WalPath path_;
  const ScanOptions& options_;
  const pg::VersionTraits* version_;
  std::optional<Tail> tail_;
  std::map<uint64_t, std::optional<Timestamp>> first_times_;
};

// --- all timelines

struct Branch {
  const StoredTimeline* stored = nullptr;
  std::unique_ptr<Searcher> searcher;
  Attempt attempt;
  std::vector<std::string> notes;
  Found* found() { return std::get_if<Found>(&attempt); }
  Miss* miss() { return std::get_if<Miss>(&attempt); }
};

class ReachFinder {
 public:
  ReachFinder(const ChosenLineage& lineage, const WalHistory& history, const ReachRequest& request,
              const ScanOptions& options)
      : lineage_(lineage), history_(history), request_(request), options_(options) {}

  Result<Reach> run() {
    TRY_ASSIGN(std::vector<Timeline> candidates, choose_candidates());
    if (request_.target.kind == pg::TargetKind::latest && request_.choice == TimelineChoice::unset) {
      TRY(refuse_empty_timeline(candidates.front()));
    }
    // Newest first, so that what several share is attributed to the newest.
    std::sort(candidates.rbegin(), candidates.rend());
    for (Timeline candidate : candidates) TRY(try_branch(candidate));
    std::vector<Branch*> found;
    for (Branch& branch : branches_) {
      if (branch.found() != nullptr) found.push_back(&branch);
    }
    if (found.empty()) return nothing_found();
    for (size_t i = 1; i < found.size(); ++i) {
      if (!same_state(*found[0], *found[i])) return ambiguous(found);
    }
    return make_reach(*found[0]);
  }

 private:
  Error unreachable(std::string message) const {
    return make_error(ErrorKind::unreachable, cat("recovery target ", request_.target.to_string()),
                      std::move(message));
  }

  std::string stored_timelines() const {
    std::vector<std::string> names;
    for (const StoredTimeline& stored : history_.timelines()) names.push_back(cat(stored.timeline.value));
    return names.empty() ? "none" : join(names, ", ");
  }

  Result<std::vector<Timeline>> choose_candidates() const {
    const StoredTimeline* own = history_.find(request_.backup_timeline);
    if (own == nullptr) {
      return unreachable(cat("no WAL of the backup's timeline ", request_.backup_timeline.value,
                             " is stored; stored are ", stored_timelines()));
    }
    std::vector<Timeline> descendants = history_.descendants(request_.backup_timeline, request_.backup_stop);
    TimelineChoice choice = request_.choice;
    if (choice == TimelineChoice::unset && request_.target.kind == pg::TargetKind::immediate)
      choice = TimelineChoice::current;
    if (choice == TimelineChoice::unset && request_.target.kind == pg::TargetKind::latest)
      choice = TimelineChoice::latest;
    switch (choice) {
      case TimelineChoice::unset:
      case TimelineChoice::latest:
        break;
      case TimelineChoice::current:
        return one_of(descendants, request_.backup_timeline);
      case TimelineChoice::number:
        return one_of(descendants, request_.timeline);
    }
    if (descendants.empty()) return one_of(descendants, request_.backup_timeline);
    if (choice == TimelineChoice::latest) return std::vector<Timeline>{descendants.back()};
    return descendants;
  }

  Result<std::vector<Timeline>> one_of(const std::vector<Timeline>& descendants, Timeline wanted) const {
    if (std::ranges::find(descendants, wanted) != descendants.end()) return std::vector<Timeline>{wanted};
    const StoredTimeline* stored = history_.find(wanted);
    if (stored == nullptr) {
      return unreachable(cat("timeline ", wanted.value, " is not stored; stored are ", stored_timelines()));
    }
    if (!stored->history)
      return unreachable(cat("timeline ", wanted.value, " cannot be used: ", stored->problem));
    return unreachable(cat("timeline ", wanted.value, " does not pass through the end of the backup, ",
                           request_.backup_stop.to_string(), " on timeline ",
                           request_.backup_timeline.value));
  }

  // A history file without any WAL, beside a branch that goes on: a clone that inherited archive_command
  // leaves that behind (T33). The newest timeline would then mean to lose everything since.
  Status refuse_empty_timeline(Timeline newest) const {
    if (!history_.find(newest)->runs.empty()) return {};
    TRY_ASSIGN(PathTo here, path_to(newest));
    if (here.path.unfinished && here.path.unfinished->segment.timeline == newest) return {};
    for (Timeline other : history_.descendants(request_.backup_timeline, request_.backup_stop)) {
      Lsn other_end = history_.path(other, request_.backup_start).end;
      if (other_end <= here.path.end) continue;
      return unreachable(cat("timeline ", newest.value, " is the newest and has no WAL; timeline ",
                             other.value, " goes on to ", other_end.to_string()))
          .with_hint(cat("say which is meant: --timeline ", other.value, ", or --timeline ", newest.value,
                         " to end at ", here.path.end.to_string()));
    }
    return {};
  }

  struct PathTo {
    WalPath path;
    std::vector<std::string> notes;
  };
  // The path, through the unfinished segment behind its whole ones where that may be used and says something.
  Result<PathTo> path_to(Timeline timeline) const {
    PathTo to{history_.path(timeline, request_.backup_start), {}};
    WalPath& path = to.path;
    // Whatever is stored behind a conflict must not be cut off by ending here (T45). Before a hole it is the
    // end of what can be reached: `latest` is refused there, and who names a target means it.
    if (request_.unfinished == UnfinishedSegment::ignore || path.conflict) return to;
    std::vector<PartialSegment> candidates;
    if (request_.local && request_.local->segment.timeline == timeline &&
        request_.local->segment.index(path.segment_size) == path.end.value / path.segment_size.bytes) {
      candidates.push_back(*request_.local);
    } else if (path.partial) {
      candidates.push_back(*path.partial);
    }
    if (path.tail) candidates.push_back(*path.tail);
    TRY_ASSIGN(std::optional<PartialSegment> chosen, choose_unfinished(candidates, to));
    if (chosen && !path.conflict) path.go_on_with(std::move(*chosen));
    return to;
  }

  // The one that goes furthest of those that say something.
  Result<std::optional<PartialSegment>> choose_unfinished(const std::vector<PartialSegment>& candidates,
                                                          PathTo& to) const {
    std::optional<PartialSegment> best;
    uint64_t best_size = 0;
    for (const PartialSegment& candidate : candidates) {
      Result<bool> begins = begins_with_wal(lineage_, candidate);
      if (!begins) {
        TRY(pass_over(candidate, std::move(begins).error(), to));
        continue;
      }
      if (!*begins) continue;
      uint64_t size = 0;
      if (candidates.size() > 1) {
        TRY_ASSIGN(size, valid_size(lineage_, candidate));
        Lsn start = candidate.segment.start(to.path.segment_size);
        if (candidate.limit.valid()) size = std::min(size, candidate.limit.value - start.value);
      }
      if (best && size <= best_size) continue;
      best = candidate;
      best_size = size;
    }
    return best;
  }

  // An unfinished segment that cannot be used is no obstacle, unless it is one that nobody may choose.
  Status pass_over(const PartialSegment& partial, Error error, PathTo& to) const {
    switch (error.kind) {
      case ErrorKind::conflict:
        to.path.conflict = partial.segment;
        return {};
      case ErrorKind::damaged:
      case ErrorKind::not_found:
        to.notes.push_back(
            cat("the unfinished segment ", partial.segment.to_string(), " is not used: ", error.to_string()));
        return {};
      default:
        return error;
    }
  }

  Status try_branch(Timeline candidate) {
    Branch branch;
    branch.stored = history_.find(candidate);
    TRY_ASSIGN(PathTo to, path_to(candidate));
    branch.notes = std::move(to.notes);
    branch.searcher = std::make_unique<Searcher>(lineage_, request_, std::move(to.path), options_);
    Lsn known_absent_to;
    for (Branch& before : branches_) {
      auto fork = divergence(*before.stored->history, *branch.stored->history);
      Lsn shared = std::min(before.searcher->path().end, branch.searcher->path().end);
      if (fork) shared = std::min(shared, *fork);
      Found* found = before.found();
      // The record that decides lies on both: this timeline has nothing of its own to say.
      if (found != nullptr && found->decided <= shared && request_.target.kind != pg::TargetKind::latest &&
          !found->past_last_commit) {
        return {};
      }
      if (found == nullptr && before.miss()->read_to_end) known_absent_to = std::max(known_absent_to, shared);
    }
    TRY_ASSIGN(branch.attempt, branch.searcher->search(known_absent_to));
    branches_.push_back(std::move(branch));
    return {};
  }

  // Do both have the same committed transactions?
  bool same_state(Branch& a, Branch& b) const {
    const Found& first = *a.found();
    const Found& second = *b.found();
    if (!first.last_commit || !second.last_commit) return !first.last_commit && !second.last_commit;
    if (first.last_commit->lsn != second.last_commit->lsn) return false;
    return a.stored->history->owner(first.last_commit->lsn) ==
           b.stored->history->owner(second.last_commit->lsn);
  }

  Error ambiguous(const std::vector<Branch*>& found) const {
    std::vector<std::string> lines;
    for (Branch* branch : found) {
      const Found& here = *branch->found();
      lines.push_back(cat("timeline ", branch->stored->timeline.value, " at ", here.stop.to_string(),
                          " with last commit ",
                          here.last_commit ? here.last_commit->time.to_string() : std::string("unknown")));
    }
    return unreachable(cat("it means different states on ", found.size(),
                           " branches of history: ", join(lines, "; ")))
        .with_hint("choose one with --timeline NUMBER");
  }

  Error nothing_found() {
    // What the newest says is what most people want to know; the others' reasons are the same more often than
    // not.
    Branch& first = branches_.front();
    Error error = unreachable(first.miss()->why);
    error.kind = first.miss()->kind;
    std::string hint = first.miss()->hint;
    for (size_t i = 1; i < branches_.size(); ++i) {
      std::string more =
          cat("timeline ", branches_[i].stored->timeline.value, ": ", branches_[i].miss()->why);
      hint += hint.empty() ? more : cat("; ", more);
    }
    return std::move(error).with_hint(std::move(hint));
  }

  Result<Reach> make_reach(Branch& branch) {
    Found& found = *branch.found();
    const WalPath& path = branch.searcher->path();
    Reach reach;
    reach.timeline = branch.stored->timeline;
    reach.has_history_file = branch.stored->has_history_file;
    reach.effective = std::move(found.effective);
    reach.past_last_commit = found.past_last_commit;
    reach.stop = found.stop;
    if (found.last_commit) {
      reach.last_commit = found.last_commit->time;
      reach.last_xid = found.last_commit->xid;
    }
    reach.next_commit = found.next_commit;
    reach.wal_bytes = found.stop.value - std::min(found.stop, request_.backup_start).value;
    Lsn needed = std::max(found.stop, found.decided);
    reach.segments = (needed.value - 1) / path.segment_size.bytes - path.first_index() + 1;
    reach.path = path;
    reach.notes = std::move(found.notes);
    reach.notes.insert(reach.notes.end(), branch.notes.begin(), branch.notes.end());
    if (path.unfinished && needed > path.whole_end) {
      reach.partial = path.unfinished;
      bool tail = path.unfinished->path.empty() && path.unfinished->stored == PartialSegment::Stored::as_tail;
      reach.notes.push_back(cat(tail ? "the tail of segment " : "the unfinished segment ",
                                path.unfinished->segment.to_string(), " is used"));
    }
    if (!branch.stored->problem.empty()) {
      reach.notes.push_back(cat("timeline ", reach.timeline.value, ": ", branch.stored->problem));
    }
    if (request_.target.kind == pg::TargetKind::latest) {
      if (path.partial && !path.unfinished) {
        reach.notes.push_back(cat("WAL past ", path.end.to_string(), " is stored only as ",
                                  path.partial->segment.to_string(),
                                  ".partial, which restore_command does not bring"));
      }
      add_other_branches(reach);
    }
    return reach;
  }

  void add_other_branches(Reach& reach) const {
    for (Timeline other : history_.descendants(request_.backup_timeline, request_.backup_stop)) {
      if (other == reach.timeline) continue;
      const StoredTimeline* stored = history_.find(other);
      auto fork = divergence(*history_.find(reach.timeline)->history, *stored->history);
      WalPath path = history_.path(other, request_.backup_start);
      if (!fork || path.end.value <= fork->value + path.segment_size.bytes)
        continue;  // nothing of its own to speak of
      reach.notes.push_back(
          cat("timeline ", other.value, " is another branch, with WAL to ", path.end.to_string()));
    }
  }

  const ChosenLineage& lineage_;
  const WalHistory& history_;
  const ReachRequest& request_;
  const ScanOptions& options_;
  std::vector<Branch> branches_;
};

}  // namespace

ReachRequest ReachRequest::from(const repo::Card& backup) {
  ReachRequest request;
  request.backup_timeline = backup.timeline;
  request.backup_start = backup.start_lsn;
  request.backup_stop = backup.stop_lsn;
  request.backup_stopped = backup.stopped;
  return request;
}

std::string RecoveryTarget::value() const {
  switch (kind) {
    case pg::TargetKind::latest:
    case pg::TargetKind::immediate:
      return "";
    case pg::TargetKind::time:
      return time.to_string();
    case pg::TargetKind::lsn:
      return lsn.to_string();
    case pg::TargetKind::xid:
      return cat(xid);
    case pg::TargetKind::name:
      return name;
  }
  return "";
}

std::string RecoveryTarget::to_string() const {
  std::string text(pg::to_string(kind));
  std::string what = value();
  if (!what.empty()) text += cat(" ", what);
  bool can_exclude =
      kind == pg::TargetKind::time || kind == pg::TargetKind::lsn || kind == pg::TargetKind::xid;
  if (can_exclude && !inclusive) text += " (exclusive)";
  return text;
}

Result<Reach> find_reach(const ChosenLineage& lineage, const WalHistory& history, const ReachRequest& request,
                         const ScanOptions& options) {
  return ReachFinder(lineage, history, request, options).run();
}

Result<RecoveryWindow> recovery_window(const ChosenLineage& lineage, const WalHistory& history,
                                       Timeline backup_timeline, Lsn backup_start, Lsn backup_stop,
                                       Timeline target, uint64_t look_back, const ScanOptions& options) {
  RecoveryWindow window;
  window.end = backup_start;
  const StoredTimeline* stored = history.find(target);
  if (stored == nullptr || !stored->history || !stored->history->contains(backup_timeline, backup_stop))
    return window;
  ReachRequest request;
  request.backup_timeline = backup_timeline;
  request.backup_start = backup_start;
  request.backup_stop = backup_stop;
  WalPath path = history.path(target, backup_start);
  if (path.tail && !path.conflict) {
    // One that cannot be read moves the end to where the whole segments end.
    Result<bool> begins = begins_with_wal(lineage, *path.tail);
    if (begins && *begins) path.go_on_with(*path.tail);
  }
  Searcher searcher(lineage, request, std::move(path), options);
  window.missing = searcher.path().missing;
  if (searcher.path().empty()) return window;
  TRY_ASSIGN(const Tail* tail, searcher.tail(look_back));
  window.complete = searcher.path().whole_end >= backup_stop;
  window.end = std::max(tail->end, backup_start);
  if (tail->last_commit) window.last_commit = tail->last_commit->time;
  window.last_time = tail->last_time;
  return window;
}

}  // namespace lifeboat::ops
