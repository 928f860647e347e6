#include "ops/dump/snapshot.h"

#include <algorithm>

#include "ops/dump/pattern.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kLockedAtOnce = 500;

// Relations that pg_dump's --table and --exclude-table select from (pg_dump.c, expand_table_name_patterns).
// $1 the name's regular expression, $2 the schema's or null.
constexpr std::string_view kMatching =
    "select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where "
    "c.relkind in ('r', 'S', 'v', 'm', 'f', 'p') and c.relname operator(pg_catalog.~) $1 collate "
    "pg_catalog.\"default\" and case when $2::text is null then pg_catalog.pg_table_is_visible(c.oid) else "
    "n.nspname operator(pg_catalog.~) $2 collate pg_catalog.\"default\" end";

// Relations that pg_dump dumps: not those of extensions (their configuration tables are dumped in part),
// though a schema of an extension may hold others (pg_dump.c of 15, selectDumpableNamespace), not temporary
// ones. $1 the oids that are taken in or null, $2 those that are left out.
constexpr std::string_view kDumped =
    " from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where "
    "c.relpersistence <> 't' and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ "
    "'^pg_(toast|temp)' and not "
    "exists "
    "(select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = "
    "c.oid "
    "and d.deptype = 'e') and ($1::oid[] is null or c.oid = any ($1)) and c.oid <> all ($2::oid[])";

// An array literal of oids.
std::string oid_array(const std::vector<std::string>& oids) {
  return cat("{", join(oids, ","), "}");
}

}  // namespace

std::string qualified_name(const repo::CountedTable& table) {
  return cat(sql_identifier(table.schema), ".", sql_identifier(table.table));
}

Result<int64_t> count_rows(pg::PgClient& client, const repo::CountedTable& table) {
  TRY_ASSIGN(pg::Rows rows,
             client.query(cat("select pg_catalog.count(*) from only ", qualified_name(table))));
  return rows.i64(0, 0).value_or(-1);
}

Result<DumpSnapshot> DumpSnapshot::begin(const SnapshotOptions& options) {
  pg::ConnectOptions connect;
  connect.stop = options.stop;
  TRY_ASSIGN(pg::PgClient client,
             pg::PgClient::connect(pg::with_database(options.conninfo, options.database), connect));
  DumpSnapshot snapshot(std::move(client), options);
  pg::PgClient& asked = snapshot.client_;
  // It waits for pg_dump, longer than any time-out that somebody has set for all.
  TRY(asked.exec(
      cat("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set row_security = off; "
          "set lock_timeout = ",
          options.lock_timeout_ms, asked.major() >= 17 ? "; set transaction_timeout = 0" : "")));
  TRY(asked.exec("begin transaction isolation level repeatable read read only"));
  TRY_ASSIGN(pg::Rows rows,
             asked.query(
                 "select pg_catalog.pg_export_snapshot(), d.oid, pg_catalog.pg_encoding_to_char(d.encoding), "
                 "(extract(epoch from pg_catalog.transaction_timestamp()) * 1000000)::bigint from "
                 "pg_catalog.pg_database d where d.datname = pg_catalog.current_database()"));
  snapshot.facts_.name = options.database;
  snapshot.facts_.snapshot = std::string(rows.text(0, 0));
  snapshot.facts_.oid = static_cast<Oid>(rows.u64(0, 1).value_or(0));
  snapshot.facts_.encoding = std::string(rows.text(0, 2));
  snapshot.facts_.taken = {rows.i64(0, 3).value_or(0)};
  return snapshot;
}

