#include "ops/dump/database_itself.h"

#include "ops/dump/program.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kMostDatabaseSql = 64 << 20;

}  // namespace

Result<std::vector<SqlStatement>> dump_database_itself(const pg::PgBin& client, const std::string& conninfo,
                                                       const std::string& name, const std::string& snapshot,
                                                       const StopToken& stop) {
  std::vector<std::string> argv = {client.program("pg_dump"), "--no-password", "--create", "--schema-only",
                                   "--exclude-schema=*"};
  if (!snapshot.empty()) argv.push_back(cat("--snapshot=", snapshot));
  argv.push_back(cat("--dbname=", conninfo));
  TRY_ASSIGN(std::string script, program_output(std::move(argv), kMostDatabaseSql, stop));
  TRY_ASSIGN(std::vector<SqlStatement> statements, split_sql("pg_dump --create", script));
  return about_database(std::move(statements), name);
}

bool gives_owner(const SqlStatement& statement) {
  return statement.find_after({"owner", "to"}) < statement.tokens.size();
}

bool comes_first(const SqlStatement& statement) {
  return statement.begins({"create", "database"}) ||
         (statement.begins({"alter", "database"}) && gives_owner(statement));
}

std::string role_concerned(const SqlStatement& statement) {
  if (statement.begins({"grant"})) return statement.name_after({"to"});
  if (statement.begins({"revoke"})) return statement.name_after({"from"});
  if (statement.begins({"alter", "role"})) return statement.name_after({"role"});
  return statement.name_after({"owner", "to"});
}

}  // namespace lifeboat::ops
