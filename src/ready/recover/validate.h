// Questions to a server that was just recovered: does it answer, is it open, is anything broken that a query
// shows (R6, PR1)? A question that fails is a finding, never the end of the recovery.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/wal/check.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ready {

struct Validation {
  bool answers = false;
  std::string problem;  // why it does not answer
  bool in_recovery = false;
  bool archives = false;  // archive_mode is not off, and archive_command does not throw WAL away
  std::optional<double> archived_seconds;  // until a segment that was just finished was in the repository
  std::string archiving_problem;           // why it did not come; "": it did, or was not waited for
  int64_t databases = 0;
  int64_t relations = 0;                     // tables, in all databases
  std::vector<std::string> invalid_indexes;  // "database: schema.index"
  std::vector<std::string> not_looked_at;    // databases, with the reason
  std::vector<std::string> broken;           // databases that do not answer what any sound one does
  double seconds = 0;
};

// Errors: cancelled.
Result<Validation> validate_server(const std::string& conninfo, const StopToken& stop);

// Ends a segment and waits for it in the repository, as `wal check` does: settings that look right may fail
// on each attempt. Errors: cancelled.
Status validate_archiving(const ops::WalCheckRequest& request, Validation& validation, Reporter& reporter,
                          StopToken& stop);

}  // namespace lifeboat::ready
