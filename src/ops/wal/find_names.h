// The second half of a search: what the candidates did, and to which relations, from the catalogues of the
// backup before them and the WAL between (ops/wal/catalogue_history.h). Used by ops/wal/find.cc.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ops/session.h"
#include "ops/wal/catalogue_history.h"
#include "ops/wal/find.h"
#include "ops/wal/survey.h"
#include "repo/manifest.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// A transaction that may be what is looked for.
struct Candidate {
  pg::NotedEnd end;
  std::map<pg::RelationLocator, pg::RowCounts> rows;
  Lsn target;                                // 0: the commit
  std::optional<Oid> dropped_database = {};  // its files went
};

// Names for candidates between two backups: opened once, fed with the WAL from the first of them on.
class FindNames {
 public:
  // `base`: the backup to begin with; null: only what WAL says is known. Reads the WAL that matters up to the
  // last candidate. Everything is borrowed.
  static Result<FindNames> open(const ChosenLineage& lineage, const Survey& survey,
                                const repo::Manifest* base, const std::vector<Candidate>& candidates,
                                const std::set<Oid>& databases, Reporter& reporter, StopToken& stop);

  WalFinding describe(const Candidate& candidate) const;
  // About how many rows the table in this file held before `at`; nullopt: not known.
  std::optional<double> rows_before(const pg::RelationLocator& file, Lsn at) const;
  // A table of a user, not an index, a catalogue or what belongs to one; true when it is not known.
  bool is_table(const pg::RelationLocator& file, Lsn at) const;
  FoundTable name_of(const pg::RelationLocator& file, Lsn at) const;
  const std::vector<std::string>& notes() const { return history_.notes(); }

 private:
  FindNames(const Survey& survey, const repo::Manifest* base, CatalogueHistory history)
      : survey_(&survey), base_(base), history_(std::move(history)) {}

  Status feed(const ChosenLineage& lineage, Lsn from, Lsn to, Reporter& reporter, StopToken& stop);
  FoundTable found(Oid database, const pg::ClassRow& row, Lsn at) const;
  void classify(const Candidate& candidate, WalFinding& finding) const;
  std::optional<double> recorded_rows(const FoundTable& table) const;

  const Survey* survey_;
  const repo::Manifest* base_;
  CatalogueHistory history_;
};

}  // namespace lifeboat::ops
