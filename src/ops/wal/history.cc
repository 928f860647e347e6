#include "ops/wal/history.h"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "repo/tombstone.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kHistoryLimit = 1 << 20;

// Appends `index`, which is not lower than what was added before.
void add_to_runs(std::vector<SegmentRun>& runs, uint64_t index) {
  if (!runs.empty() && runs.back().last + 1 == index) {
    runs.back().last = index;
  } else {
    runs.push_back({index, index});
  }
}

Status list_files(const repo::WalStore& store, const repo::Condemned& condemned, SegmentSize size, Lsn from,
                  StoredTimeline& into) {
  std::optional<SegmentName> pending;
  int copies = 0;
  auto settle = [&] {
    if (!pending) return;
    if (copies > 1) {
      into.conflicts.push_back(*pending);
    } else {
      add_to_runs(into.runs, pending->index(size));
    }
  };
  repo::WalStore::Range wanted;
  if (from.valid()) wanted.from = SegmentName::containing(into.timeline, from, size);
  TRY(store.list(into.timeline, wanted, [&](const repo::WalObject& object) -> Status {
    const SegmentName& segment = object.file.segment;
    if (segment.number >= size.segments_per_log_id())
      return {};  // of another segment size; nobody asks for it
    if (std::ranges::any_of(condemned.wal,
                            [&](const repo::WalRange& range) { return range.contains(segment); }))
      return {};
    if (object.file.kind == WalFileKind::partial) into.partials.push_back(segment);
    if (object.file.kind != WalFileKind::segment) return {};
    if (pending == segment) {
      ++copies;
      return {};
    }
    settle();
    pending = segment;
    copies = 1;
    return {};
  }));
  settle();
  return {};
}

// Adds a segment that is not there yet, anywhere.
void insert_into_runs(std::vector<SegmentRun>& runs, uint64_t index) {
  auto after = std::ranges::find_if(runs, [&](const SegmentRun& run) { return run.first > index; });
  runs.insert(after, {index, index});
  std::vector<SegmentRun> joined;
  for (const SegmentRun& run : runs) {
    if (!joined.empty() && joined.back().last + 1 == run.first) {
      joined.back().last = run.last;
    } else {
      joined.push_back(run);
    }
  }
  runs = std::move(joined);
}

// Of segments that are not stored whole: a tail that fills its segment stands for it.
void add_tails(const std::vector<SegmentTail>& tails, const repo::Condemned& condemned, SegmentSize size,
               StoredTimeline& into) {
  for (const SegmentTail& tail : tails) {
    if (tail.segment.number >= size.segments_per_log_id() || into.has(tail.segment.index(size))) continue;
    auto named = [&](const auto& range) { return range.contains(tail.segment); };
    if (std::ranges::any_of(condemned.wal, named)) continue;
    if (std::ranges::find(into.conflicts, tail.segment) != into.conflicts.end()) continue;
    if (tail.size == size.bytes) {
      insert_into_runs(into.runs, tail.segment.index(size));
    } else {
      into.tails.push_back(tail);
    }
  }
}

Status read_history(const repo::WalStore& store, StoredTimeline& into) {
  if (into.timeline.value == 1) {
    into.history = pg::TimelineHistory::root(into.timeline);
    return {};
  }
  auto file = WalFileName::parse(cat(into.timeline.to_hex(), ".history"));
  CHECK(file.has_value());
  auto text = store.get_small(*file, kHistoryLimit);
  if (text) {
    auto parsed = pg::TimelineHistory::parse(into.timeline, as_text(*text));
    if (parsed) {
      into.history = std::move(*parsed);
    } else {
      into.problem = cat("its history file is damaged: ", parsed.error().to_string());
    }
    return {};
  }
  switch (text.error().kind) {
    case ErrorKind::not_found:
      into.history = pg::TimelineHistory::root(into.timeline);
      into.has_history_file = false;
      into.problem = cat("its history file ", file->text, " is not stored");
      return {};
    case ErrorKind::conflict:
    case ErrorKind::damaged:
      into.problem = text.error().to_string();
      return {};
    default:
      return std::move(text).error();
  }
}

