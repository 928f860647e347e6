#include "ops/dump/pattern.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

TEST(NamePattern, is_what_pg_dump_makes_of_it) {
  auto simple = *parse_name_pattern("Orders_*");
  EXPECT_FALSE(simple.schema.has_value());
  EXPECT_EQ(simple.name, "^(orders_.*)$");
  auto both = *parse_name_pattern("s?les.\"Two.Parts*\"");
  EXPECT_EQ(both.schema, "^(s.les)$");
  EXPECT_EQ(both.name, "^(Two\\.Parts\\*)$");
  EXPECT_EQ(parse_name_pattern("a$b")->name, "^(a\\$b)$");
  EXPECT_EQ(parse_name_pattern("\"say \"\"it\"\"\"")->name, "^(say \"it\")$");
  EXPECT_EQ(parse_name_pattern("(a|b)")->name, "^((a|b))$");
}

TEST(NamePattern, three_parts_and_open_quotes_are_refused) {
  for (std::string_view bad : {"a.b.c", "\"a", "", "s."}) {
    auto parsed = parse_name_pattern(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().kind, ErrorKind::usage);
  }
}

}  // namespace
}  // namespace lifeboat::ops
