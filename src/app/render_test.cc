#include "app/render.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace lifeboat::app {
namespace {

TEST(render, tables_align_by_characters_and_have_no_trailing_spaces) {
  Table table({{"NAME"}, {"SIZE", Align::right}, {"NOTE"}});
  table.add({"é", "5 kB", ""});
  table.add({"longer", "12.0 GB", "x"});
  EXPECT_EQ(table.to_string(),
            "NAME       SIZE  NOTE\n"
            "é          5 kB\n"
            "longer  12.0 GB  x\n");
}

TEST(render, facts_align_their_values) {
  Facts facts;
  facts.add("id", "x");
  facts.add("timeline", "1");
  EXPECT_EQ(facts.to_string(), "id        x\ntimeline  1\n");
}

TEST(render, wrapping_keeps_paragraphs_and_indented_lines) {
  EXPECT_EQ(wrap("one two three four five six", 2, 22), "  one two three four\n  five six\n");
  EXPECT_EQ(wrap("one\ntwo\n\n  code here\nthree", 0, 40), "one two\n\n  code here\nthree\n");
}

TEST(render, unknown_times_are_null) {
  EXPECT_TRUE(json_time({}).is_null());
  EXPECT_EQ(json_time(Timestamp::from_seconds(1)), "1970-01-01T00:00:01Z");
}

TEST(render, errors_have_all_members) {
  auto json = json_error(make_error(ErrorKind::busy, "o", "m"), 15);
  EXPECT_EQ(json.dump(), R"({"kind":"busy","object":"o","message":"m","cause":"","hint":"","exit_code":15})");
}

}  // namespace
}  // namespace lifeboat::app
