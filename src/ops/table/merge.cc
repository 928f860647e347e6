#include "ops/table/merge.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kForeignKeyViolation = "23503";
constexpr std::string_view kUniqueViolation = "23505";
constexpr std::string_view kExclusionViolation = "23P01";

Result<std::vector<std::string>> columns_of(pg::PgClient& client, const MergePair& pair) {
  TRY_ASSIGN(
      pg::Rows columns,
      client.query("select a.attname, o.attname is null from pg_catalog.pg_attribute a left join "
                   "pg_catalog.pg_attribute o on o.attrelid = $2::pg_catalog.regclass and o.attname = "
                   "a.attname and o.attnum > 0 and not o.attisdropped where a.attrelid = "
                   "$1::pg_catalog.regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = "
                   "'' order by a.attnum",
                   {pair.from, pair.into}));
  std::vector<std::string> names;
  for (int i = 0; i < columns.size(); ++i) {
    if (columns.text(i, 1) == "t") {
      return make_error(ErrorKind::precondition, pair.into,
                        cat("has no column ", columns.text(i, 0), ", which ", pair.from, " has"))
          .with_hint("merge by hand: both tables are there");
    }
    names.push_back(sql_identifier(columns.text(i, 0)));
  }
  return names;
}

Result<std::string> insert_statement(pg::PgClient& client, const MergePair& pair) {
  TRY_ASSIGN(std::vector<std::string> names, columns_of(client, pair));
  TRY_ASSIGN(std::vector<KeyColumn> key, merge_key(client, pair.into));
  std::vector<std::string> same;
  for (const KeyColumn& column : key)
    same.push_back(cat("o.", column.name, " ", column.equality, " r.", column.name));
  std::vector<std::string> values;
  for (const std::string& name : names) values.push_back("r." + name);
  return cat("insert into ", pair.into, " (", join(names, ", "), ") overriding system value select ",
             join(values, ", "), " from only ", pair.from, " r where not exists (select 1 from ", pair.into,
             " o where ", join(same, " and "), ")");
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
  TRY_ASSIGN(std::string statement, insert_statement(catalogue, pair));
  TRY(session.exec("savepoint one"));
  auto done = session.query(
      cat("with merged as (", statement, " returning 1) select pg_catalog.count(*) from merged"));
  if (done) {
    pair.merged = done->i64(0, 0).value_or(0);
    return true;
  }
  const std::string sqlstate = session.last_sqlstate();
  if (sqlstate != kForeignKeyViolation)
    return explained(std::move(done).error(), catalogue, sqlstate, pair.into);
  TRY(session.exec("rollback to savepoint one"));
  return false;
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
  return session.exec("commit");
}

}  // namespace lifeboat::ops
