#include "pg/server/pg_bin.h"

#include <gtest/gtest.h>

namespace lifeboat::pg {
namespace {

TEST(PgBin, version_lines_are_read) {
  EXPECT_EQ(major_of_version_line("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)"), 15);
  EXPECT_EQ(major_of_version_line("postgres (PostgreSQL) 19rc1"), 19);
  EXPECT_EQ(major_of_version_line("psql (PostgreSQL) 15.13"), 0);
  EXPECT_EQ(major_of_version_line(""), 0);
}

TEST(PgBin, directory_of_another_major_is_refused) {
  auto installed = find_pg_bin(15);
  if (!installed) GTEST_SKIP() << installed.error().to_string();
  EXPECT_EQ(installed->major, 15);
  auto wrong = find_pg_bin(16, installed->directory);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().kind, ErrorKind::foreign);
  EXPECT_NE(
      wrong.error().message.find("expected the programs of PostgreSQL 16, found postgres (PostgreSQL) 15"),
      std::string::npos);
}

TEST(PgBin, absent_programs_are_not_found_with_a_hint) {
  auto absent = find_pg_bin(99);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().kind, ErrorKind::not_found);
  EXPECT_EQ(absent.error().hint, "install postgresql-99, or name the directory with --pg-bin");
  EXPECT_EQ(find_pg_bin(15, "/usr/share").error().kind, ErrorKind::not_found);
}

}  // namespace
}  // namespace lifeboat::pg
