// Tablespaces that WAL creates while a copy recovers (T11).
//
// The manifest's tablespaces are remapped, but CREATE TABLESPACE after the backup's start is in WAL with its
// original location: replay in a copy on the source's own host would link to it and write older pages into
// live relations.
#pragma once

#include "ops/wal/history.h"
#include "ops/wal/reach.h"
#include "ops/wal/scan.h"

namespace lifeboat::ops {

// Errors: `precondition` when WAL from `from` to the end of the recovery creates a tablespace at a place that
// has content on this host.
Status refuse_live_tablespaces(const ChosenLineage& lineage, const WalPath& path, Lsn from,
                               const Reach& reach, const ScanOptions& options);

}  // namespace lifeboat::ops
