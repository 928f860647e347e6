// The last failure of `wal push`, kept on the database's host where doctor and status can read it without
// looking into PostgreSQL's log. One small file per cluster and lineage, never in the data directory; removed
// by the next success.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/names.h"
#include "model/timestamp.h"
#include "util/result.h"

namespace lifeboat::ops {

inline constexpr std::string_view kDefaultStateDirectory = "/var/lib/lifeboat";

struct PushFailure {
  std::string cluster;
  Lineage lineage;
  Timestamp first;  // of this row of failures without a success
  Timestamp last;
  uint64_t count = 0;  // of this row
  std::string file;    // WAL file of the last failure
  std::string kind;    // error kind's id
  std::string text;    // Error::to_string()
  std::string hint;
};

// "<directory>/wal-push-<cluster>-<lineage>.json"
std::string push_state_path(const std::string& directory, const std::string& cluster, const Lineage& lineage);

// Adds one failure to what is noted; `failure.first` and `count` are filled in from there. Mode 0600, atomic.
// The directory must exist.
Status note_push_failure(const std::string& directory, PushFailure failure);
// nullopt: the last push succeeded (or none was noted). `damaged` when the file cannot be understood.
Result<std::optional<PushFailure>> read_push_failure(const std::string& directory, const std::string& cluster,
                                                     const Lineage& lineage);
// One stat when nothing is noted.
Status clear_push_failure(const std::string& directory, const std::string& cluster, const Lineage& lineage);

}  // namespace lifeboat::ops
