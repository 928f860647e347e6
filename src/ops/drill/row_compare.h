// Compares exact row counts of two drills with the row changes that WAL holds between them.
//
// exact: no row of the table was inserted or deleted in between, so the counts must be equal. bounded:
// inserts and deletes are counted (aborted ones too), so the count must lie between. A table that was
// rewritten, created or truncated in between, or WAL that is not there any more, is not comparable, and so is
// everything when a transaction was open over the end of the earlier drill and its rows show up only later.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ops/drill/checks.h"
#include "ops/wal/scan.h"

namespace lifeboat::ops {

// The newest earlier drill that counted rows on a history that leads to this one.
struct EarlierCounts {
  std::string evidence;
  Timeline timeline;  // of the WAL that it replayed last
  Lsn end;            // end of what it replayed
  uint64_t next_xid =
      0;  // the first transaction id that its copy had not given out: lower ones were begun before
  std::vector<RowCount> counts;
};

// Inserts and deletes per relation file, and what makes a comparison impossible.
struct RowChanges {
  struct Change {
    uint64_t inserts = 0;
    uint64_t deletes = 0;
  };
  std::map<std::pair<Oid, uint32_t>, Change> by_file;  // (database, relfilenode)
  uint32_t lowest_commit_xid = 0;                      // lowest xid that committed; 0: none
  bool complete = false;                               // the WAL reaches from the earlier end to this one
};
Result<RowChanges> read_row_changes(const ChosenLineage& lineage, const WalHistory& history,
                                    Timeline timeline, Lsn from, Lsn to, const pg::VersionTraits& version,
                                    const ScanOptions& options);

// The check "row_counts". Without `earlier` it says that these counts are the first.
DrillCheck compare_counts(const CountedRows& now, const std::optional<EarlierCounts>& earlier,
                          const std::optional<RowChanges>& changes);

}  // namespace lifeboat::ops
