// What a drill checks on the recovered server.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/drill/scope.h"
#include "pg/server/launcher.h"
#include "pg/server/pg_bin.h"
#include "repo/manifest.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class CheckResult : uint8_t { passed, failed, skipped };
std::string_view to_string(CheckResult result);

struct DrillCheck {
  std::string id;  // "page_checksums", "amcheck", "row_counts", "assertion", …
  CheckResult result = CheckResult::skipped;
  std::string detail;  // what was found, or why it was skipped
  double seconds = 0;
  // A failure says nothing of the backup: a target that was missed, an answer to the operator's own question
  // (an error may be damage), something that this host lacks.
  bool beside_the_backup = false;
  bool slip = false;  // of whoever asked: no SQL, or no condition
};

// All but template0, as a rule.
Result<std::vector<std::string>> connectable_databases(pg::PgServer& server);

// Exact number of rows of one table on the copy.
struct RowCount {
  std::string database;
  std::string schema;
  std::string table;
  uint32_t file_node = 0;  // relfilenode on the copy, for finding its changes in WAL
  Oid database_oid = 0;
  int64_t rows = 0;
};

// Counts every table of every database; stops between tables. Tables past `most` are left out and the result
// says so.
struct CountedRows {
  std::vector<RowCount> counts;
  uint64_t left_out = 0;
  uint64_t next_xid = 0;  // the first transaction id that the copy had not given out
  DrillScope scope = {};  // tables outside were not counted
};
Result<CountedRows> count_rows(pg::PgServer& server, const DrillScope& scope, size_t most, Reporter& reporter,
                               const StopToken& stop);

// pg_amcheck with heapallindexed on every database (14 on), bt_index_check for 13. Of a part, its tables with
// verify_heapam (14 on) and their B-tree indexes, and the catalogues' indexes. The extension is created in
// the copy. Skipped with its reason where contrib is not installed.
Result<DrillCheck> check_amcheck(pg::PgServer& server, const pg::PgBin& bin, const DrillScope& scope,
                                 int jobs, const StopToken& stop);

// The same on a server that cannot be changed, as one that is paused in recovery: in the databases that have
// the extension, and without tables that recovery has locked. Skipped where none has it.
Result<DrillCheck> check_amcheck_as_it_is(pg::PgServer& server, const DrillScope& scope, int major,
                                          const StopToken& stop);

// pg_checksums over the cleanly stopped copy. Skipped when the cluster has no checksums.
Result<DrillCheck> check_page_checksums(const pg::PgBin& bin, const std::string& directory, bool checksums,
                                        const StopToken& stop);

// The operator's SQL: one row whose first column is true.
//
// A paused recovery holds the locks of the transaction that it stopped before: who waits for one fails.
Result<DrillCheck> check_assertion(pg::PgServer& server, const std::string& database, const std::string& sql,
                                   const StopToken& stop);

// A program of the operator's: it finds the copy by PGHOST, PGPORT, PGUSER and PGDATABASE, and exit code 0
// says that all is well. The last line that it printed is the detail.
struct DrillProgram {
  std::string name;
  std::vector<std::string> argv;  // the first is an absolute path
};
Result<DrillCheck> check_by_program(pg::PgServer& server, const DrillProgram& program,
                                    const std::string& database, int64_t timeout_ms, const StopToken& stop);

// ANALYZE of every table that was counted: planning goes by what it reads, and it runs the expressions of
// their indexes.
Result<DrillCheck> check_analyze(pg::PgServer& server, const CountedRows& counted, const StopToken& stop);

// Indexes that are not valid, those that depend on a collation which is of another version on this host,
// extensions that it lacks (PR1). Only the last can fail: an index that is not valid was so on the source,
// and whether another version sorts otherwise, amcheck finds.
Result<std::vector<DrillCheck>> check_catalogues(pg::PgServer& server, const StopToken& stop);

}  // namespace lifeboat::ops
