// Timeline history files (src/backend/access/transam/timeline.c, PostgreSQL 13 to 18).
//
// TTTTTTTT.history lists the ancestors of timeline T, one line each: id, tab, the position where the next
// timeline branched off, tab, the reason. Timeline 1 has no file. PostgreSQL's own rules are followed: lines
// that are blank or begin with # are skipped, anything after the position is a comment, ids must ascend and
// stay below T.
//
// Positions need not ascend: a recovery along timeline 2 that stops before 2 branched off from 1 writes "1 →
// X, 2 → Y" with Y < X. Look-ups therefore go from the newest entry to the oldest, as PostgreSQL's do.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "util/result.h"

namespace lifeboat::pg {

struct TimelineSwitch {
  Timeline timeline;   // the ancestor
  Lsn end;             // where its successor begins
  std::string reason;  // free text, may be empty
  bool operator==(const TimelineSwitch&) const = default;
};

class TimelineHistory {
 public:
  // A timeline without ancestors (timeline 1, or one whose file is certainly absent).
  static TimelineHistory root(Timeline target);
  // `damaged`: a line that PostgreSQL would refuse, or `target` is 0.
  static Result<TimelineHistory> parse(Timeline target, std::string_view text);

  Timeline target() const { return target_; }
  const std::vector<TimelineSwitch>& ancestors() const { return ancestors_; }  // oldest first
  // What a server writes: parse(target(), to_text()) gives an equal history.
  std::string to_text() const;

  // The history of a timeline that branches off from target() at `at`.
  TimelineHistory branch(Timeline child, Lsn at, std::string reason) const;

  bool has(Timeline timeline) const;  // target or an ancestor
  // The timeline in whose segments the byte at `lsn` is to be read when recovering to target()
  // (tliOfPointInHistory).
  Timeline owner(Lsn lsn) const;
  // First position of `timeline` on this history; 0 for the oldest. nullopt: not on this history.
  std::optional<Lsn> begin_of(Timeline timeline) const;
  // Where this history leaves `timeline` for good; nullopt: it does not (target), or it is not on this
  // history.
  std::optional<Lsn> end_of(Timeline timeline) const;
  // Is the state reached at (timeline, lsn) a past state of target()? True up to and at the fork (T16).
  bool contains(Timeline timeline, Lsn lsn) const;

  bool operator==(const TimelineHistory&) const = default;

 private:
  Timeline target_;
  std::vector<TimelineSwitch> ancestors_;
};

}  // namespace lifeboat::pg
