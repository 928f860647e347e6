#include "ops/dump/database_itself.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

SqlStatement only(std::string_view text) {
  return split_sql("test", text)->front();
}

TEST(DatabaseItself, knows_whom_a_statement_concerns) {
  EXPECT_EQ(role_concerned(only("ALTER DATABASE shop OWNER TO \"Clerk\"")), "Clerk");
  EXPECT_EQ(role_concerned(only("GRANT CONNECT ON DATABASE \"to\" TO clerk")), "clerk");
  EXPECT_EQ(role_concerned(only("REVOKE ALL ON DATABASE \"from\" FROM PUBLIC")), "public");
  EXPECT_EQ(role_concerned(only("ALTER ROLE clerk IN DATABASE shop SET work_mem TO '1MB'")), "clerk");
  EXPECT_EQ(role_concerned(only("ALTER DATABASE shop SET search_path TO app")), "");
  EXPECT_EQ(role_concerned(only("COMMENT ON DATABASE shop IS 'owner to clerk'")), "");
}

TEST(DatabaseItself, is_made_and_given_away_before_it_is_filled) {
  EXPECT_TRUE(comes_first(only("CREATE DATABASE shop TEMPLATE = template0")));
  EXPECT_TRUE(comes_first(only("ALTER DATABASE shop OWNER TO clerk")));
  EXPECT_FALSE(comes_first(only("ALTER DATABASE shop SET default_transaction_read_only TO on")));
  EXPECT_FALSE(comes_first(only("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")));
}

}  // namespace
}  // namespace lifeboat::ops