Status DumpSnapshot::match(std::vector<repo::DumpPattern>& patterns) {
  // As pg_dump does: with the search path that role and database have.
  TRY(client_.exec("reset search_path"));
  for (repo::DumpPattern& pattern : patterns) {
    TRY_ASSIGN(NamePattern parsed, parse_name_pattern(pattern.pattern));
    TRY_ASSIGN(pg::Rows rows, client_.query(std::string(kMatching), {parsed.name, parsed.schema}));
    pattern.matched = static_cast<uint64_t>(rows.size());
    if (pattern.matched != 0) continue;
    return make_error(ErrorKind::not_found, cat("--", pattern.option, " ", pattern.pattern),
                      cat("matches no table, view or sequence of database ", facts_.name))
        .with_hint(
            "without a schema a pattern looks only where search_path does; \"SCHEMA.TABLE\" and \"*.TABLE\" "
            "look "
            "elsewhere");
  }
  return client_.exec("select pg_catalog.set_config('search_path', '', false)");
}

Result<DumpSnapshot::Chosen> DumpSnapshot::choose(const std::vector<repo::DumpPattern>& patterns) {
  std::vector<std::string> included;
  std::vector<std::string> excluded;
  bool chosen = false;
  TRY(client_.exec("reset search_path"));
  for (const repo::DumpPattern& pattern : patterns) {
    TRY_ASSIGN(NamePattern parsed, parse_name_pattern(pattern.pattern));
    TRY_ASSIGN(pg::Rows rows, client_.query(std::string(kMatching), {parsed.name, parsed.schema}));
    const bool include = pattern.option == "table";
    chosen = chosen || include;
    for (int i = 0; i < rows.size(); ++i) (include ? included : excluded).emplace_back(rows.text(i, 0));
  }
  TRY(client_.exec("select pg_catalog.set_config('search_path', '', false)"));
  return Chosen{chosen ? pg::Param(oid_array(included)) : std::nullopt, oid_array(excluded)};
}

Result<uint64_t> DumpSnapshot::count_definitions(const std::vector<repo::DumpPattern>& patterns) {
  TRY_ASSIGN(Chosen chosen, choose(patterns));
  TRY_ASSIGN(pg::Rows rows,
             client_.query(cat("select pg_catalog.count(*)", kDumped, " and c.relkind in ('r', 'p', 'f')"),
                           {chosen.included, chosen.excluded}));
  return rows.u64(0, 0).value_or(0);
}

// Partitioned tables have no rows, foreign ones are not read.
Result<std::vector<repo::CountedTable>> DumpSnapshot::lock_tables(
    const std::vector<repo::DumpPattern>& patterns) {
  TRY_ASSIGN(Chosen chosen, choose(patterns));
  TRY_ASSIGN(pg::Rows rows,
             client_.query(cat("select c.oid, n.nspname, c.relname", kDumped,
                               " and c.relkind = 'r' and ($3 or c.relpersistence <> 'u') order by 2, 3"),
                           {chosen.included, chosen.excluded, options_.in_recovery ? "f" : "t"}));
  std::vector<repo::CountedTable> tables;
  for (int i = 0; i < rows.size(); ++i)
    tables.push_back({std::string(rows.text(i, 1)), std::string(rows.text(i, 2)), 0});
  for (size_t at = 0; at < tables.size(); at += kLockedAtOnce) {
    std::vector<std::string> names;
    for (size_t one = at; one < std::min(at + kLockedAtOnce, tables.size()); ++one)
      names.push_back(cat("only ", qualified_name(tables[one])));
    auto locked = client_.exec(cat("lock table ", join(names, ", "), " in access share mode"));
    if (locked) continue;
    Error error = std::move(locked).error();
    if (client_.last_sqlstate() != "55P03") return error;
    return make_error(ErrorKind::timeout, facts_.name,
                      "somebody holds, or waits for, an exclusive lock on a table")
        .with_cause(error.to_string())
        .with_hint("--lock-timeout says how long a dump waits");
  }
  return tables;
}

Status DumpSnapshot::count(std::vector<repo::CountedTable>& tables) {
  for (repo::CountedTable& table : tables) {
    TRY_ASSIGN(table.rows, count_rows(client_, table));
  }
  return {};
}

}  // namespace lifeboat::ops
