#include "ops/table/merge.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kForeignKeyViolation = "23503";
constexpr std::string_view kUniqueViolation = "23505";
constexpr std::string_view kExclusionViolation = "23P01";

struct MergedColumn {
  std::string name;  // quoted
  bool by_value;     // else by its text
};

// Numbers and times may have another scale in the original: they are compared by value. Not every other type
// has an operator that says equal, and not every such operator means it (citext).
Result<std::vector<MergedColumn>> columns_of(pg::PgClient& client, const MergePair& pair) {
  TRY_ASSIGN(
      pg::Rows columns,
      client.query(
          "select a.attname, o.attname is null, a.atttypid = any (n.types) and o.atttypid = any (n.types) or "
          "a.atttypid = any (t.types) and o.atttypid = any (t.types) from pg_catalog.pg_attribute a cross "
          "join "
          "(values ('{int2,int4,int8,numeric,float4,float8}'::pg_catalog.regtype[]::pg_catalog.oid[])) "
          "n (types) cross join (values ('{date,timestamp,timestamptz}'::pg_catalog.regtype[]::"
          "pg_catalog.oid[])) t (types) left join pg_catalog.pg_attribute o on o.attrelid = "
          "$2::pg_catalog.regclass and o.attname = a.attname and o.attnum > 0 and not o.attisdropped where "
          "a.attrelid = $1::pg_catalog.regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = "
          "'' order by a.attnum",
          {pair.from, pair.into}));
  std::vector<MergedColumn> found;
  for (int i = 0; i < columns.size(); ++i) {
    if (columns.truth(i, 1)) {
      return make_error(ErrorKind::precondition, pair.into,
                        cat("has no column ", columns.text(i, 0), ", which ", pair.from, " has"))
          .with_hint("merge by hand: both tables are there");
    }
    found.push_back({sql_identifier(columns.text(i, 0)), columns.truth(i, 2)});
  }
  return found;
}

// What is said of a pair in SQL: `r` is the brought table, `o` the original, `k` the keys that were missing.
struct MergeWords {
  std::vector<MergedColumn> columns;
  std::vector<KeyColumn> key;

  std::string same_key(std::string_view a, std::string_view b) const {
    std::vector<std::string> same;
    for (const KeyColumn& one : key)
      same.push_back(cat(a, ".", one.name, " ", one.equality, " ", b, ".", one.name));
    return join(same, " and ");
  }
  std::string key_columns(std::string_view of) const {
    std::vector<std::string> names;
    for (const KeyColumn& one : key) names.push_back(cat(of, ".", one.name));
    return join(names, ", ");
  }
  static std::string differs(const MergedColumn& column) {
    const std::string_view form = column.by_value ? "" : "::text";
    return cat("(o.", column.name, form, " is distinct from r.", column.name, form, ")");
  }
};

Result<MergeWords> words_of(pg::PgClient& client, const MergePair& pair) {
  MergeWords words;
  TRY_ASSIGN(words.columns, columns_of(client, pair));
  TRY_ASSIGN(words.key, merge_key(client, pair.into));
  return words;
}

std::string keys_statement(const MergePair& pair, const MergeWords& words) {
  return cat("create unlogged table ", pair.keys, " as select ", words.key_columns("r"), " from only ",
             pair.from, " r where not exists (select 1 from ", pair.into, " o where ",
             words.same_key("o", "r"), ")");
}

std::string insert_statement(const MergePair& pair, const MergeWords& words) {
  std::vector<std::string> names;
  std::vector<std::string> values;
  for (const MergedColumn& column : words.columns) {
    names.push_back(column.name);
    values.push_back("r." + column.name);
  }
  return cat("insert into ", pair.into, " (", join(names, ", "), ") overriding system value select ",
             join(values, ", "), " from only ", pair.from, " r join ", pair.keys, " k on ",
             words.same_key("k", "r"));
}

