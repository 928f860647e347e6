#include "ops/table/named_table.h"

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

std::string_view called(std::string_view kind) {
  if (kind == "v") return "a view";
  if (kind == "m") return "a materialized view";
  if (kind == "S") return "a sequence";
  if (kind == "f") return "a foreign table";
  if (kind == "i" || kind == "I") return "an index";
  return "no table";
}

}  // namespace

Status require_no_other_relation(pg::PgClient& client, const std::string& name) {
  TRY_ASSIGN(
      pg::Rows rows,
      client.query(
          "select c.relkind, (select pg_catalog.string_agg(distinct r.oid::pg_catalog.regclass::"
          "pg_catalog.text, ', ') from pg_catalog.pg_rewrite w join pg_catalog.pg_depend d on d.classid = "
          "'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = w.oid and d.refclassid = "
          "'pg_catalog.pg_class'::pg_catalog.regclass join pg_catalog.pg_class r on r.oid = d.refobjid where "
          "w.ev_class = c.oid and r.relkind in ('r', 'p')) from pg_catalog.pg_class c where c.oid = "
          "pg_catalog.to_regclass($1) and c.relkind not in ('r', 'p')",
          {name}));
  if (rows.empty()) return {};
  const std::string_view kind = rows.text(0, 0);
  Error error = make_error(ErrorKind::usage, cat("table ", name),
                           cat("is ", called(kind), ": only tables are brought"));
  if ((kind == "v" || kind == "m") && !rows.null(0, 1))
    return std::move(error).with_hint(cat("it reads ", rows.text(0, 1), ", which --table brings"));
  if (kind == "f") return error;
  return std::move(error).with_hint("--database brings the whole database, with it");
}

}  // namespace lifeboat::ops