// Where a timeline may serve segments on the way to a target: from `begin` on (XLogFileReadAnyTLI does not
// look at the end either, but stops looking at older timelines once a newer one was used).
struct Source {
  const StoredTimeline* stored;
  uint64_t begin;          // segment index
  std::optional<Lsn> end;  // where the history leaves it
};

}  // namespace

// --- StoredTimeline
// ---------------------------------------------------------------------------------------------------

bool StoredTimeline::has(uint64_t index) const {
  return run_end(index).has_value();
}

std::optional<uint64_t> StoredTimeline::run_end(uint64_t index) const {
  auto after = std::upper_bound(runs.begin(), runs.end(), index,
                                [](uint64_t wanted, const SegmentRun& run) { return wanted < run.first; });
  if (after == runs.begin() || std::prev(after)->last < index) return std::nullopt;
  return std::prev(after)->last;
}

// --- WalPath
// ----------------------------------------------------------------------------------------------------------

std::optional<SegmentName> WalPath::file_at(uint64_t index) const {
  for (const WalPiece& piece : pieces) {
    if (index < piece.first || index > piece.last) continue;
    return SegmentName::containing(piece.timeline, {index * segment_size.bytes}, segment_size);
  }
  return std::nullopt;
}

uint64_t WalPath::last_index() const {
  CHECK(!empty());
  return unfinished ? unfinished->segment.index(segment_size) : pieces.back().last;
}

void WalPath::go_on_with(PartialSegment segment) {
  uint64_t index = segment.segment.index(segment_size);
  // Where the path ended at a fork, the new timeline's file begins with what the old one's held before it.
  if (!pieces.empty() && pieces.back().last == index) {
    if (pieces.back().first == index) {
      pieces.pop_back();
    } else {
      --pieces.back().last;
    }
  }
  end = {(index + 1) * segment_size.bytes};
  if (segment.limit.valid()) end = std::min(end, segment.limit);
  unfinished = std::move(segment);
}

// --- WalHistory
// -------------------------------------------------------------------------------------------------------

Result<std::optional<pg::TimelineHistory>> stored_history(const repo::WalStore& store, Timeline timeline) {
  StoredTimeline stored;
  stored.timeline = timeline;
  TRY(read_history(store, stored));
  if (!stored.has_history_file) stored.history.reset();
  return std::move(stored.history);
}

Result<WalHistory> WalHistory::load(const ChosenLineage& lineage, Lsn from) {
  WalHistory history;
  history.segment_size_ = lineage.record.segment_size;
  repo::WalStore store(lineage.repo);
  // Tombstones are read first: what is condemned while we list will still be there for its grace.
  TRY_ASSIGN(repo::Condemned condemned, repo::read_condemned(lineage.repo));
  TRY_ASSIGN(std::vector<Timeline> timelines, store.timelines());
  for (Timeline timeline : timelines) {
    StoredTimeline stored;
    stored.timeline = timeline;
    TRY(read_history(store, stored));
    // Tails go when their segment has come, so they are listed first.
    TRY_ASSIGN(std::vector<SegmentTail> tails, list_tails(lineage, timeline));
    TRY(list_files(store, condemned, history.segment_size_, from, stored));
    add_tails(tails, condemned, history.segment_size_, stored);
    history.timelines_.push_back(std::move(stored));
  }
  // Ancestors that contradict each other: two histories were mixed.
  for (StoredTimeline& stored : history.timelines_) {
    if (!stored.history || !stored.problem.empty()) continue;
    const auto& ancestors = stored.history->ancestors();
    bool contradicts = false;
    for (size_t i = 0; i < ancestors.size(); ++i) {
      if (ancestors[i].timeline.value == 1) continue;
      const StoredTimeline* ancestor = history.find(ancestors[i].timeline);
      if (ancestor == nullptr || !ancestor->has_history_file) {
        stored.problem =
            cat("the history file of its ancestor ", ancestors[i].timeline.value, " is not stored");
      } else if (ancestor->history &&
                 !std::ranges::equal(
                     ancestor->history->ancestors(), std::span(ancestors).first(i), {},
                     [](const pg::TimelineSwitch& s) { return std::pair(s.timeline, s.end); },
                     [](const pg::TimelineSwitch& s) { return std::pair(s.timeline, s.end); })) {
        stored.problem = cat("its history contradicts that of its ancestor ", ancestors[i].timeline.value);
        contradicts = true;
      }
    }
    if (contradicts) stored.history.reset();
  }
  return history;
}

