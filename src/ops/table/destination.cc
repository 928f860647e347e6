#include "ops/table/destination.h"

#include "ops/given_names.h"
#include "ops/table/merge.h"
#include "ops/table/named_table.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

Status check_schema(pg::PgClient& client, const std::string& database, const std::string& schema) {
  TRY_ASSIGN(auto there,
             client.value("select count(*) from pg_catalog.pg_namespace where nspname = $1", {schema}));
  if (there != "0")
    return make_error(ErrorKind::conflict, schema, cat("is a schema of database ", database, " already"))
        .with_hint("name one that is not there with --schema");
  TRY_ASSIGN(pg::Rows may, client.query("select current_user, pg_catalog.has_database_privilege(pg_catalog."
                                        "current_database(), 'CREATE')"));
  if (may.truth(0, 1)) return {};
  const std::string role(may.text(0, 0));
  return make_error(ErrorKind::permission, cat("database \"", database, "\""),
                    cat("role ", role, " may not make a schema in it"))
      .with_hint(cat("GRANT CREATE ON DATABASE ", name_in_sql(database), " TO ", name_in_sql(role),
                     ", or connect as its owner or a superuser"));
}

Status check_new_database(pg::PgClient& client, const std::string& database) {
  TRY_ASSIGN(auto there,
             client.value("select count(*) from pg_catalog.pg_database where datname = $1", {database}));
  if (there != "0")
    return make_error(ErrorKind::conflict, database, "is a database of that server already")
        .with_hint("name one that is not there with --into-database");
  TRY_ASSIGN(pg::Rows may, client.query("select current_user, rolcreatedb or rolsuper from "
                                        "pg_catalog.pg_roles where rolname = current_user"));
  if (may.empty() || may.truth(0, 1)) return {};
  const std::string role(may.text(0, 0));
  return make_error(ErrorKind::permission, cat("database \"", database, "\""),
                    cat("role ", role, " may not make a database"))
      .with_hint(cat("ALTER ROLE ", name_in_sql(role), " CREATEDB, or connect as a superuser"));
}

// With its partitions, which are merged into one by one.
Status check_original(pg::PgClient& client, const std::string& database, const std::string& table) {
  TRY_ASSIGN(pg::Rows rows,
             client.query("select c.oid::pg_catalog.regclass, pg_catalog.has_any_column_privilege(c.oid, "
                          "'SELECT') and pg_catalog.has_any_column_privilege(c.oid, 'INSERT'), c.relkind = "
                          "'r', current_user from pg_catalog.pg_class c where c.relkind in ('r', 'p') and "
                          "(c.oid = pg_catalog.to_regclass($1) or c.oid in (select relid from "
                          "pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1))))",
                          {table}));
  if (rows.empty()) {
    TRY(require_no_other_relation(client, table));
    TRY_ASSIGN(std::vector<KnownTable> known, list_tables(client));
    return no_such_table(
        table, cat("is not in database ", database, " of that server: there is nothing to merge into"), known,
        "Without --merge its rows come into a schema of their own, from where ALTER TABLE … SET SCHEMA moves "
        "it to its place.");
  }
  for (int i = 0; i < rows.size(); ++i) {
    const std::string name(rows.text(i, 0));
    if (!rows.truth(i, 1))
      return make_error(ErrorKind::permission, cat("table ", name),
                        cat("role ", rows.text(i, 3), " may not read it and insert into it"))
          .with_hint(cat("GRANT SELECT, INSERT ON ", name, " TO ", name_in_sql(rows.text(i, 3))));
    if (rows.truth(i, 2)) TRY(merge_key(client, name));
  }
  return {};
}

}  // namespace

Status check_bring_destination(const std::string& destination, const std::string& database,
                               const std::string& schema, const StopToken& stop) {
  pg::ConnectOptions connect;
  connect.stop = &stop;
  const bool whole = schema.empty();
  TRY_ASSIGN(pg::PgClient client,
             connect_to_database(destination, whole ? "postgres" : database, "on the server that gets it",
                                 connect, "--into-database names the one that gets the tables."));
  return whole ? check_new_database(client, database) : check_schema(client, database, schema);
}

Status check_merge_destination(const std::string& destination, const std::string& database,
                               const std::vector<std::string>& tables, const StopToken& stop) {
  pg::ConnectOptions connect;
  connect.names = pg::NameLookup::as_configured;
  connect.stop = &stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(pg::with_database(destination, database), connect));
  for (const std::string& table : tables) TRY(check_original(client, database, table));
  return {};
}

}  // namespace lifeboat::ops
