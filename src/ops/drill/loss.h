// RPO of a recovery: commit time of the last transaction on the lost server minus that of the last one
// recovered. On an idle server nothing is lost, whatever the age of the last commit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "ops/session.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class LossBound : uint8_t { exact, at_most };

struct MeasuredLoss {
  std::optional<double> seconds;       // nullopt: not measured, `how` says why
  LossBound bound = LossBound::exact;  // at_most: commits were not counted
  uint64_t lost_commits = 0;
  Timestamp last_on_source;  // unknown when nothing was lost
  Timestamp last_recovered;
  std::string how;  // "read from pg_wal of …"
};

// How old the state is that the newest beacon of the recovered WAL vouches for (ops/wal/beacon.h): needs
// nothing from the source, and is never less than the loss.
struct BeaconAge {
  Timestamp written;
  double seconds = 0;  // when the drill began
};

// Where the source stood when the drill began: everything it had flushed by then is what a loss at that
// moment would be measured against.
struct SourcePosition {
  Timeline timeline;
  Lsn flushed;
  Timestamp at;
};
Result<SourcePosition> source_position(const std::string& conninfo, const SystemId& expected,
                                       const StopToken& stop);

// Reads the source's own pg_wal from where the recovery ended to `until` (none: to the end of its valid
// records) and looks for commits that the copy does not have. Not measured where they end before `until`, or
// before what the source's control file knows of.
Result<MeasuredLoss> measure_loss(const DataDirFacts& source, std::optional<SourcePosition> until,
                                  Timeline timeline, Lsn recovered, Timestamp last_recovered,
                                  const StopToken& stop);

}  // namespace lifeboat::ops
