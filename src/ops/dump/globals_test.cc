#include "ops/dump/globals.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

constexpr std::string_view kScript =
    "\\restrict abc\nSET client_encoding = 'UTF8';\n"
    "CREATE ROLE clerk;\nALTER ROLE clerk WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x;y';\n"
    "CREATE ROLE \"Team; A\";\nALTER ROLE \"Team; A\" WITH NOSUPERUSER;\nCOMMENT ON ROLE clerk IS 'x';\n"
    "ALTER ROLE clerk SET work_mem TO '1MB';\n"
    "GRANT \"Team; A\" TO clerk WITH INHERIT TRUE GRANTED BY postgres;\nGRANT clerk TO \"Team; A\";\n"
    "GRANT SET ON PARAMETER work_mem TO clerk;\n"
    "CREATE TABLESPACE fast OWNER postgres LOCATION '/fast';\nALTER TABLESPACE fast SET (seq_page_cost=1);\n";

GlobalsPlan plan(const std::set<std::string>& roles, const std::set<std::string>& tablespaces) {
  return plan_globals(*split_sql("test", kScript), roles, tablespaces);
}

TEST(Globals, a_server_without_them_gets_all_but_tablespaces) {
  GlobalsPlan all = plan({"postgres"}, {"pg_default"});
  EXPECT_EQ(all.made, (std::vector<std::string>{"clerk", "Team; A"}));
  EXPECT_TRUE(all.there.empty());
  EXPECT_EQ(all.statements.size(), 10U);
  EXPECT_EQ(all.missing_tablespaces, std::vector<std::string>{"fast"});
}

TEST(Globals, nothing_of_a_role_that_is_there_is_changed) {
  GlobalsPlan some = plan({"clerk"}, {"fast"});
  EXPECT_EQ(some.made, std::vector<std::string>{"Team; A"});
  EXPECT_EQ(some.there, std::vector<std::string>{"clerk"});
  EXPECT_TRUE(some.missing_tablespaces.empty());
  for (const std::string& statement : some.statements)
    EXPECT_TRUE(statement.find("clerk") == std::string::npos || statement == "GRANT clerk TO \"Team; A\"")
        << statement;
}

}  // namespace
}  // namespace lifeboat::ops
