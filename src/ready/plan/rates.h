// Rates of restoring and replaying, from the evidence that drills left, or from a short calibration on this
// host.
#pragma once

#include <string>
#include <vector>

#include "ops/restore/estimate.h"
#include "pg/server/pg_bin.h"
#include "ready/plan/facts.h"
#include "repo/repository.h"
#include "util/stop.h"

namespace lifeboat::ready {

struct EvidenceText {
  std::string id;
  std::string json;
};

inline constexpr double kLeastReplayed = ops::kLeastReplayed;  // bytes of WAL

// Of drills that passed, newest first, at most the ten newest of each kind: the median, and as error the
// largest deviation from it. One drill alone has an unknown error; 30 % are taken. A drill on a mount gives
// the rates of instant restores and none of full ones. Of a drill of a dump only the time is known: its rate
// is that of `database_bytes`, which a dump of every database restores to, and those of others tell nothing.
// What it takes to recover from little WAL (below
// kLeastReplayed) is the cost of any recovery and tells no rate: it counts as fixed. Text that is no drill's
// evidence is passed over.
Rates rates_of_drills(const std::vector<EvidenceText>& newest_first,
                      std::optional<double> database_bytes = std::nullopt);

// The same of the newest records of a lineage; what cannot be read tells nothing.
Rates measured_rates(const repo::LineageRepo& repo);

inline constexpr double kCalibrationError = 0.5;  // of the time
inline constexpr double kCalibrationFloor = 10;   // seconds

struct CalibrationOptions {
  std::string directory;  // on the disk that a restore would write to; gets a directory for a while
  pg::PgBin bin;
  int jobs = 1;  // workers of a restore
  const StopToken* stop = nullptr;
};
// Some seconds: as many workers as a restore has write compressed and sealed data out to durable files, and a
// throw-away server of PostgreSQL recovers and is promoted twice, from next to no WAL, which is the fixed
// cost, and from some, which with the first taken off gives the rate. The host's other load, the preflight
// and the repository's distance are not in it: the error is 50 %, and not less than kCalibrationFloor
// seconds. What could not be measured is absent and said in `problem`. Errors: cancelled.
struct Calibration {
  Rates rates;
  std::string problem;
};
Result<Calibration> calibrate(const CalibrationOptions& options, Timestamp now);
// A restore fetches from the repository before it writes: with both rates, the time of both.
void slow_down_by_fetching(Rates& calibrated, std::optional<double> fetched_bytes_per_second);
// What drills leave open is taken from the calibration: all of it where there was no drill, the rate of
// replaying where they replayed too little.
void fill_in(Rates& rates, const Rates& calibrated);

}  // namespace lifeboat::ready
