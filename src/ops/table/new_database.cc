#include "ops/table/new_database.h"

#include <algorithm>

#include "ops/dump/database_itself.h"
#include "util/strings.h"

namespace lifeboat::ops {

Result<NewDatabase> NewDatabase::plan(NewDatabaseOptions options, const RolesConcerned& roles,
                                      const StopToken& stop) {
  NewDatabase made(std::move(options), stop);
  TRY_ASSIGN(made.statements_, dump_database_itself(made.options_.client, made.options_.source,
                                                    made.options_.original, "", stop));
  for (SqlStatement& statement : made.statements_)
    statement = rename_database(statement, made.options_.original, made.options_.name);
  made.leave_out_roles(roles);
  TRY(made.leave_out_tablespace());
  return made;
}

void NewDatabase::leave_out_roles(const RolesConcerned& roles) {
  std::erase_if(statements_, [&](const SqlStatement& statement) {
    const std::string role = role_concerned(statement);
    const bool missing = roles.missing.contains(role);
    if (!missing && !(gives_owner(statement) && roles.not_ours.contains(role))) return false;
    notes_.push_back(cat(statement.text, " was left out: ",
                         missing ? cat("the server lacks role ", role)
                                 : cat("the role that connects is no member of role ", role)));
    return true;
  });
}

Status NewDatabase::leave_out_tablespace() {
  TRY_ASSIGN(pg::PgClient client, connect(stop_));
  for (SqlStatement& statement : statements_) {
    const std::string tablespace = statement.name_after({"tablespace"});
    if (!statement.begins({"create", "database"}) || tablespace.empty()) continue;
    TRY_ASSIGN(auto there, client.value("select count(*) from pg_catalog.pg_tablespace where spcname = $1",
                                        {tablespace}));
    if (there != "0") continue;
    statement = without_tablespace(statement);
    notes_.push_back(cat("the database is in the default tablespace, because the server lacks ", tablespace));
  }
  return {};
}

Result<pg::PgClient> NewDatabase::connect(const StopToken& stop) const {
  pg::ConnectOptions connect;
  connect.stop = &stop;
  return pg::PgClient::connect(pg::with_database(options_.destination, "postgres"), connect);
}

Status NewDatabase::create() {
  TRY_ASSIGN(pg::PgClient client, connect(stop_));
  bool made = false;
  for (const SqlStatement& statement : statements_) {
    if (!comes_first(statement)) continue;
    auto done = client.exec(statement.text);
    if (!done && client.last_sqlstate() == "42P04")
      return make_error(ErrorKind::conflict, options_.name, "is a database of that server already")
          .with_hint("name one that is not there with --into-database");
    if (!done) {
      Error error = std::move(done).error().within(cat("making database ", options_.name));
      return made ? drop(std::move(error)) : std::move(error);
    }
    made = true;
  }
  return {};
}

Status NewDatabase::finish() {
  TRY_ASSIGN(pg::PgClient client, connect(stop_));
  for (const SqlStatement& statement : statements_) {
    if (comes_first(statement)) continue;
    auto done = client.exec(statement.text);
    if (done) continue;
    const ErrorKind kind = done.error().kind;
    if (kind != ErrorKind::permission && kind != ErrorKind::server) return done;
    notes_.push_back(cat(statement.text, " was refused: ", done.error().cause));
  }
  return {};
}

Error NewDatabase::drop(Error error) {
  const StopToken anyway;
  auto client = connect(anyway);
  Status dropped =
      client ? client->exec(cat("drop database if exists ", sql_identifier(options_.name), " with (force)"))
             : Status(client.error());
  if (dropped) return error;
  return std::move(error).with_hint(cat(
      "database ", options_.name, " is not whole and could not be dropped: ", dropped.error().to_string()));
}

}  // namespace lifeboat::ops