const StoredTimeline* WalHistory::find(Timeline timeline) const {
  auto found = std::ranges::find(timelines_, timeline, &StoredTimeline::timeline);
  return found == timelines_.end() ? nullptr : &*found;
}

std::vector<Timeline> WalHistory::descendants(Timeline timeline, Lsn lsn) const {
  std::vector<Timeline> found;
  for (const StoredTimeline& stored : timelines_) {
    if (stored.history && stored.history->contains(timeline, lsn)) found.push_back(stored.timeline);
  }
  return found;
}

std::optional<Timeline> WalHistory::leads_past(Timeline timeline, Lsn lsn, Timeline target) const {
  const StoredTimeline* goal = find(target);
  for (const StoredTimeline& stored : timelines_) {
    if (!stored.history || stored.timeline == timeline) continue;
    if (goal != nullptr && goal->history && goal->history->has(stored.timeline)) continue;
    auto left = stored.history->end_of(timeline);
    if (left && *left > lsn) return stored.timeline;
  }
  return std::nullopt;
}

std::vector<std::string> WalHistory::problems() const {
  std::vector<std::string> lines;
  for (const StoredTimeline& stored : timelines_) {
    std::string name = cat("timeline ", stored.timeline.value);
    if (!stored.problem.empty()) lines.push_back(cat(name, ": ", stored.problem));
    for (size_t i = 1; i < stored.runs.size(); ++i) {
      // A conflict is not a hole.
      uint64_t missing = stored.runs[i].first - stored.runs[i - 1].last - 1;
      for (const SegmentName& conflict : stored.conflicts) {
        uint64_t index = conflict.index(segment_size_);
        if (index > stored.runs[i - 1].last && index < stored.runs[i].first) --missing;
      }
      if (missing == 0) continue;
      SegmentName first = SegmentName::containing(
          stored.timeline, {(stored.runs[i - 1].last + 1) * uint64_t{segment_size_.bytes}}, segment_size_);
      lines.push_back(cat(name, ": ", missing,
                          missing == 1 ? " segment is missing after " : " segments are missing from ",
                          first.to_string(), " on"));
    }
    for (const SegmentName& conflict : stored.conflicts) {
      lines.push_back(cat(name, ": ", conflict.to_string(), " is stored with different contents"));
    }
  }
  return lines;
}

