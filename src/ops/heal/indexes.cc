#include "ops/heal/indexes.h"

#include <map>

#include "pg/client/client.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kFirstWithDatabaseVersion = 150000;  // pg_database.datcollversion

// Collations whose recorded version is not the one of this host. Where nobody recorded one (the C locale, and
// the database's own before 15) nothing can be told.
std::string collations_sql(int version) {
  std::string sql =
      "select c.oid, format('%I.%I', n.nspname, c.collname) as name, c.collversion as recorded,"
      " pg_catalog.pg_collation_actual_version(c.oid) as actual from pg_catalog.pg_collation c"
      " join pg_catalog.pg_namespace n on n.oid = c.collnamespace where c.collversion is not null"
      " and c.collversion is distinct from pg_catalog.pg_collation_actual_version(c.oid)";
  if (version >= kFirstWithDatabaseVersion) {
    // An index on the default collation has this one's oid, whatever the database's is.
    sql +=
        " union all select 100::oid, 'the database''s own', d.datcollversion,"
        " pg_catalog.pg_database_collation_actual_version(d.oid) from pg_catalog.pg_database d"
        " where d.datname = pg_catalog.current_database() and d.datcollversion is not null"
        " and d.datcollversion is distinct from pg_catalog.pg_database_collation_actual_version(d.oid)";
  }
  return sql;
}

// Columns and, by what the index depends on, expressions and predicates. The size is the one that PostgreSQL
// noted: pg_relation_size() would wait for a lock that a paused recovery holds.
std::string indexes_sql(int version) {
  return cat(
      "with changed as (", collations_sql(version),
      "), doubtful as (select i.indexrelid, false as collation, ''::text as detail from pg_catalog.pg_index i"
      " where not i.indisvalid union all"
      " select i.indexrelid, true, string_agg(distinct format('%s: %s, here %s', ch.name, ch.recorded,"
      " coalesce(ch.actual, 'none')), '; ') from pg_catalog.pg_index i join changed ch on"
      " ch.oid = any (i.indcollation::oid[]) or exists (select 1 from pg_catalog.pg_depend d where"
      " d.classid = 'pg_catalog.pg_class'::regclass and d.objid = i.indexrelid and d.refclassid ="
      " 'pg_catalog.pg_collation'::regclass and d.refobjid = ch.oid) where i.indisvalid group by 1)"
      " select format('%I.%I', n.nspname, c.relname), format('%I.%I', tn.nspname, t.relname), a.amname,"
      " c.relpages::bigint * current_setting('block_size')::bigint, d.collation, d.detail, c.relname ~ "
      "'_cc(new|old)[0-9]*$',"
      " n.nspname = 'pg_catalog' or t.oid < 16384"
      " from doubtful d join pg_catalog.pg_class c on c.oid = d.indexrelid"
      " join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
      " join pg_catalog.pg_index i on i.indexrelid = c.oid join pg_catalog.pg_class t on t.oid = i.indrelid"
      " join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace join pg_catalog.pg_am a on a.oid = c.relam"
      " where c.relkind = 'i' and c.relpersistence <> 't' order by 4, 1");
}

Result<std::vector<std::string>> databases_of(const std::string& conninfo, const StopToken& stop) {
  pg::ConnectOptions options;
  options.stop = &stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(conninfo, options));
  TRY_ASSIGN(pg::Rows rows,
             client.query("select datname from pg_catalog.pg_database where datallowconn order by 1"));
  std::vector<std::string> names;
  for (int i = 0; i < rows.size(); ++i) names.emplace_back(rows.text(i, 0));
  return names;
}

Result<pg::PgClient> connect_to(const std::string& conninfo, const std::string& database,
                                const StopToken& stop, pg::NameLookup names = pg::NameLookup::catalog_only) {
  pg::ConnectOptions options;
  options.stop = &stop;
  options.names = names;
  return pg::PgClient::connect(pg::with_database(conninfo, database), options);
}

