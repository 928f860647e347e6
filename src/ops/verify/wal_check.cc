// Is the WAL that backups need stored, whole, and one chain of records?
#include <algorithm>

#include "ops/verify/parts.h"
#include "util/strings.h"

namespace lifeboat::ops::verification {

namespace {

constexpr size_t kNamedSegments = 3;

// The last byte that a backup needs is the one before its stop position.
Lsn last_byte(const repo::Card& card) {
  return {std::max(card.stop_lsn.value, card.start_lsn.value + 1) - 1};
}

SegmentRun segments_of(const repo::Card& card, SegmentSize size) {
  return {SegmentName::containing(card.timeline, card.start_lsn, size).index(size),
          SegmentName::containing(card.timeline, last_byte(card), size).index(size)};
}

std::string describe(const WalBreak& broken) {
  return cat("WAL segment ", broken.segment.to_string(), " at ", broken.lsn.to_string(), ": ", broken.text);
}

}  // namespace

Result<WalCheck> WalCheck::load(const ChosenLineage& lineage) {
  TRY_ASSIGN(WalHistory history, WalHistory::load(lineage));
  return WalCheck(lineage, std::move(history));
}

Status WalCheck::read_run(Timeline timeline, const SegmentRun& run, const VerifyRequest& request) {
  TRY_ASSIGN(auto breaks,
             check_segments_continuous(lineage_, timeline, run, {request.reporter, request.stop}));
  breaks_.insert(breaks_.end(), breaks.begin(), breaks.end());
  return {};
}

Status WalCheck::read_all(const VerifyRequest& request) {
  for (const StoredTimeline& stored : history_.timelines()) {
    for (const SegmentRun& run : stored.runs) TRY(read_run(stored.timeline, run, request));
  }
  return {};
}

Status WalCheck::read_for(const repo::Card& card, const VerifyRequest& request) {
  const StoredTimeline* stored = history_.find(card.timeline);
  if (stored == nullptr) return {};  // judge_backup() says that it is missing
  SegmentRun needed = segments_of(card, lineage_.record.segment_size);
  for (const SegmentRun& run : stored->runs) {
    SegmentRun part{std::max(run.first, needed.first), std::min(run.last, needed.last)};
    if (part.first <= part.last) TRY(read_run(stored->timeline, part, request));
  }
  return {};
}

Status WalCheck::judge_backup(const repo::Card& card, VerifiedBackup& backup) const {
  auto missing = missing_segments(lineage_, card.timeline, card.start_lsn, card.stop_lsn);
  if (!missing && missing.error().kind != ErrorKind::conflict) return std::move(missing).error();
  if (!missing) {
    backup.problems.push_back(missing.error().to_string());
  } else if (!missing->empty()) {
    std::vector<std::string> names;
    for (const SegmentName& name : *missing) {
      if (names.size() < kNamedSegments) names.push_back(name.to_string());
    }
    backup.problems.push_back(
        cat(missing->size(), " WAL segments from its start to its stop are not stored: ", join(names, ", "),
            missing->size() > names.size() ? ", …" : ""));
  }
  SegmentSize size = lineage_.record.segment_size;
  SegmentRun needed = segments_of(card, size);
  for (const WalBreak& broken : breaks_) {
    uint64_t index = broken.segment.index(size);
    if (broken.segment.timeline != card.timeline || index < needed.first || index > needed.last) continue;
    // Records behind the stop are not the backup's.
    if (broken.lsn > card.stop_lsn) continue;
    backup.problems.push_back(describe(broken));
  }
  return {};
}

Status WalCheck::judge_window(const repo::Card& newest, WalWindow& window) const {
  window.from = newest.id;
  window.begin = newest.start_lsn;
  std::vector<Timeline> timelines = history_.descendants(newest.timeline, newest.stop_lsn);
  window.timeline = timelines.empty() ? newest.timeline : timelines.back();
  const StoredTimeline* stored = history_.find(window.timeline);
  if (stored == nullptr) {
    window.problems.push_back(cat("no WAL of timeline ", window.timeline.value, " is stored"));
    return {};
  }
  if (!stored->history) {
    window.problems.push_back(stored->problem);
    return {};
  }
  WalPath path = history_.path(window.timeline, newest.start_lsn);
  window.end = path.end;
  if (path.missing) {
    window.problems.push_back(cat("WAL segment ", path.missing->to_string(),
                                  " is missing; what is stored behind it is out of reach"));
  }
  if (path.conflict) {
    window.problems.push_back(
        cat("WAL segment ", path.conflict->to_string(), " is stored with two contents"));
  }
  SegmentSize size = lineage_.record.segment_size;
  for (const WalBreak& broken : breaks_) {
    if (path.file_at(broken.segment.index(size)) == broken.segment)
      window.problems.push_back(describe(broken));
  }
  return {};
}

}  // namespace lifeboat::ops::verification
