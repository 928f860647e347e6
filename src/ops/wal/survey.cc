#include "ops/wal/survey.h"

#include <algorithm>
#include <utility>

#include "ops/wal/changes.h"
#include "ops/wal/scan.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// A stored tail in the place of a server's pg_wal.
class TailWal : public ServerWal {
 public:
  TailWal(const ChosenLineage& lineage, PartialSegment tail) : lineage_(lineage), tail_(std::move(tail)) {}
  Result<bool> read(const SegmentName& segment, const std::function<Status(ByteView)>& sink) override {
    if (segment != tail_.segment) return false;
    TRY(read_partial(lineage_, tail_, sink));
    return true;
  }

 private:
  const ChosenLineage& lineage_;
  PartialSegment tail_;
};

class Surveyor {
 public:
  Surveyor(const ChosenLineage& lineage, const WalHistory& history, const StoredTimeline& target,
           Reporter& reporter, StopToken& stop)
      : lineage_(lineage), history_(history), target_(target), reporter_(reporter), stop_(stop) {}

  Result<Survey> run(Lsn from) {
    const uint64_t bytes = history_.segment_size().bytes;
    for (std::optional<Lsn> at = from; at;) {
      WalPath path = history_.path(target_.timeline, *at);
      Lsn ended = *at;
      if (!path.empty() || path.tail) {
        TRY_ASSIGN(ended, follow(path));
        survey_.paths.push_back(path);
      }
      note_end(path, ended);
      at = next_start(ended.value / bytes);
    }
    std::ranges::stable_sort(survey_.ends, {}, &pg::NotedEnd::lsn);
    return std::move(survey_);
  }

 private:
  // Returns where it ended: the path's end, or the segment that cannot be taken in.
  // What stands in a tail behind it is taken in too.
  Result<Lsn> follow(WalPath& path) {
    ChangesRequest request;
    std::optional<TailWal> tail;
    if (path.tail) {
      const PartialSegment& partial = *path.tail;
      TRY_ASSIGN(uint64_t valid, valid_size(lineage_, partial));
      tail.emplace(lineage_, partial);
      path.go_on_with(partial);
      path.end = std::min(path.end, partial.segment.start(history_.segment_size()) + valid);
    }
    if (tail) request.server_wal = &*tail;
    request.lineage = &lineage_;
    request.history = *target_.history;
    request.from = path.from;
    request.to = path.end;
    auto visit = [&](const pg::SegmentSummary& summary) { take(summary, path.end); };
    TRY_ASSIGN(WalChanges read, read_summaries(request, visit, reporter_, stop_));
    survey_.summaries += read.summaries;
    survey_.wal_bytes += read.wal_bytes;
    if (!read.unusable.empty() && read.ended < path.end) {
      survey_.notes.push_back(cat("nothing is known from ", read.ended.to_string(), " on: ", read.unusable));
    }
    return std::min(read.ended, path.end);
  }

  void note_end(const WalPath& path, Lsn ended) {
    if (ended < path.end) return;
    if (path.missing) {
      survey_.notes.push_back(
          cat("WAL segment ", path.missing->to_string(), " is missing: what happened in it cannot be found"));
    } else if (path.conflict) {
      survey_.notes.push_back(cat("WAL segment ", path.conflict->to_string(),
                                  " is stored with different contents and is passed over"));
    }
  }

  // The next position behind segment `index` from which WAL of the target's history is stored.
  std::optional<Lsn> next_start(uint64_t index) const {
    const uint64_t bytes = history_.segment_size().bytes;
    std::optional<uint64_t> next;
    for (const StoredTimeline& stored : history_.timelines()) {
      if (!target_.history->has(stored.timeline)) continue;
      auto end = target_.history->end_of(stored.timeline);
      for (const SegmentRun& run : stored.runs) {
        uint64_t first = std::max(run.first, index + 1);
        bool foreign = end && first * bytes >= end->value;  // of another branch
        if (first > run.last || foreign || (next && *next <= first)) continue;
        next = first;
      }
    }
    return next ? std::optional(Lsn{*next * bytes}) : std::nullopt;
  }

  void take(const pg::SegmentSummary& summary, Lsn end) {
    SurveyedSegment& segment = segment_at(summary.segment.index(history_.segment_size()));
    if (summary.commits != 0) {
      bool first = segment.commits == 0;
      segment.first_commit =
          first ? summary.first_commit : std::min(segment.first_commit, summary.first_commit);
      segment.last_commit = std::max(segment.last_commit, summary.last_commit);
      segment.commits += summary.commits;
    }
    if (summary.lowest_xid != 0) {
      segment.lowest_xid =
          segment.lowest_xid == 0 ? summary.lowest_xid : std::min(segment.lowest_xid, summary.lowest_xid);
      segment.highest_xid = std::max(segment.highest_xid, summary.highest_xid);
    }
    segment.relations.insert(segment.relations.end(), summary.relations.begin(), summary.relations.end());
    for (const pg::NotedEnd& noted : summary.ends) {
      if (noted.lsn < end) survey_.ends.push_back(noted);
    }
    for (const pg::TransactionActivity& activity : summary.transactions) add(activity, segment.index);
    for (const pg::SummaryEvent& event : summary.events) {
      bool database = event.kind == pg::SummaryEventKind::database_create ||
                      event.kind == pg::SummaryEventKind::database_drop;
      if (database && event.lsn < end) survey_.databases.push_back(event);
    }
  }

  // Summaries come in order, but for a cut record, which comes right before the segment that ends it.
  SurveyedSegment& segment_at(uint64_t index) {
    std::vector<SurveyedSegment>& segments = survey_.segments;
    auto at = std::ranges::lower_bound(segments, index, {}, &SurveyedSegment::index);
    if (at == segments.end() || at->index != index) {
      at = segments.insert(at, SurveyedSegment());
      at->index = index;
    }
    return *at;
  }

  void add(const pg::TransactionActivity& activity, uint64_t index) {
    auto [entry, is_new] = survey_.transactions.try_emplace(activity.xid);
    SurveyedTransaction& transaction = entry->second;
    if (is_new) transaction.first_index = index;
    transaction.last_index = index;
    pg::RowCounts& rows = transaction.rows[activity.relation];
    rows.inserted += activity.rows.inserted;
    rows.updated += activity.rows.updated;
    rows.deleted += activity.rows.deleted;
  }

  const ChosenLineage& lineage_;
  const WalHistory& history_;
  const StoredTimeline& target_;
  Reporter& reporter_;
  StopToken& stop_;
  Survey survey_;
};

}  // namespace

const WalPath* Survey::path_at(Lsn lsn) const {
  for (const WalPath& path : paths) {
    if (lsn >= path.from && lsn < path.end) return &path;
  }
  return nullptr;
}

Result<Survey> survey_wal(const ChosenLineage& lineage, const WalHistory& history, Timeline target, Lsn from,
                          Reporter& reporter, StopToken& stop) {
  const StoredTimeline* stored = history.find(target);
  CHECK(stored != nullptr && stored->history.has_value());
  return Surveyor(lineage, history, *stored, reporter, stop).run(from);
}

}  // namespace lifeboat::ops
