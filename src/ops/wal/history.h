// What WAL the repository holds of a lineage: timelines, their ancestry, and which segments are there.
//
// Made from listings and the history files; no segment is read. WAL that is condemned by a tombstone
// counts as absent, because it may vanish at any moment. How far a recovery gets with it: ops/wal/reach.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/lsn.h"
#include "model/wal_name.h"
#include "ops/session.h"
#include "ops/wal/tail.h"
#include "pg/format/timeline_history.h"
#include "repo/wal_store.h"
#include "util/result.h"

namespace lifeboat::ops {

// Consecutive whole segments of one timeline, by their index (SegmentName::index).
struct SegmentRun {
  uint64_t first = 0;
  uint64_t last = 0;
};

struct StoredTimeline {
  Timeline timeline;
  // nullopt: unusable (`problem` says why). Timeline 1 has the root history, and so has one whose history
  // file is certainly not stored (`has_history_file` is false): the file may have been lost long before we
  // came.
  std::optional<pg::TimelineHistory> history;
  bool has_history_file = true;        // or needs none
  std::string problem;                 // for people; empty: none
  std::vector<SegmentRun> runs;        // ascending; a hole lies between two of them
  std::vector<SegmentName> conflicts;  // segments with more than one content (T46); not part of `runs`
  std::vector<SegmentName> partials;   // .partial files
  std::vector<SegmentTail> tails;      // of segments that are not stored whole; full ones are part of `runs`

  bool has(uint64_t index) const;
  // Last index of the run that holds `index`.
  std::optional<uint64_t> run_end(uint64_t index) const;
};

// The way of a recovery through the segments: which file gives which bytes. Follows PostgreSQL's choice
// (XLogFileReadAnyTLI in src/backend/access/transam/xlogrecovery.c): a segment comes from the newest timeline
// of the target's history that had begun by that segment and has the file.
struct WalPiece {
  Timeline timeline;   // of the files
  uint64_t first = 0;  // segment indexes
  uint64_t last = 0;
};

// The unfinished last segment of a lost server. PostgreSQL does not ask for SEGMENT.partial: who wants its
// WAL replayed puts it into pg_wal under the segment's name (ops/restore/partial.h).
struct PartialSegment {
  enum class Stored : uint8_t { as_partial, as_tail };
  SegmentName segment;
  std::string path;  // of a local file; empty: stored, as SEGMENT.partial or as its tail
  // Where the history leaves its timeline: what it holds past that belongs to another branch (T46). 0:
  // nowhere.
  Lsn limit;
  Stored stored = Stored::as_partial;
};

struct WalPath {
  Timeline target;
  SegmentSize segment_size;
  std::vector<WalPiece> pieces;  // ascending, adjoining
  Lsn from;
  Lsn end;  // where the stored bytes end: a segment's end, or a fork whose new timeline's file is absent
  // Why it ends there. All empty: nothing that belongs to it is stored past its end.
  std::optional<SegmentName> missing;     // a hole: this segment is absent, a later one is stored
  std::optional<SegmentName> conflict;    // this segment is stored with two contents (T46)
  std::optional<PartialSegment> partial;  // a .partial that goes on from the end is stored
  std::optional<PartialSegment> tail;     // a tail that does, and that may be used (T45)

  // Set by go_on_with(): the last segment of the path is this one, and its whole segments end before it.
  std::optional<PartialSegment> unfinished;
  Lsn whole_end;  // `end` without it

  // Lengthens the path by an unfinished segment that goes on from its end.
  void go_on_with(PartialSegment segment);
  bool empty() const { return pieces.empty() && !unfinished; }
  // The whole segment's file.
  std::optional<SegmentName> file_at(uint64_t index) const;
  uint64_t first_index() const { return from.value / segment_size.bytes; }
  // The last segment; CHECKs that there is one.
  uint64_t last_index() const;
};

// Thread rule: immutable after loading.
class WalHistory {
 public:
  // With `from`, of segments only those that hold bytes from there on are listed.
  static Result<WalHistory> load(const ChosenLineage& lineage, Lsn from = {});

  SegmentSize segment_size() const { return segment_size_; }
  const std::vector<StoredTimeline>& timelines() const { return timelines_; }  // ascending
  const StoredTimeline* find(Timeline timeline) const;
  // Timelines whose history passes through (timeline, lsn), ascending, `timeline` itself among them.
  std::vector<Timeline> descendants(Timeline timeline, Lsn lsn) const;
  // Problems of ancestry, holes and conflicts, one line each, for status and verify.
  std::vector<std::string> problems() const;

  // A timeline that branched off from (timeline, lsn) on later than `lsn`, but for `target` and its
  // ancestors.
  std::optional<Timeline> leads_past(Timeline timeline, Lsn lsn, Timeline target) const;

  // The path of a recovery from `from` on towards `target`, whose history must be known (CHECKed by find()).
  WalPath path(Timeline target, Lsn from) const;

 private:
  SegmentSize segment_size_;
  std::vector<StoredTimeline> timelines_;
};

// The history of one timeline by its file alone: nothing is listed. nullopt: the file is not stored, or
// cannot be used. Timeline 1 has the root history.
Result<std::optional<pg::TimelineHistory>> stored_history(const repo::WalStore& store, Timeline timeline);

// Segments of `timeline` that hold bytes from `start` to before `stop` and are not stored yet (what a backup
// waits for: T03). `conflict` when one is stored with two contents. Listing only.
Result<std::vector<SegmentName>> missing_segments(const ChosenLineage& lineage, Timeline timeline, Lsn start,
                                                  Lsn stop);

}  // namespace lifeboat::ops
