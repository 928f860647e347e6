#include "ops/diff/table_diff.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "codec/codec.h"
#include "util/bytes.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kBuckets = 4096;
// Rows of both sides that are sorted at once: every batch reads the whole table once more.
constexpr int64_t kBatchRows = 2'000'000;

// SQL expressions over a row `t`.
struct Expressions {
  std::string row;     // text
  std::string key;     // text; the row where there is no key
  std::string bucket;  // 0 to kBuckets - 1
  bool by_key = false;
};

struct Digest {
  int64_t rows = 0;
  std::string sum;  // of 60 bits of the hash of each row: no order, and no row may be left out
  bool operator==(const Digest&) const = default;
};
using Buckets = std::map<int64_t, Digest>;

Result<std::vector<std::string>> names(pg::PgClient& client, const std::string& sql,
                                       const std::string& table) {
  TRY_ASSIGN(pg::Rows rows, client.query(sql, {table}));
  std::vector<std::string> found;
  for (int i = 0; i < rows.size(); ++i) found.emplace_back(rows.text(i, 0));
  return found;
}

struct Column {
  std::string name;
  std::string type;
  bool operator==(const Column&) const = default;
};

Result<std::vector<Column>> all_columns(pg::PgClient& client, const std::string& table) {
  TRY_ASSIGN(
      pg::Rows rows,
      client.query("select attname, pg_catalog.format_type(atttypid, atttypmod) from "
                   "pg_catalog.pg_attribute where attrelid = $1::pg_catalog.regclass and attnum > 0 and "
                   "not attisdropped order by attnum",
                   {table}));
  std::vector<Column> found;
  for (int i = 0; i < rows.size(); ++i)
    found.push_back({std::string(rows.text(i, 0)), std::string(rows.text(i, 1))});
  return found;
}

Result<std::vector<std::string>> key_columns(pg::PgClient& client, const std::string& table) {
  return names(client,
               "select a.attname from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = "
               "i.indrelid and a.attnum = any (i.indkey) where i.indrelid = $1::pg_catalog.regclass and "
               "i.indisprimary order by a.attnum",
               table);
}

std::string row_text(const std::vector<std::string>& columns) {
  std::vector<std::string> of_row;
  for (const std::string& column : columns) of_row.push_back(cat("t.", sql_identifier(column)));
  return cat("row(", join(of_row, ", "), ")::text");
}

// The columns that both have, in the order of the second, and those that they do not.
struct SharedColumns {
  std::vector<std::string> shared;
  std::vector<std::string> left_out;
  bool has(const std::string& name) const { return std::ranges::find(shared, name) != shared.end(); }
};

Result<SharedColumns> shared_columns(pg::PgClient& before, pg::PgClient& after, const std::string& table) {
  TRY_ASSIGN(std::vector<Column> was, all_columns(before, table));
  TRY_ASSIGN(std::vector<Column> is, all_columns(after, table));
  SharedColumns columns;
  for (const Column& one : is)
    (std::ranges::find(was, one) != was.end() ? columns.shared : columns.left_out).push_back(one.name);
  for (const Column& one : was) {
    const bool known =
        columns.has(one.name) || std::ranges::find(columns.left_out, one.name) != columns.left_out.end();
    if (!known) columns.left_out.push_back(one.name);
  }
  return columns;
}

// The key of the second, else of the first; none unless both have its columns.
Result<std::vector<std::string>> shared_key(pg::PgClient& before, pg::PgClient& after,
                                            const std::string& table, const SharedColumns& columns) {
  for (pg::PgClient* side : {&after, &before}) {
    TRY_ASSIGN(std::vector<std::string> key, key_columns(*side, table));
    if (!key.empty() && std::ranges::all_of(key, [&](const auto& name) { return columns.has(name); }))
      return key;
  }
  return std::vector<std::string>();
}

// The same for both servers, whatever the order of their columns.
Expressions expressions_of(const SharedColumns& columns, const std::vector<std::string>& key) {
  Expressions made;
  made.row = row_text(columns.shared);
  made.by_key = !key.empty();
  made.key = made.by_key ? row_text(key) : made.row;
  made.bucket = cat("('x' || substr(md5(", made.key, "), 1, 3))::bit(12)::int");
  return made;
}

std::string digest_of(const Expressions& how) {
  return cat("count(*), coalesce(sum(('x' || substr(md5(", how.row, "), 1, 15))::bit(60)::bigint), 0)::text");
}

Result<Digest> read_digest(pg::PgClient& client, const std::string& table, const Expressions& how) {
  TRY_ASSIGN(pg::Rows rows, client.query(cat("select ", digest_of(how), " from only ", table, " t")));
  return Digest{rows.i64(0, 0).value_or(-1), std::string(rows.text(0, 1))};
}