// Those that a row which is inserted fires.
Result<std::string> triggers_of(pg::PgClient& client, const std::string& table) {
  constexpr std::string_view kInsert = "4";
  TRY_ASSIGN(auto names,
             client.value(cat("select pg_catalog.string_agg(pg_catalog.quote_ident(tgname), ', ' order by "
                              "tgname) from pg_catalog.pg_trigger where tgrelid = $1::pg_catalog.regclass "
                              "and not tgisinternal and tgenabled in ('O', 'A') and tgtype & ",
                              kInsert, " <> 0"),
                          {table}));
  return names.value_or("");
}

Error explained(Error error, pg::PgClient& catalogue, std::string_view sqlstate, const std::string& table) {
  if (error.kind == ErrorKind::cancelled) return error;
  std::vector<std::string> hints;
  if (sqlstate == kUniqueViolation || sqlstate == kExclusionViolation)
    hints.emplace_back(
        "a row of the backup has what another row has by now, under another primary key: merge by hand");
  if (auto triggers = triggers_of(catalogue, table); triggers && !triggers->empty())
    hints.push_back(
        cat("the table's own triggers fire for each row, and one of them may be the cause: ", *triggers));
  return std::move(error).within(cat("merging into ", table)).with_hint(join(hints, "; "));
}

// True: done. False: rows that it refers to are not there yet.
Result<bool> try_merge(pg::PgClient& catalogue, pg::PgClient& session, MergePair& pair) {
  TRY_ASSIGN(MergeWords words, words_of(catalogue, pair));
  TRY(session.exec("savepoint one"));
  TRY(session.exec(keys_statement(pair, words)));
  if (auto done = session.query(insert_statement(pair, words)); !done) {
    const std::string sqlstate = session.last_sqlstate();
    if (sqlstate != kForeignKeyViolation)
      return explained(std::move(done).error(), catalogue, sqlstate, pair.into);
    TRY(session.exec("rollback to savepoint one"));
    return false;
  }
  return true;
}

// The hint of rows that are not what they should be.
Error not_as_brought(pg::PgClient& catalogue, const std::string& table, std::string message) {
  std::string hint = "a trigger or a rule changed them";
  if (auto triggers = triggers_of(catalogue, table); triggers && !triggers->empty())
    hint = cat("a trigger or a rule changed them; the table's own triggers: ", *triggers);
  return make_error(ErrorKind::check_failed, table, std::move(message)).with_hint(std::move(hint));
}

// Every row that was missing is there now, as it was brought.
Status verify_merged(pg::PgClient& catalogue, pg::PgClient& session, MergePair& pair,
                     const MergeWords& words) {
  std::string each;
  std::vector<std::string> any = {"false"};
  const std::string there = "(o.ctid is not null)";
  for (const MergedColumn& column : words.columns) {
    each += cat(", pg_catalog.count(*) filter (where ", there, " and ", MergeWords::differs(column), ")");
    any.push_back(MergeWords::differs(column));
  }
  TRY_ASSIGN(pg::Rows rows,
             session.query(cat("select pg_catalog.count(*), pg_catalog.count(*) filter (where not ", there,
                               "), pg_catalog.count(*) filter (where ", there, " and (", join(any, " or "),
                               "))", each, " from ", pair.keys, " k join only ", pair.from, " r on ",
                               words.same_key("k", "r"), " left join ", pair.into, " o on ",
                               words.same_key("o", "r"))));
  pair.merged = rows.i64(0, 0).value_or(0);
  const int64_t missing = rows.i64(0, 1).value_or(-1);
  const int64_t changed = rows.i64(0, 2).value_or(-1);
  if (missing == 0 && changed == 0) return {};
  std::vector<std::string> columns;
  for (size_t i = 0; i < words.columns.size(); ++i)
    if (rows.i64(0, static_cast<int>(i) + 3).value_or(0) != 0) columns.push_back(words.columns[i].name);
  const std::string others = cat(changed, " have other values, in ", join(columns, ", "));
  return not_as_brought(catalogue, pair.into,
                        cat("of ", pair.merged, " rows that it lacked, after they were inserted ",
                            missing == 0 ? "" : cat(missing, " are still not there"),
                            missing != 0 && changed != 0 ? ", " : "", changed == 0 ? "" : others));
}