Result<int> version_of(pg::PgClient& client) {
  TRY_ASSIGN(auto version, client.value("show server_version_num"));
  return static_cast<int>(parse_u64(version.value_or("")).value_or(0));
}

std::string rebuild_sql(const DoubtfulIndex& index) {
  if (index.doubt == IndexDoubt::leftover) return cat("drop index concurrently ", index.index);
  return cat("reindex index ", index.catalogue ? "" : "concurrently ", index.index);
}

// What was rebuilt is of the version of now.
Status refresh_versions(pg::PgClient& client, const std::string& database) {
  TRY_ASSIGN(int version, version_of(client));
  TRY_ASSIGN(pg::Rows changed, client.query(collations_sql(version)));
  for (int i = 0; i < changed.size(); ++i) {
    const bool own = changed.text(i, 0) == "100";
    TRY(client.exec(own ? cat("alter database ", sql_identifier(database), " refresh collation version")
                        : cat("alter collation ", changed.text(i, 1), " refresh version")));
  }
  return {};
}

}  // namespace

std::string_view to_string(IndexDoubt doubt) {
  switch (doubt) {
    case IndexDoubt::invalid:
      return "invalid";
    case IndexDoubt::leftover:
      return "leftover";
    case IndexDoubt::collation:
      return "collation";
  }
  return "?";
}

Result<std::vector<DoubtfulIndex>> find_doubtful_indexes(const std::string& conninfo, const StopToken& stop) {
  std::vector<DoubtfulIndex> found;
  TRY_ASSIGN(auto databases, databases_of(conninfo, stop));
  for (const std::string& database : databases) {
    TRY(stop.check());
    TRY_ASSIGN(pg::PgClient client, connect_to(conninfo, database, stop));
    TRY_ASSIGN(int version, version_of(client));
    TRY_ASSIGN(pg::Rows rows, client.query(indexes_sql(version)));
    for (int i = 0; i < rows.size(); ++i) {
      DoubtfulIndex index;
      index.database = database;
      index.index = rows.text(i, 0);
      index.table = rows.text(i, 1);
      index.method = rows.text(i, 2);
      index.bytes = rows.u64(i, 3).value_or(0);
      index.detail = rows.text(i, 5);
      index.catalogue = rows.truth(i, 7);
      index.doubt = rows.truth(i, 4)   ? IndexDoubt::collation
                    : rows.truth(i, 6) ? IndexDoubt::leftover
                                       : IndexDoubt::invalid;
      found.push_back(std::move(index));
    }
  }
  return found;
}

Status rebuild_indexes(const std::string& conninfo, std::vector<DoubtfulIndex>& indexes, Reporter& reporter,
                       const StopToken& stop) {
  std::map<std::string, std::vector<DoubtfulIndex*>> by_database;
  for (DoubtfulIndex& index : indexes) by_database[index.database].push_back(&index);
  uint64_t done = 0;
  for (auto& [database, of_it] : by_database) {
    // Expressions of indexes call functions of the operator's.
    TRY_ASSIGN(pg::PgClient client, connect_to(conninfo, database, stop, pg::NameLookup::as_configured));
    bool all = true;
    bool collations = false;
    for (DoubtfulIndex* index : of_it) {
      TRY(stop.check());
      reporter.progress("rebuilding indexes", done++, indexes.size(), ProgressUnit::items);
      const int64_t began_us = Clock::system().monotonic_us();
      Status made = client.exec(rebuild_sql(*index));
      if (!made && made.error().kind == ErrorKind::cancelled) return made;
      index->seconds = static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
      index->rebuilt = static_cast<bool>(made);
      if (!made) index->problem = made.error().to_string();
      if (index->doubt != IndexDoubt::collation) continue;
      collations = true;
      all = all && index->rebuilt;
    }
    if (collations && all) TRY(refresh_versions(client, database));
  }
  return {};
}

}  // namespace lifeboat::ops