Result<Buckets> read_buckets(pg::PgClient& client, const std::string& table, const Expressions& how) {
  TRY_ASSIGN(pg::Rows rows, client.query(cat("select ", how.bucket, ", ", digest_of(how), " from only ",
                                             table, " t group by 1")));
  Buckets buckets;
  for (int i = 0; i < rows.size(); ++i)
    buckets[rows.i64(i, 0).value_or(0)] = {rows.i64(i, 1).value_or(0), std::string(rows.text(i, 2))};
  return buckets;
}

// A set of buckets as SQL asks for it: one look-up for each row, however many there are.
class BucketSet {
 public:
  void add(int64_t bucket) {
    bits_[static_cast<size_t>(bucket / 8)] |= static_cast<uint8_t>(1U << (bucket % 8));
    empty_ = false;
  }
  bool empty() const { return empty_; }
  std::string condition(const Expressions& how) const {
    return cat("get_bit(decode('", to_hex(ByteView(bits_)), "', 'hex'), ", how.bucket, ") = 1");
  }

 private:
  std::array<uint8_t, kBuckets / 8> bits_{};
  bool empty_ = true;
};

// A row by its key, or all rows without a key that are equal.
struct Entry {
  std::string hash;   // of the key
  std::string state;  // what has changed when it is another one
  std::string key;    // none without a key
  uint64_t rows = 1;
};

// Entries of some buckets by their hash, one at a time.
class Entries {
 public:
  explicit Entries(pg::PgClient& client) : client_(client) {}

  Status open(const std::string& table, const Expressions& how, const BucketSet& buckets) {
    const std::string from = cat(" from only ", table, " t where ", buckets.condition(how));
    // Several rows may have one key where only the other side has it as its key.
    const std::string sql = how.by_key
                                ? cat("select md5(", how.key, ") collate \"C\", md5(", how.row,
                                      ") collate \"C\", ", how.key, ", 1", from, " order by 1, 2")
                                : cat("select md5(", how.key, ") collate \"C\", count(*), '', count(*)", from,
                                      " group by 1 order by 1");
    TRY(client_.send(sql, {}, pg::ResultFormat::text));
    return next();
  }
  const std::optional<Entry>& at() const { return at_; }  // nullopt: that was all
  Status next() {
    TRY_ASSIGN(std::optional<pg::Rows> row, client_.next_row());
    at_.reset();
    if (row)
      at_ = Entry{std::string(row->text(0, 0)), std::string(row->text(0, 1)), std::string(row->text(0, 2)),
                  row->u64(0, 3).value_or(0)};
    return {};
  }

 private:
  pg::PgClient& client_;
  std::optional<Entry> at_;
};

// A row that is to be listed.
struct Listed {
  ChangedRow row;
  std::string hash;
};

class Comparison {
 public:
  Comparison(pg::PgClient& before, pg::PgClient& after, const TableDiffOptions& options, TableDiff& diff)
      : before_(before), after_(after), options_(options), diff_(diff) {}

  // False: they cannot be compared.
  Result<bool> run() {
    TRY_ASSIGN(SharedColumns columns, shared_columns(before_, after_, diff_.table));
    TRY_ASSIGN(std::vector<std::string> key, shared_key(before_, after_, diff_.table, columns));
    if (key.empty() && !columns.left_out.empty()) return false;
    how_ = expressions_of(columns, key);
    diff_.by_key = how_.by_key;
    diff_.left_out_columns = std::move(columns.left_out);
    TRY_ASSIGN(Digest was, read_digest(before_, diff_.table, how_));
    TRY_ASSIGN(Digest is, read_digest(after_, diff_.table, how_));
    diff_.rows_before = was.rows;
    diff_.rows_after = is.rows;
    diff_.equal = was == is;
    if (diff_.equal) return true;
    TRY(compare_buckets());
    keep_first();
    diff_.left_out = found_ - listed_.size();
    if (options_.show_data) TRY(read_data());
    for (Listed& one : listed_) diff_.rows.push_back(std::move(one.row));
    std::ranges::sort(diff_.rows, {}, order_of);
    if (!options_.keys_shown()) mask_keys();
    return true;
  }

 private:
  void mask_keys() {
    for (ChangedRow& row : diff_.rows) {
      const codec::Digest256 hash = codec::hmac_sha256(as_bytes(options_.salt), as_bytes(row.key));
      row.key = cat("#", to_hex(ByteView(hash).first(kShownHashBytes)));
    }
  }

