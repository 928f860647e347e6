// `restore --table`, `restore --database`: single tables, or one database, back from a backup, without
// restoring the rest.
//
//   scratch   the backup as a server for a while, on a mount, recovered to the target (ops/scratch), without
//             the changes of what is not wanted
//   bring     choose, bring, compare, merge: ops/table/bring.h
//
// The original is not touched but by a merge that was asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/scratch/scratch.h"
#include "ops/table/bring.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct TableRestoreOptions {
  ScratchOptions scratch;
  std::vector<std::string> tables;  // TABLE or SCHEMA.TABLE, as SQL writes them; none: the whole database
  std::string database;             // in the backup
  std::string destination;          // conninfo of the server that gets them
  std::string into_database;  // there: the database that has the schema made, or that is made; empty: the
                              // same name for tables, NAME_restored for a database
  std::string schema;         // of tables, at the destination, made; empty: restored_<time>
  TableMerge merge = TableMerge::none;
};

struct TableRestoreOutcome {
  RestorePlan plan;
  ScratchMedium medium = ScratchMedium::copy;
  uint64_t fetched_bytes = 0;    // of a mount, plain
  uint64_t left_out = 0;         // records of WAL that were not replayed, because nothing of it is wanted
  double recovered_seconds = 0;  // until the scratch server was open
  double seconds = 0;            // in all
  std::string database;          // at the destination
  std::string schema;            // empty: a whole database
  std::vector<BroughtTable> tables;
  std::vector<CutTie> cut;
  std::vector<std::string> notes;
};

// Errors: usage (names), not_found (table or database, at that moment), conflict (schema or database is there
// already), check_failed (a table is not equal on both sides; nothing is merged), precondition (a merge
// without a primary key or with other columns), those of restoring and of the destination.
Result<TableRestoreOutcome> restore_tables(const TableRestoreOptions& options, Reporter& reporter,
                                           StopToken& stop);

}  // namespace lifeboat::ops
