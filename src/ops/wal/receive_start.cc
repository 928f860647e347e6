#include "ops/wal/receive_start.h"

#include <algorithm>
#include <optional>

namespace lifeboat::ops {

namespace {

// Segment indexes that a history's timelines may hold. A segment belongs to the timeline of its last byte:
// that one's file begins with what the timelines before it wrote there.
class Held {
 public:
  Held(const WalHistory& stored, const pg::TimelineHistory& server)
      : stored_(stored), server_(server), bytes_(stored.segment_size().bytes) {}

  bool has(uint64_t index) const {
    const StoredTimeline* timeline = stored_.find(server_.owner({(index + 1) * bytes_ - 1}));
    if (timeline == nullptr) return false;
    return timeline->has(index) || std::ranges::any_of(timeline->conflicts, [&](const SegmentName& name) {
             return name.index(stored_.segment_size()) == index;
           });
  }

  std::optional<uint64_t> newest() const { return search(true); }
  std::optional<uint64_t> oldest() const { return search(false); }

 private:
  std::optional<uint64_t> search(bool newest) const {
    std::optional<uint64_t> found;
    for (const StoredTimeline& timeline : stored_.timelines()) {
      if (!server_.has(timeline.timeline)) continue;
      uint64_t begin = server_.begin_of(timeline.timeline).value_or(Lsn{}).value / bytes_;
      auto left = server_.end_of(timeline.timeline);
      for (const SegmentRun& run : timeline.runs) {
        uint64_t first = std::max(run.first, begin);
        uint64_t past = run.last + 1;
        if (left) past = std::min(past, left->value / bytes_);
        if (first >= past) continue;
        uint64_t candidate = newest ? past - 1 : first;
        if (!found || (newest ? candidate > *found : candidate < *found)) found = candidate;
      }
    }
    return found;
  }

  const WalHistory& stored_;
  const pg::TimelineHistory& server_;
  uint64_t bytes_;
};

StreamStart at_segment(const pg::TimelineHistory& server, SegmentSize size, uint64_t index) {
  Lsn at{index * size.bytes};
  return {server.owner(at), at, false};
}

}  // namespace

StreamStart start_of_stream(const WalHistory& stored, const pg::TimelineHistory& server, Lsn flushed,
                            Lsn reserved) {
  const SegmentSize size = stored.segment_size();
  Held held(stored, server);
  auto newest = held.newest();
  if (!newest) return at_segment(server, size, (reserved.valid() ? reserved : flushed).value / size.bytes);
  uint64_t index = *newest + 1;
  if (reserved.valid()) {
    uint64_t missing = std::max(reserved.value / size.bytes, *held.oldest());
    while (missing < index && held.has(missing)) ++missing;
    index = std::min(index, missing);
  }
  StreamStart start = at_segment(server, size, index);
  start.follows_stored = true;
  return start;
}

StreamStart start_past_hole(const pg::TimelineHistory& server, SegmentSize size, Lsn at, Lsn flushed,
                            Lsn reserved) {
  for (Lsn candidate : {reserved, flushed}) {
    if (candidate.value / size.bytes <= at.value / size.bytes) continue;
    return at_segment(server, size, candidate.value / size.bytes);
  }
  return at_segment(server, size, at.value / size.bytes);
}

Lsn end_of_tail(const WalHistory& stored, const pg::TimelineHistory& server, Lsn at) {
  const SegmentSize size = stored.segment_size();
  const StoredTimeline* timeline = stored.find(server.owner(at));
  if (timeline == nullptr) return at;
  for (const SegmentTail& tail : timeline->tails) {
    if (tail.segment.start(size) != at) continue;
    Lsn end = at + tail.size;
    auto left = server.end_of(timeline->timeline);
    return left ? std::min(end, *left) : end;
  }
  return at;
}

std::optional<Timeline> branch_behind(const WalHistory& stored, Timeline timeline, Lsn flushed) {
  for (const StoredTimeline& other : stored.timelines()) {
    if (other.timeline <= timeline || !other.history || (other.runs.empty() && other.tails.empty())) continue;
    auto left = other.history->end_of(timeline);
    if (left && *left < flushed) return other.timeline;
  }
  return std::nullopt;
}

}  // namespace lifeboat::ops
