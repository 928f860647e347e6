// Settings that recovery requires to be at least what the primary had (T32).
//
// pg_control tells the values at the time of the backup. A primary that was restarted with higher ones
// afterwards says so in its WAL (XLOG_PARAMETER_CHANGE), and recovery stops or pauses there when hot_standby
// is on and they are lower here (CheckRequiredParameterValues in src/backend/access/transam/xlogrecovery.c).
// No name or index tells where such a record is, so WAL is read for it as long as that takes seconds; past
// that the operator is told.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ops/wal/history.h"
#include "ops/wal/reach.h"
#include "ops/wal/scan.h"
#include "pg/format/control_file.h"
#include "util/result.h"

namespace lifeboat::ops {

using RecoveryMinimums = std::map<std::string, int32_t, std::less<>>;  // max_connections and so on

RecoveryMinimums minimums_of(const pg::ControlFile& control);

// Raises `minimums` to what WAL from `from` to the end of `reach` says. Adds a warning when there is too much
// to read.
Status raise_by_wal(const ChosenLineage& lineage, const WalPath& path, Lsn from, const Reach& reach,
                    const ScanOptions& options, RecoveryMinimums& minimums,
                    std::vector<std::string>& warnings);

}  // namespace lifeboat::ops
