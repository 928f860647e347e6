// Which rows of a table differ between two servers, by key, without moving rows that are equal.
//
// Rows are put into buckets by the hash of their key; of each bucket the number of rows and a sum over the
// rows' text are compared (ops/table/compare.h), and only of buckets that differ are keys and row hashes
// fetched. Equal tables cost one pass on each server and one row each over the wire.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

enum class RowChange : uint8_t { removed, added, changed };  // from the first server to the second
std::string_view to_string(RowChange change);

struct ChangedRow {
  RowChange change = RowChange::changed;
  std::string key;     // as text: (17,north)
  std::string before;  // the row as text; only when data is wanted
  std::string after;
};

struct TableDiff {
  std::string table;  // quoted, with its schema
  int64_t rows_before = 0;
  int64_t rows_after = 0;
  bool equal = false;
  bool by_key = true;  // false: no primary key, so that a changed row is one removed and one added
  uint64_t removed = 0;
  uint64_t added = 0;
  uint64_t changed = 0;
  std::vector<ChangedRow> rows;  // the first few, in order of their keys
};

struct TableDiffOptions {
  size_t most_rows = 10;  // that are listed
  bool show_data = false;
};

// The columns must be the same. Both connections have settle_text_form() behind them and a snapshot open,
// where one is wanted. Memory: keys and hashes of 200,000 rows, or of 1/4096 of the table where that is more.
Result<TableDiff> diff_table(pg::PgClient& before, pg::PgClient& after, const std::string& table,
                             const TableDiffOptions& options);

}  // namespace lifeboat::ops
