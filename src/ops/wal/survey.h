// What happened along a history, from change summaries: ends of transactions, what the large ones did, which
// relations were changed in which segment. Summaries that are missing are made on the way, so the first
// survey of a stretch reads its WAL and every later one a few kB for each segment.
//
// Names of relations are not in summaries: ops/wal/catalogue_history.h.
//
// Memory: about 50 bytes for each relation that was changed in a segment, and what was noted of transactions.
// Thread rule: values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "ops/session.h"
#include "ops/wal/history.h"
#include "pg/wal/segment_summary.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct SurveyedSegment {
  uint64_t index = 0;
  uint64_t commits = 0;
  Timestamp first_commit;  // lowest and highest time; unknown: none
  Timestamp last_commit;
  uint32_t lowest_xid = 0;  // of those that ended in it, 0: none
  uint32_t highest_xid = 0;
  std::vector<pg::RelationActivity>
      relations;  // with rows, made or dropped; several of one relation may follow

  // May an end of this transaction be in it?
  bool may_end(uint32_t xid) const { return lowest_xid != 0 && xid >= lowest_xid && xid <= highest_xid; }
};

// What is known of one transaction or subtransaction from summaries.
struct SurveyedTransaction {
  std::map<pg::RelationLocator, pg::RowCounts> rows;  // at least
  uint64_t first_index = 0;                           // of the segments in which it did much
  uint64_t last_index = 0;
};

struct Survey {
  // Stretches without a hole, ascending.
  std::vector<WalPath> paths;
  std::vector<SurveyedSegment> segments;  // ascending by index
  std::vector<pg::NotedEnd> ends;         // ascending by position
  std::map<uint32_t, SurveyedTransaction> transactions;
  std::vector<pg::SummaryEvent> databases;  // created and dropped
  std::vector<std::string> notes;           // holes, and where it ended early
  uint64_t summaries = 0;                   // that were stored already
  uint64_t wal_bytes = 0;                   // that were read to make the others

  const WalPath* path_at(Lsn lsn) const;  // nullptr: in a hole
};

// From `from` to the end of what is stored on the way to `target`, whose history is known.
Result<Survey> survey_wal(const ChosenLineage& lineage, const WalHistory& history, Timeline target, Lsn from,
                          Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
