// Which rows of a table differ between two servers, by key, without moving rows that are equal.
//
// Rows are put into buckets by the hash of their key; of each bucket the number of rows and a sum over the
// rows' text are compared (ops/table/compare.h), and only of buckets that differ are hashes fetched, in one
// order from both servers at the same time, as a merge needs them. Equal tables cost one pass on each server
// and one row each over the wire. Rows without a key are counted by their hash on the server, so that a
// million equal ones are one row here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

enum class RowChange : uint8_t { removed, added, changed };  // from the first server to the second
std::string_view to_string(RowChange change);

struct ChangedRow {
  RowChange change = RowChange::changed;
  std::string key;     // as text, (17,north); #3f9c02d17ab4 where keys are not shown
  std::string before;  // the row as text; only when data is wanted
  std::string after;
};

struct TableDiff {
  std::string table;  // quoted, with its schema
  int64_t rows_before = 0;
  int64_t rows_after = 0;
  bool equal = false;
  bool by_key = true;  // false: no primary key, so that a changed row is one removed and one added
  std::vector<std::string> left_out_columns;  // that only one has, or that are of another type: not compared
  uint64_t removed = 0;
  uint64_t added = 0;
  uint64_t changed = 0;
  // The first few, in order of their keys. Without a key, any few, each kind of row once, and only when data
  // is wanted: there the key is the row.
  std::vector<ChangedRow> rows;
  uint64_t left_out = 0;  // that would be listed too
};

struct TableDiffOptions {
  size_t most_rows = 10;  // that are listed
  bool show_data = false;
  bool show_keys = false;  // without data
  // Else a key is a hash, the same for equal keys in one run and of no use to whoever tries keys out.
  std::string salt;
  bool keys_shown() const { return show_data || show_keys; }
};

// By the columns that both have, in any order. nullopt: they do not have the same ones, and a key is not
// among those that both have. Both connections have settle_text_form() behind them and a snapshot open.
// Memory: the rows that are listed. Either server sorts hashes of at most 2,000,000 rows at once, or of
// 1/4096 of the table where that is more. What stops a connection's statements stops it.
Result<std::optional<TableDiff>> diff_table(pg::PgClient& before, pg::PgClient& after,
                                            const std::string& table, const TableDiffOptions& options);

}  // namespace lifeboat::ops
