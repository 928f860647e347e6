// `lifeboat diff A B`: what is different between two states of a database, each a backup at a moment or a
// live server: tables, their columns, indexes and constraints, and their rows by key.
//
// A backup is a server on a mount for as long as it takes (ops/scratch); of a live server one snapshot is
// held and nothing is changed. Values are shown only on request.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/diff/table_diff.h"
#include "ops/scratch/scratch.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct DiffSide {
  std::string name;                       // as it was asked for: "live", "latest", an id, a time
  std::optional<ScratchOptions> scratch;  // a backup
  std::string conninfo;                   // else a live server
};

struct DiffOptions {
  DiffSide before;
  DiffSide after;
  std::string database = "postgres";
  bool database_was_given = false;
  std::vector<std::string> tables;  // TABLE or SCHEMA.TABLE, with their partitions; none: all
  TableDiffOptions rows;
};

struct SchemaDiff {
  std::string table;
  std::vector<std::string> removed;  // "column price numeric(10,2)", "index …", "constraint …"
  std::vector<std::string> added;
};

struct DiffOutcome {
  std::string before;  // what it was in fact: "backup 2026…, to 0/3000028"
  std::string after;
  std::vector<std::string> removed_tables;
  std::vector<std::string> added_tables;
  std::vector<SchemaDiff> schema;
  std::vector<TableDiff> tables;        // that both have with the same columns, those that differ first
  std::vector<std::string> uncompared;  // their columns differ
  std::vector<std::string>
      unlogged;  // their rows are not in backups, so they are neither compared nor counted
  uint64_t fetched_bytes = 0;
  double seconds = 0;
  std::vector<std::string> notes;
  bool equal() const;
};

// Errors: not_found (the database, a table that neither has; a database that nobody named and that has no
// table, beside others), those of restoring and of the live server.
Result<DiffOutcome> run_diff(const DiffOptions& options, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
