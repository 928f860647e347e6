// `lifeboat wal find`: when did it happen, who did it, and how does one come back to just before?
//
// From change summaries (ops/wal/survey.h): commits that dropped files, transactions that changed many rows,
// databases that were dropped. Names and kinds come from the catalogues (ops/wal/catalogue_history.h), so a
// table that was made after the last backup has its name too. WAL itself is read only where summaries do not
// suffice: segments in which catalogues changed, small counts of rows, commits near a time.
//
// Everything found lies on one history, that of the chosen timeline. Counts of rows are those of heap
// records: of a transaction up to 16 rows in each segment may be missing, unless the count was looked for as
// a small one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "model/names.h"
#include "model/timestamp.h"
#include "ops/session.h"
#include "ops/wal/reach.h"
#include "pg/wal/segment_summary.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class FindWhat : uint8_t {
  dropped,    // tables, schemas with them, databases
  truncated,  // TRUNCATE
  deleted,    // transactions that deleted at least so many rows of one table
  updated,    // the same for UPDATE
  busiest,    // transactions by the rows that they changed
  xid,        // one transaction
  around,     // commits near a time
};

// Rows of one table: a number, or a share of what the table held.
struct RowThreshold {
  uint64_t rows = 0;
  double percent = 0;  // above 0: instead of `rows`
  // "5000", "90%". `usage` for anything else.
  static Result<RowThreshold> parse(std::string_view text);
};

struct FindRequest {
  FindWhat what = FindWhat::dropped;
  std::string table;  // TABLE, SCHEMA.TABLE or DATABASE.SCHEMA.TABLE; dropped: a database too; empty: any
  RowThreshold threshold;  // of deleted and updated
  uint32_t xid = 0;        // of xid
  Timestamp around;        // of around
  int64_t within_us = 300'000'000;
  std::optional<Timestamp> since;  // commit times
  std::optional<Timestamp> until;
  std::optional<Timeline> timeline;  // default: the newest
  std::optional<BackupId>
      backup;         // begin with this one; default: the oldest, or the newest that ends before `since`
  size_t limit = 20;  // the newest are kept, of `busiest` the largest, of `around` the nearest
};

struct FoundTable {
  Oid database_oid = 0;
  std::string database;  // names are empty where they are not known
  std::string schema;
  std::string table;
  uint32_t file = 0;                  // relfilenode
  char kind = 'r';                    // relkind
  pg::RowCounts rows;                 // that the transaction changed
  std::optional<double> rows_before;  // about as many the table held; unknown: never analysed
  std::string to_string() const;      // "shop.orders in database app", or what is known
};

// Of `dump restore --table`: databases that are made and dropped on the way, which nobody looks for.
inline constexpr std::string_view kScratchDatabase = "lifeboat_scratch_";

struct WalFinding {
  uint32_t xid = 0;
  Timestamp time;  // of the commit
  Lsn commit;      // where its record begins
  Lsn target;      // recovery stops before what begins here
  bool committed = true;
  std::vector<FoundTable> dropped;
  std::vector<FoundTable> truncated;
  std::vector<FoundTable> changed;  // rows
  std::vector<std::string> dropped_schemas;
  std::string dropped_database;    // or "database 16384"
  std::optional<BackupId> backup;  // that leads to just before; absent: none does
  std::string to_string() const;   // "dropped table shop.orders in database app"
};

struct FindResult {
  Timeline timeline;
  bool several_timelines = false;
  Lsn from;  // what was looked at
  Lsn to;
  Timestamp last_commit;             // in it
  std::vector<WalFinding> findings;  // by position; of `busiest` by rows, most first
  size_t left_out = 0;               // more than the limit
  std::vector<std::string> notes;    // holes and what else could not be looked at
  uint64_t segments = 0;
  uint64_t summaries = 0;  // of them were stored
};

// Errors: not_found (no such cluster or timeline), those of the repository and of reading, cancelled. That
// nothing was found is none.
Result<FindResult> find_wal(const ChosenLineage& lineage, const FindRequest& request, Reporter& reporter,
                            StopToken& stop);

// "--target-lsn 0/3A12F80 --exclusive --timeline 1"
std::string target_words(const FindResult& result, const WalFinding& finding);

// The one finding that a restore is to stop before. Errors: not_found (nothing, with what can be done),
// precondition (several, listed, with how to choose).
Result<WalFinding> only_finding(const FindResult& result, const FindRequest& request);

}  // namespace lifeboat::ops
