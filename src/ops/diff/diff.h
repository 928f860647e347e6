// `lifeboat diff A B`: what is different between two states of a database, each a backup at a moment or a
// live server: the whole schema by object, tables with their columns, indexes and constraints line by line
// and their rows by key, and where sequences stand.
//
// The schema is what one pg_dump says of both, in the snapshots that rows are read in. Where that is not to
// be had, for want of rights, of a pg_dump, or because somebody holds a lock, the rest is compared, and
// nobody is told that both are equal.
//
// A backup is a server on a mount for as long as it takes (ops/scratch); of a live server one snapshot is
// held and nothing is changed. Values are shown only on request.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/diff/schema_text.h"
#include "ops/diff/sequences.h"
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
  std::string pg_bin;  // for pg_dump; where it is too old, one of this host is taken
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
  std::vector<ObjectDiff> objects;      // of the whole schema; tables, indexes, constraints too
  std::string schema_problem;           // why only tables were compared; empty: everything was
  std::vector<SequenceDiff> sequences;  // that both have, at another value
  std::string sequences_problem;        // why they were not compared, or not all
  std::vector<TableDiff> tables;        // that both have, those that differ first
  std::vector<std::string> uncompared;  // their columns differ, and they have no key in common
  std::vector<std::string>
      unlogged;  // their rows are not in backups, so they are neither compared nor counted
  uint64_t fetched_bytes = 0;
  double seconds = 0;
  std::vector<std::string> notes;
  // Nothing differs, and everything was compared.
  bool equal() const;
};

// Errors: not_found (the database, a table that neither has; a database that nobody named and that has no
// table, beside others), those of restoring and of the live server.
Result<DiffOutcome> run_diff(const DiffOptions& options, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
