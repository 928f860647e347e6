// Questions to a server that was just recovered: does it answer, is it open, is anything broken that a query
// shows (R6, PR1)? A question that fails is a finding, never the end of the recovery.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ready {

struct Validation {
  bool answers = false;
  std::string problem;  // why it does not answer
  bool in_recovery = false;
  bool archives = false;  // archive_mode is not off, and archive_command does not throw WAL away
  int64_t databases = 0;
  int64_t relations = 0;                     // tables, in all databases
  std::vector<std::string> invalid_indexes;  // "database: schema.index"
  std::vector<std::string> not_looked_at;    // databases, with the reason
  double seconds = 0;
};

// Errors: cancelled.
Result<Validation> validate_server(const std::string& conninfo, const StopToken& stop);

}  // namespace lifeboat::ready