  Status compare_buckets() {
    TRY_ASSIGN(Buckets old_buckets, read_buckets(before_, diff_.table, how_));
    TRY_ASSIGN(Buckets new_buckets, read_buckets(after_, diff_.table, how_));
    BucketSet batch;
    int64_t batch_rows = 0;
    for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
      const Digest& was = old_buckets[bucket];
      const Digest& is = new_buckets[bucket];
      if (was == is) continue;
      batch.add(bucket);
      batch_rows += was.rows + is.rows;
      if (batch_rows < kBatchRows) continue;
      TRY(merge(batch));
      batch = {};
      batch_rows = 0;
    }
    return batch.empty() ? Status() : merge(batch);
  }

  Status merge(const BucketSet& buckets) {
    Entries was(before_);
    Entries is(after_);
    TRY(was.open(diff_.table, how_, buckets));
    TRY(is.open(diff_.table, how_, buckets));
    while (was.at() || is.at()) {
      const bool only_before = was.at() && (!is.at() || was.at()->hash < is.at()->hash);
      const bool only_after = is.at() && (!was.at() || is.at()->hash < was.at()->hash);
      if (only_before)
        note(RowChange::removed, *was.at(), was.at()->rows);
      else if (only_after)
        note(RowChange::added, *is.at(), is.at()->rows);
      else if (was.at()->state != is.at()->state)
        note_both(*was.at(), *is.at());
      if (!only_after) TRY(was.next());
      if (!only_before) TRY(is.next());
    }
    return {};
  }

  void note_both(const Entry& was, const Entry& is) {
    if (how_.by_key)
      note(RowChange::changed, is, 1);
    else if (was.rows > is.rows)
      note(RowChange::removed, was, was.rows - is.rows);
    else
      note(RowChange::added, is, is.rows - was.rows);
  }

  void note(RowChange change, const Entry& entry, uint64_t rows) {
    switch (change) {
      case RowChange::removed:
        diff_.removed += rows;
        break;
      case RowChange::added:
        diff_.added += rows;
        break;
      case RowChange::changed:
        diff_.changed += rows;
        break;
    }
    if (!how_.by_key && !options_.show_data) return;
    ++found_;
    listed_.push_back({{change, entry.key, "", ""}, entry.hash});
    if (listed_.size() >= 2 * options_.most_rows + kSpare) keep_first();
  }

  // By length and text of their keys, so that numbers come in their order.
  static std::pair<size_t, std::string> order_of(const ChangedRow& row) { return {row.key.size(), row.key}; }

  void keep_first() {
    if (listed_.size() <= options_.most_rows) return;
    std::ranges::stable_sort(listed_, {}, [](const Listed& one) { return order_of(one.row); });
    listed_.resize(options_.most_rows);
  }

  Status read_data() {
    std::multimap<std::string, ChangedRow*> of_hash;
    std::vector<std::string> hashes;
    for (Listed& one : listed_) {
      of_hash.emplace(one.hash, &one.row);
      hashes.push_back(one.hash);
    }
    auto read = [&](pg::PgClient& client, RowChange not_there, std::string ChangedRow::* member) -> Status {
      TRY_ASSIGN(pg::Rows rows,
                 client.query(cat("select distinct md5(", how_.key, "), ", how_.row, " from only ",
                                  diff_.table, " t join unnest($1::text[]) h on md5(", how_.key, ") = h"),
                              {cat("{", join(hashes, ","), "}")}));
      for (int i = 0; i < rows.size(); ++i) {
        auto [begin, end] = of_hash.equal_range(std::string(rows.text(i, 0)));
        for (auto at = begin; at != end; ++at) {
          ChangedRow& row = *at->second;
          if (!how_.by_key) row.key = rows.text(i, 1);
          if (row.change != not_there) row.*member = rows.text(i, 1);
        }
      }
      return {};
    };
    TRY(read(before_, RowChange::added, &ChangedRow::before));
    return read(after_, RowChange::removed, &ChangedRow::after);
  }

  static constexpr size_t kSpare = 1000;  // rows that are held before the first are chosen
  static constexpr size_t kShownHashBytes = 6;

  pg::PgClient& before_;
  pg::PgClient& after_;
  const TableDiffOptions& options_;
  TableDiff& diff_;
  Expressions how_;
  std::vector<Listed> listed_;
  uint64_t found_ = 0;  // that could be listed
};

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

Result<std::optional<TableDiff>> diff_table(pg::PgClient& before, pg::PgClient& after,
                                            const std::string& table, const TableDiffOptions& options) {
  TableDiff diff;
  diff.table = table;
  TRY_ASSIGN(bool compared, Comparison(before, after, options, diff).run());
  if (!compared) return std::optional<TableDiff>();
  return std::optional<TableDiff>(std::move(diff));
}

}  // namespace lifeboat::ops
