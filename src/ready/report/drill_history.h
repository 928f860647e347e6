// The last drills together: how RTO and RPO moved, and how they stand against their targets.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ready/report/rehearsals.h"
#include "ready/signals/signal.h"

namespace lifeboat::ready {

// One of the two figures over all drills that measured it, in seconds.
struct DrillFigure {
  size_t measured = 0;  // drills; a failed one does not count: it did not come to an end, or to a wrong one
  std::optional<double> newest;
  std::optional<double> median;  // of those before the newest
  std::optional<double> slowest;
  std::optional<double> target;
  size_t missed = 0;  // drills above the target of now
  Trend trend;        // reaches_critical_seconds: until the target is reached
};

struct DrillHistory {
  std::vector<Rehearsal> drills;  // newest first
  size_t failed = 0;              // of them
  DrillFigure rto;
  DrillFigure rpo;
};

// `rto`, `rpo`: targets in seconds; without one, that of the newest drill which had one.
DrillHistory judge_drills(std::vector<Rehearsal> drills, std::optional<double> rto,
                          std::optional<double> rpo);

// "rising 12 s a day, reaches the target in 9 d", "steady", "not known: …"
std::string describe_trend(const DrillFigure& figure);

}  // namespace lifeboat::ready