// No other row has gone by it. Rows that others delete meanwhile are missing in what is committed too.
Status verify_others(pg::PgClient& catalogue, pg::PgClient& session, const MergePair& pair,
                     const MergeWords& words) {
  const std::string missing =
      cat("select pg_catalog.count(*) from only ", pair.from, " r where not exists (select 1 from ",
          pair.into, " o where ", words.same_key("o", "r"), ")");
  TRY_ASSIGN(pg::Rows ours, session.query(missing));
  const int64_t gone = ours.i64(0, 0).value_or(-1);
  if (gone == 0) return {};
  TRY_ASSIGN(pg::Rows committed, catalogue.query(missing));
  const int64_t gone_by_others = committed.i64(0, 0).value_or(0) - pair.merged;
  if (gone <= gone_by_others) return {};
  return not_as_brought(catalogue, pair.into,
                        cat("lacks ", gone, " rows that it had when missing ones were inserted"));
}

Status verify_merge(pg::PgClient& catalogue, pg::PgClient& session, MergePair& pair) {
  TRY_ASSIGN(MergeWords words, words_of(catalogue, pair));
  TRY(verify_merged(catalogue, session, pair, words));
  TRY(verify_others(catalogue, session, pair, words));
  return session.exec(cat("drop table ", pair.keys));
}

}  // namespace

Result<std::vector<KeyColumn>> merge_key(pg::PgClient& client, const std::string& table) {
  // Without an operator of B-trees (WITHOUT OVERLAPS of 18): the one of that name.
  TRY_ASSIGN(
      pg::Rows rows,
      client.query(
          "select a.attname, pg_catalog.quote_ident(coalesce(n.nspname, 'pg_catalog')) || '.' || "
          "coalesce(o.oprname, '=') from pg_catalog.pg_index i cross join lateral "
          "pg_catalog.generate_series(0, i.indnkeyatts - 1) place join pg_catalog.pg_attribute a on "
          "a.attrelid = i.indrelid and a.attnum = i.indkey[place] left join pg_catalog.pg_opclass c on c.oid "
          "= i.indclass[place] left join pg_catalog.pg_amop m on m.amopfamily = c.opcfamily and m.amopmethod "
          "= 403 and m.amopstrategy = 3 and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype "
          "left join pg_catalog.pg_operator o on o.oid = m.amopopr left join pg_catalog.pg_namespace n on "
          "n.oid = o.oprnamespace where i.indrelid = $1::pg_catalog.regclass and i.indisprimary order by "
          "place",
          {table}));
  if (rows.empty())
    return make_error(ErrorKind::precondition, table, "has no primary key to merge by")
        .with_hint("without --merge its rows come into a schema of their own, to be merged by hand");
  std::vector<KeyColumn> key;
  for (int i = 0; i < rows.size(); ++i)
    key.push_back({sql_identifier(rows.text(i, 0)), cat("operator(", rows.text(i, 1), ")")});
  return key;
}

Status merge_missing_rows(pg::PgClient& catalogue, pg::PgClient& session, std::vector<MergePair>& pairs) {
  TRY(session.exec("begin"));
  std::vector<MergePair*> left;
  for (MergePair& pair : pairs) left.push_back(&pair);
  while (!left.empty()) {
    std::vector<MergePair*> waiting;
    for (MergePair* pair : left) {
      TRY_ASSIGN(bool done, try_merge(catalogue, session, *pair));
      if (!done) waiting.push_back(pair);
    }
    if (waiting.size() == left.size()) {
      return make_error(ErrorKind::precondition, waiting.front()->into,
                        "its missing rows refer to rows of other tables that are not there")
          .with_hint("bring those tables too (--table), or merge by hand");
    }
    left = std::move(waiting);
  }
  // Triggers that wait for the end fire before it is looked at.
  TRY(session.exec("set constraints all immediate"));
  for (MergePair& pair : pairs) TRY(verify_merge(catalogue, session, pair));
  return session.exec("commit");
}

}  // namespace lifeboat::ops
