// The first half of a search: which transactions may be what is looked for, from a survey and, where that
// does not say enough, from the WAL of some segments. Used by ops/wal/find.cc; what they did is told by
// find_names.h.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ops/session.h"
#include "ops/wal/find.h"
#include "ops/wal/find_names.h"
#include "ops/wal/survey.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

using RowsByFile = std::map<pg::RelationLocator, pg::RowCounts>;

class CandidateFinder {
 public:
  // Everything is borrowed.
  CandidateFinder(const ChosenLineage& lineage, const Survey& survey, const FindRequest& request,
                  Reporter& reporter, StopToken& stop);

  // Commits that dropped files.
  std::vector<Candidate> dropped_files() const;
  // DROP DATABASE: its files go when its own record is replayed, whatever becomes of the transaction, and
  // before that the database is marked unusable. So recovery has to stop before the first of it.
  Result<std::vector<Candidate>> dropped_databases();
  // Transactions that may have deleted (or updated) enough rows of one table. `small` says of a file whether
  // so few rows may be enough that summaries do not tell them.
  Result<std::vector<Candidate>> many_rows(const std::function<bool(const pg::RelationLocator&)>& small);
  Result<std::vector<Candidate>> busiest();
  Result<std::vector<Candidate>> one(uint32_t xid);
  Result<std::vector<Candidate>> around();

  // What could not be looked at.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Scanned {
    std::map<uint32_t, RowsByFile> rows;
    std::vector<pg::NotedEnd> ends;
  };
  struct Wanted {
    std::function<bool(uint32_t xid, const pg::RelationLocator&)> rows;
    std::function<bool(uint32_t xid, const std::vector<uint32_t>& subxids)> ends;
  };
  Status scan(const std::set<uint64_t>& indexes, const Wanted& wanted, Scanned& scanned);
  Status visit_segments(const std::set<uint64_t>& indexes, const pg::VersionTraits*& version,
                        const std::function<void(const pg::WalRecord&)>& visit);
  Result<Candidate> trace_database_drop(const pg::SummaryEvent& event);
  // Finds the ends of these transactions behind where they did much.
  Status find_ends(std::set<uint32_t> xids);
  void learn(const pg::NotedEnd& end);
  // Top-level transactions with the rows of their subtransactions, those that committed.
  Result<std::vector<Candidate>> settle(const std::map<uint32_t, RowsByFile>& rows);
  bool in_time(Timestamp time) const;
  uint64_t index_of(Lsn lsn) const { return lsn.value / lineage_.record.segment_size.bytes; }
  const SurveyedSegment* segment_at(uint64_t index) const;

  const ChosenLineage& lineage_;
  const Survey& survey_;
  const FindRequest& request_;
  Reporter& reporter_;
  StopToken& stop_;
  std::map<uint32_t, pg::NotedEnd> ends_;  // by top-level transaction
  std::map<uint32_t, uint32_t> top_;       // of subtransactions
  std::vector<std::string> notes_;
};

}  // namespace lifeboat::ops
