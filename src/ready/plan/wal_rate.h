// How much WAL a server writes a day, by the best evidence there is.
//
// A day has busy hours and quiet ones, so what covers less than one is weak: it is extrapolated, says so, and
// a plan that rests on it is unproven. What shows next to nothing in a short time shows nothing: an idle
// moment is no rate of 0.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lifeboat::ready {

// WAL that was written within a time, as one witness has it.
struct WalEvidence {
  std::string witness;  // "pg_stat_wal"
  double bytes = 0;
  double seconds = 0;
  bool sure = true;  // false: it may not have counted all the time
};

struct WalRate {
  std::optional<double> bytes_per_day;  // absent: unknown, `how` says why
  std::string how;
  bool weak = false;
};

// The first that surely covers a day, of several in the order of trust; else the one that covers the longest
// time.
WalRate best_wal_rate(const std::vector<WalEvidence>& by_trust);

}  // namespace lifeboat::ready
