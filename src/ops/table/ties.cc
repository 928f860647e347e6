#include "ops/table/ties.h"

#include <iterator>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// A partition whose rows others refer to could not be detached.
Status drop_references_to_ancestors(pg::PgClient& client, const std::string& schema) {
  TRY_ASSIGN(
      pg::Rows rows,
      client.query(
          "select distinct k.conrelid::pg_catalog.regclass::pg_catalog.text, k.conname from "
          "pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace cross join lateral "
          "pg_catalog.pg_partition_ancestors(c.oid) a join pg_catalog.pg_constraint k on k.confrelid = "
          "a.relid and k.contype = 'f' and k.conparentid = 0 join pg_catalog.pg_class r on r.oid = "
          "k.conrelid where n.nspname = $1 and c.relkind in ('r', 'p', 'f') and c.relispartition and a.relid "
          "<> c.oid and r.relnamespace <> n.oid",
          {schema}));
  for (int i = 0; i < rows.size(); ++i)
    TRY(client.exec(
        cat("alter table ", rows.text(i, 0), " drop constraint ", sql_identifier(rows.text(i, 1)))));
  return {};
}

Result<std::vector<CutTie>> cut_parents(pg::PgClient& client, const std::string& schema) {
  TRY_ASSIGN(
      pg::Rows rows,
      client.query("select c.oid::pg_catalog.regclass, p.oid::pg_catalog.regclass, c.relispartition, "
                   "pg_catalog.pg_get_expr(c.relpartbound, c.oid) from pg_catalog.pg_inherits i join "
                   "pg_catalog.pg_class c on c.oid = i.inhrelid join pg_catalog.pg_class p on p.oid = "
                   "i.inhparent join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = "
                   "$1 and p.relnamespace <> n.oid and c.relkind in ('r', 'p', 'f') order by c.relname, "
                   "i.inhseqno",
                   {schema}));
  std::vector<CutTie> cut;
  for (int i = 0; i < rows.size(); ++i) {
    const std::string table(rows.text(i, 0));
    const std::string parent(rows.text(i, 1));
    if (rows.truth(i, 2)) {
      TRY(client.exec(cat("alter table ", parent, " detach partition ", table)));
      cut.push_back({TieKind::partition, table, parent,
                     cat("ALTER TABLE ", parent, " ATTACH PARTITION ", table, " ", rows.text(i, 3))});
    } else {
      TRY(client.exec(cat("alter table ", table, " no inherit ", parent)));
      cut.push_back({TieKind::inheritance, table, parent, cat("ALTER TABLE ", table, " INHERIT ", parent)});
    }
  }
  return cut;
}

Result<std::vector<CutTie>> cut_foreign_keys(pg::PgClient& client, const std::string& schema) {
  TRY_ASSIGN(pg::Rows rows,
             client.query("select k.conrelid::pg_catalog.regclass, k.confrelid::pg_catalog.regclass, "
                          "k.conname, pg_catalog.pg_get_constraintdef(k.oid) from pg_catalog.pg_constraint k "
                          "join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_class r on "
                          "r.oid = k.confrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
                          "where n.nspname = $1 and r.relnamespace <> n.oid and k.contype = 'f' and "
                          "k.conparentid = 0 order by c.relname, k.conname",
                          {schema}));
  std::vector<CutTie> cut;
  for (int i = 0; i < rows.size(); ++i) {
    const std::string table(rows.text(i, 0));
    const std::string name = sql_identifier(rows.text(i, 2));
    TRY(client.exec(cat("alter table ", table, " drop constraint ", name)));
    cut.push_back({TieKind::foreign_key, table, std::string(rows.text(i, 1)),
                   cat("ALTER TABLE ", table, " ADD CONSTRAINT ", name, " ", rows.text(i, 3))});
  }
  return cut;
}

}  // namespace

std::string_view to_string(TieKind kind) {
  switch (kind) {
    case TieKind::foreign_key:
      return "foreign_key";
    case TieKind::partition:
      return "partition";
    case TieKind::inheritance:
      return "inheritance";
  }
  return "";
}

std::string CutTie::to_string() const {
  const std::string what = kind == TieKind::foreign_key ? cat("a foreign key to ", other)
                           : kind == TieKind::partition ? cat("being a partition of ", other)
                                                        : cat("inheriting from ", other);
  return cat(table, " came without ", what, ", which was not brought: ", statement, " adds it");
}

// A partition's inherited keys are its own once it is detached.
Result<std::vector<CutTie>> cut_ties(pg::PgClient& client, const std::string& schema) {
  TRY(drop_references_to_ancestors(client, schema));
  TRY_ASSIGN(std::vector<CutTie> cut, cut_parents(client, schema));
  TRY_ASSIGN(std::vector<CutTie> keys, cut_foreign_keys(client, schema));
  std::ranges::move(keys, std::back_inserter(cut));
  return cut;
}

}  // namespace lifeboat::ops