WalPath WalHistory::path(Timeline target, Lsn from) const {
  const StoredTimeline* goal = find(target);
  CHECK(goal != nullptr && goal->history.has_value());
  const pg::TimelineHistory& history = *goal->history;
  const uint64_t bytes = segment_size_.bytes;

  std::vector<Source> sources;  // newest first
  auto add_source = [&](Timeline timeline) {
    const StoredTimeline* stored = find(timeline);
    if (stored == nullptr) return;
    sources.push_back(
        {stored, history.begin_of(timeline).value_or(Lsn{0}).value / bytes, history.end_of(timeline)});
  };
  add_source(target);
  for (auto ancestor = history.ancestors().rbegin(); ancestor != history.ancestors().rend(); ++ancestor) {
    add_source(ancestor->timeline);
  }

  WalPath path;
  path.target = target;
  path.segment_size = segment_size_;
  path.from = from;
  path.end = from;
  uint64_t index = from.value / bytes;
  Timeline newest_used;
  while (!path.conflict) {
    const Source* chosen = nullptr;
    uint64_t limit = std::numeric_limits<uint64_t>::max();  // where a newer timeline begins
    for (const Source& source : sources) {
      if (source.stored->timeline < newest_used) break;
      if (source.end && source.end->value <= index * bytes) continue;  // holds another branch here
      if (index < source.begin) {
        limit = std::min(limit, source.begin - 1);
        continue;
      }
      SegmentName name = SegmentName::containing(source.stored->timeline, {index * bytes}, segment_size_);
      if (std::ranges::find(source.stored->conflicts, name) != source.stored->conflicts.end()) {
        path.conflict = name;
        break;
      }
      if (source.stored->has(index)) {
        chosen = &source;
        break;
      }
      // An older timeline stands in for this segment only: the next one may be there.
      limit = std::min(limit, index);
    }
    if (chosen == nullptr) break;
    uint64_t last = std::min(*chosen->stored->run_end(index), limit);
    Lsn end{(last + 1) * bytes};
    newest_used = chosen->stored->timeline;
    path.pieces.push_back({newest_used, index, last});
    index = last + 1;
    path.end = end;
    if (chosen->end && *chosen->end < end) {
      // Past the fork these files hold another branch. Only a newer timeline's copy of the segment goes on.
      index = (chosen->end->value - 1) / bytes;
      path.pieces.back().last = index;
      path.end = *chosen->end;
      if (path.end.value % bytes == 0) ++index;
      break;
    }
  }
  if (path.end < from) path.end = from;
  path.whole_end = path.end;

  for (const Source& source : sources) {
    for (const SegmentName& partial : source.stored->partials) {
      if (path.partial || partial.index(segment_size_) != index || index < source.begin) continue;
      if (source.end && *source.end <= path.end) continue;  // nothing but another branch
      path.partial = PartialSegment{partial, "", source.end.value_or(Lsn{})};
    }
    for (const SegmentTail& tail : source.stored->tails) {
      Lsn end = tail.segment.start(segment_size_) + tail.size;
      if (path.tail || tail.segment.index(segment_size_) != index || index < source.begin || end <= path.end)
        continue;
      if (source.end && *source.end <= path.end) continue;  // nothing but another branch
      if (leads_past(tail.segment.timeline, end, target)) continue;
      path.tail =
          PartialSegment{tail.segment, "", source.end.value_or(Lsn{}), PartialSegment::Stored::as_tail};
    }
    if (path.conflict || path.missing) continue;
    bool more = std::ranges::any_of(source.stored->runs, [&](const SegmentRun& run) {
      uint64_t begin = std::max(source.begin, index + 1);
      bool before_fork = !source.end || source.end->value > std::max(run.first, begin) * bytes;
      return run.last >= begin && before_fork;
    });
    if (more) {
      // The newest timeline that has begun by that segment's end is the one whose file is asked for first.
      Timeline owner = history.owner({(index + 1) * bytes - 1});
      path.missing = SegmentName::containing(owner, {index * bytes}, segment_size_);
    }
  }
  return path;
}

Result<std::vector<SegmentName>> missing_segments(const ChosenLineage& lineage, Timeline timeline, Lsn start,
                                                  Lsn stop) {
  std::vector<SegmentName> missing;
  if (stop <= start) return missing;
  SegmentSize size = lineage.record.segment_size;
  SegmentName next = SegmentName::containing(timeline, start, size);
  SegmentName end = SegmentName::containing(timeline, {stop.value - 1}, size).next(size);
  repo::WalStore store(lineage.repo);
  TRY(store.list_segments(timeline, {next, end}, [&](const SegmentName& segment, int copies) -> Status {
    for (; next < segment; next = next.next(size)) missing.push_back(next);
    if (copies > 1) {
      return make_error(ErrorKind::conflict, segment.to_string(),
                        cat("is stored ", copies, " times with different content"))
          .with_hint(
              "two servers archived under one name (split brain or a clone); choose by hand which is right");
    }
    next = next.next(size);
    return {};
  }));
  for (; next < end; next = next.next(size)) missing.push_back(next);
  return missing;
}

}  // namespace lifeboat::ops
