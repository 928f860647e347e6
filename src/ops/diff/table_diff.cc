#include "ops/diff/table_diff.h"

#include <algorithm>
#include <map>
#include <utility>

#include "ops/table/compare.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kBuckets = 4096;
// Rows of both sides that are fetched at once: every fetch reads the whole table once more.
constexpr int64_t kBatchRows = 200'000;

struct Bucket {
  int64_t rows = 0;
  std::string sum;
  bool operator==(const Bucket&) const = default;
};
using Buckets = std::map<int64_t, Bucket>;

// SQL expressions over a row `t`.
struct Expressions {
  std::string key;     // text
  std::string bucket;  // 0 to kBuckets - 1
};

// A row is its own key where there is no primary one.
Result<std::vector<std::string>> key_columns(pg::PgClient& client, const std::string& table) {
  TRY_ASSIGN(
      pg::Rows rows,
      client.query("select a.attname from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid "
                   "= i.indrelid and a.attnum = any (i.indkey) where i.indrelid = $1::pg_catalog.regclass "
                   "and i.indisprimary order by a.attnum",
                   {table}));
  std::vector<std::string> names;
  for (int i = 0; i < rows.size(); ++i) names.emplace_back(rows.text(i, 0));
  return names;
}

Expressions expressions_of(const std::vector<std::string>& keys) {
  std::vector<std::string> columns;
  for (const std::string& key : keys) columns.push_back(cat("t.", sql_identifier(key)));
  Expressions made;
  made.key = columns.empty() ? std::string("t::text") : cat("row(", join(columns, ", "), ")::text");
  made.bucket = cat("('x' || substr(md5(", made.key, "), 1, 3))::bit(12)::int");
  return made;
}

Result<Buckets> read_buckets(pg::PgClient& client, const std::string& table, const Expressions& how) {
  TRY_ASSIGN(pg::Rows rows, client.query(cat("select ", how.bucket, ", count(*), sum(", kRowBits,
                                             ")::text from only ", table, " t group by 1")));
  Buckets buckets;
  for (int i = 0; i < rows.size(); ++i)
    buckets[rows.i64(i, 0).value_or(0)] = {rows.i64(i, 1).value_or(0), std::string(rows.text(i, 2))};
  return buckets;
}

struct Row {
  std::string hash;
  std::string text;  // only when data is wanted
};
// Several equal rows without a key are told apart by their number.
using BucketRows = std::map<std::pair<std::string, int>, Row>;

Result<BucketRows> read_rows(pg::PgClient& client, const std::string& table, const Expressions& how,
                             const std::vector<std::string>& buckets, bool data) {
  TRY_ASSIGN(pg::Rows rows,
             client.query(cat("select ", how.key, ", md5(t::text)", data ? ", t::text" : "", " from only ",
                              table, " t where ", how.bucket, " in (", join(buckets, ", "), ")")));
  BucketRows found;
  for (int i = 0; i < rows.size(); ++i) {
    std::pair<std::string, int> key{std::string(rows.text(i, 0)), 0};
    while (found.contains(key)) ++key.second;
    found[key] = {std::string(rows.text(i, 1)), data ? std::string(rows.text(i, 2)) : std::string()};
  }
  return found;
}

void note(TableDiff& diff, ChangedRow row) {
  switch (row.change) {
    case RowChange::removed:
      ++diff.removed;
      break;
    case RowChange::added:
      ++diff.added;
      break;
    case RowChange::changed:
      ++diff.changed;
      break;
  }
  diff.rows.push_back(std::move(row));
}

void compare_rows(const BucketRows& before, const BucketRows& after, TableDiff& diff) {
  for (const auto& [key, row] : before) {
    auto there = after.find(key);
    if (there == after.end())
      note(diff, {RowChange::removed, key.first, row.text, ""});
    else if (there->second.hash != row.hash)
      note(diff, {RowChange::changed, key.first, row.text, there->second.text});
  }
  for (const auto& [key, row] : after)
    if (!before.contains(key)) note(diff, {RowChange::added, key.first, "", row.text});
}

// The first few by length and text of their keys, so that numbers come in their order.
void keep_first(TableDiff& diff, size_t most) {
  std::ranges::sort(diff.rows, {}, [](const ChangedRow& row) { return std::pair(row.key.size(), row.key); });
  if (diff.rows.size() > most) diff.rows.resize(most);
}

}  // namespace

std::string_view to_string(RowChange change) {
  switch (change) {
    case RowChange::removed:
      return "removed";
    case RowChange::added:
      return "added";
    case RowChange::changed:
      return "changed";
  }
  return "?";
}

Result<TableDiff> diff_table(pg::PgClient& before, pg::PgClient& after, const std::string& table,
                             const TableDiffOptions& options) {
  TableDiff diff;
  diff.table = table;
  TRY_ASSIGN(TableDigest was, digest_table(before, table));
  TRY_ASSIGN(TableDigest is, digest_table(after, table));
  diff.rows_before = was.rows;
  diff.rows_after = is.rows;
  diff.equal = was == is;
  if (diff.equal) return diff;
  TRY_ASSIGN(std::vector<std::string> keys, key_columns(after, table));
  diff.by_key = !keys.empty();
  const Expressions how = expressions_of(keys);
  TRY_ASSIGN(Buckets old_buckets, read_buckets(before, table, how));
  TRY_ASSIGN(Buckets new_buckets, read_buckets(after, table, how));
  std::vector<std::string> batch;
  int64_t batch_rows = 0;
  auto fetch = [&]() -> Status {
    if (batch.empty()) return {};
    TRY_ASSIGN(BucketRows old_rows, read_rows(before, table, how, batch, options.show_data));
    TRY_ASSIGN(BucketRows new_rows, read_rows(after, table, how, batch, options.show_data));
    compare_rows(old_rows, new_rows, diff);
    keep_first(diff, options.most_rows);
    batch.clear();
    batch_rows = 0;
    return {};
  };
  for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
    const Bucket& was_there = old_buckets[bucket];
    const Bucket& is_there = new_buckets[bucket];
    if (was_there == is_there) continue;
    batch.push_back(cat(bucket));
    batch_rows += was_there.rows + is_there.rows;
    if (batch_rows >= kBatchRows) TRY(fetch());
  }
  TRY(fetch());
  return diff;
}

}  // namespace lifeboat::ops
