#include "ops/dump/sql_text.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

std::vector<SqlStatement> split(std::string_view script) {
  auto statements = split_sql("test", script);
  EXPECT_TRUE(statements) << statements.error().to_string();
  return statements ? std::move(*statements) : std::vector<SqlStatement>();
}

TEST(SqlText, semicolons_in_strings_names_and_comments_do_not_end_a_statement) {
  auto found = split(
      "-- a; comment\nSELECT 'it''s; one', E'a\\';b', \"n;ame\", $$d;$$, $x$ $$; $x$ /* c; /* n; */ ; */;\n"
      "\\connect shop;\nSELECT 2;");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[1].text, "SELECT 2");
  EXPECT_EQ(found[0].tokens[1].text, "'it''s; one'");
}

TEST(SqlText, what_does_not_end_is_damaged) {
  for (std::string_view script : {"SELECT 'x", "SELECT \"x", "SELECT $$x", "/* x"}) {
    auto found = split_sql("test", script);
    ASSERT_FALSE(found) << script;
    EXPECT_EQ(found.error().kind, ErrorKind::damaged);
  }
}

TEST(SqlText, names_are_found_whether_quoted_or_not) {
  auto found = split("CREATE ROLE \"Da\"\"ta\"; CREATE ROLE clerk; COMMENT ON ROLE clerk IS 'CREATE ROLE x'");
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].name_after({"create", "role"}), "Da\"ta");
  EXPECT_EQ(found[1].name_after({"create", "role"}), "clerk");
  EXPECT_EQ(found[2].name_after({"create", "role"}), "");
  EXPECT_TRUE(found[2].begins({"comment", "on", "role"}));
}

TEST(SqlText, only_the_database_itself_and_nothing_in_literals) {
  auto found = about_database(split("CREATE DATABASE shop WITH TEMPLATE = template0; CREATE TABLE t (i int);"
                                    "COMMENT ON DATABASE shop IS 'the DATABASE shop';"
                                    "COMMENT ON TABLE t IS 'DATABASE shop';"
                                    "ALTER ROLE clerk IN DATABASE shop SET work_mem TO '1MB'"),
                              "shop");
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(rename_database(found[1], "shop", "Shop 2").text,
            "COMMENT ON DATABASE \"Shop 2\" IS 'the DATABASE shop'");
  EXPECT_EQ(rename_database(found[2], "shop", "b").text,
            "ALTER ROLE clerk IN DATABASE \"b\" SET work_mem TO '1MB'");
}

TEST(SqlText, a_tablespace_is_left_out_after_a_new_name_too) {
  auto found = split("CREATE DATABASE shop WITH TEMPLATE = template0 TABLESPACE = \"fast one\" LOCALE = 'C'");
  SqlStatement changed = without_tablespace(rename_database(found[0], "shop", "longer_name"));
  EXPECT_EQ(changed.text, "CREATE DATABASE \"longer_name\" WITH TEMPLATE = template0  LOCALE = 'C'");
  EXPECT_EQ(without_tablespace(changed).text, changed.text);
}

}  // namespace
}  // namespace lifeboat::ops
