#include "ops/dump/globals.h"

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// The role whose properties a statement sets; "" when it is about something else.
std::string role_of(const SqlStatement& statement) {
  if (statement.begins({"create", "role"}) || statement.begins({"alter", "role"}))
    return statement.name_after({"role"});
  if (statement.begins({"comment", "on", "role"})) return statement.name_after({"on", "role"});
  if (statement.begins({"security", "label"})) return statement.name_after({"on", "role"});
  // A membership, or a privilege on a parameter: it belongs to who gets it.
  const bool privilege = statement.begins({"grant"});
  if (privilege || statement.begins({"revoke"})) return statement.name_after({privilege ? "to" : "from"});
  return "";
}

std::string tablespace_of(const SqlStatement& statement) {
  return statement.name_after({"tablespace"});
}

}  // namespace

GlobalsPlan plan_globals(const std::vector<SqlStatement>& statements, const std::set<std::string>& roles,
                         const std::set<std::string>& tablespaces) {
  GlobalsPlan plan;
  for (const SqlStatement& statement : statements) {
    if (std::string tablespace = tablespace_of(statement); !tablespace.empty()) {
      if (statement.begins({"create"}) && !tablespaces.contains(tablespace))
        plan.missing_tablespaces.push_back(std::move(tablespace));
      continue;
    }
    std::string role = role_of(statement);
    const bool creates = statement.begins({"create", "role"});
    if (!role.empty() && roles.contains(role)) {
      if (creates) plan.there.push_back(std::move(role));
      continue;
    }
    if (creates) plan.made.push_back(std::move(role));
    plan.statements.push_back(statement.text);
  }
  return plan;
}

Result<GlobalsPlan> plan_globals(pg::PgClient& client, std::string_view script) {
  TRY_ASSIGN(std::vector<SqlStatement> statements, split_sql("globals.sql", script));
  TRY_ASSIGN(pg::Rows rows,
             client.query("select rolname, true from pg_catalog.pg_roles union all select spcname, "
                          "false from pg_catalog.pg_tablespace"));
  std::set<std::string> roles;
  std::set<std::string> tablespaces;
  for (int i = 0; i < rows.size(); ++i) (rows.truth(i, 1) ? roles : tablespaces).emplace(rows.text(i, 0));
  return plan_globals(statements, roles, tablespaces);
}

Status restore_globals(pg::PgClient& client, const GlobalsPlan& plan) {
  if (plan.made.empty()) return {};
  TRY(client.exec("begin"));
  for (const std::string& statement : plan.statements) {
    auto done = client.exec(statement);
    if (done) continue;
    // A statement may hold a password's hash, which no error may show; the server's own message does not.
    Error error = std::move(done).error().within("restoring globals");
    if (error.kind != ErrorKind::permission) return error;
    return std::move(error).with_hint(
        cat("the server lacks ", counted(plan.made.size(), "role"), " of the dump: ", join(plan.made, ", "),
            "; a superuser may make them; --portable restores without owners and needs none"));
  }
  return client.exec("commit");
}

}  // namespace lifeboat::ops
