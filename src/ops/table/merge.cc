#include "ops/table/merge.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kForeignKeyViolation = "23503";

Result<std::string> insert_statement(pg::PgClient& client, const MergePair& pair) {
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
  TRY_ASSIGN(
      pg::Rows keys,
      client.query("select a.attname from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid "
                   "= i.indrelid and a.attnum = any (i.indkey) where i.indrelid = $1::pg_catalog.regclass "
                   "and i.indisprimary",
                   {pair.into}));
  if (keys.size() == 0) {
    return make_error(ErrorKind::precondition, pair.into, "has no primary key to merge by")
        .with_hint("merge by hand: both tables are there");
  }
  std::string same;
  for (int i = 0; i < keys.size(); ++i) {
    std::string key = sql_identifier(keys.text(i, 0));
    same += cat(i == 0 ? "" : " and ", "o.", key, " = r.", key);
  }
  std::vector<std::string> values;
  for (const std::string& name : names) values.push_back("r." + name);
  return cat("insert into ", pair.into, " (", join(names, ", "), ") overriding system value select ",
             join(values, ", "), " from only ", pair.from, " r where not exists (select 1 from ", pair.into,
             " o where ", same, ")");
}

// True: done. False: rows that it refers to are not there yet.
Result<bool> try_merge(pg::PgClient& client, MergePair& pair) {
  TRY_ASSIGN(std::string statement, insert_statement(client, pair));
  TRY(client.exec("savepoint one"));
  auto done = client.query(cat("with merged as (", statement, " returning 1) select count(*) from merged"));
  if (!done && client.last_sqlstate() == kForeignKeyViolation) {
    TRY(client.exec("rollback to savepoint one"));
    return false;
  }
  TRY(done);
  pair.merged = done->i64(0, 0).value_or(0);
  return true;
}

}  // namespace

Status merge_missing_rows(pg::PgClient& client, std::vector<MergePair>& pairs) {
  TRY(client.exec("begin"));
  std::vector<MergePair*> left;
  for (MergePair& pair : pairs) left.push_back(&pair);
  while (!left.empty()) {
    std::vector<MergePair*> waiting;
    for (MergePair* pair : left) {
      TRY_ASSIGN(bool done, try_merge(client, *pair));
      if (!done) waiting.push_back(pair);
    }
    if (waiting.size() == left.size()) {
      return make_error(ErrorKind::precondition, waiting.front()->into,
                        "its missing rows refer to rows of other tables that are not there")
          .with_hint("bring those tables too (--table), or merge by hand: nothing was merged");
    }
    left = std::move(waiting);
  }
  return client.exec("commit");
}

}  // namespace lifeboat::ops
