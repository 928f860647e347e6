#include "ops/diff/schema_text.h"

#include <gtest/gtest.h>

#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr std::string_view kBegin =
    "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped from database version 15.18\n"
    "-- Dumped by pg_dump version 15.18\n\nSET statement_timeout = 0;\nSET row_security = off;\n\n";
constexpr std::string_view kEnd = "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";

std::string object(std::string_view name, std::string_view type, std::string_view schema,
                   std::string_view text, std::string_view owner = "postgres") {
  return cat("--\n-- Name: ", name, "; Type: ", type, "; Schema: ", schema, "; Owner: ", owner, "\n--\n\n",
             text, "\n\n\n");
}

SchemaText::Objects read(const std::string& script, size_t piece = 7) {
  SchemaText text;
  for (size_t at = 0; at < script.size(); at += piece)
    EXPECT_TRUE(text.feed(std::string_view(script).substr(at, piece)));
  EXPECT_TRUE(text.finish());
  return text.objects();
}
SchemaText::Objects of(const std::string& objects, size_t piece = 7) {
  return read(cat(kBegin, objects, kEnd), piece);
}

std::vector<std::string> differences(const SchemaText::Objects& before, const SchemaText::Objects& after) {
  std::vector<std::string> found;
  for (const ObjectDiff& one : compare_objects(before, after))
    found.push_back(cat(to_string(one.change), " ", one.to_string()));
  return found;
}
using Lines = std::vector<std::string>;

const std::string kView =
    object("v", "VIEW", "public", "CREATE VIEW public.v AS\n SELECT 1;\n\nALTER VIEW …;");
const std::string kSchema = object("app", "SCHEMA", "-", "CREATE SCHEMA app;");

TEST(SchemaText, objects_are_named_by_their_headers) {
  auto found = of(kSchema + kView + object("f(integer, text)", "FUNCTION", "public", "CREATE FUNCTION …;"));
  ASSERT_EQ(found.size(), 3U);
  EXPECT_TRUE(found.contains({"SCHEMA", "", "app"}));
  EXPECT_TRUE(found.contains({"VIEW", "public", "v"}));
  EXPECT_TRUE(found.contains({"FUNCTION", "public", "f(integer, text)"}));
}

TEST(SchemaText, what_varies_without_a_difference_is_left_out) {
  const std::string settings = "SET default_tablespace = '';\n\nSET default_table_access_method = heap;\n\n";
  const std::string after_connect =
      "\\unrestrict k\n\n\\connect shop\n\n\\restrict k\n\nSET lock_timeout = 0;\n"
      "SELECT pg_catalog.set_config('search_path', '', false);\n\n";
  auto plain = of(kSchema + kView);
  EXPECT_EQ(differences(plain, of(kSchema + settings + kView)), Lines{});
  EXPECT_EQ(differences(plain, of(kSchema + after_connect + kView)), Lines{});
  std::string other = cat(kBegin, kSchema, kView, kEnd);
  for (size_t at = other.find(" abc"); at != std::string::npos; at = other.find(" abc"))
    other.replace(at, 4, " an other key");
  other.replace(other.find("version 15"), 10, "version 18");
  EXPECT_EQ(differences(plain, read(other)), Lines{});
  // Minor releases before the key.
  EXPECT_EQ(differences(plain, read(cat(kSchema, kView, "--\n-- PostgreSQL database dump complete\n--\n\n"))),
            Lines{});
}

TEST(SchemaText, pieces_of_any_size_read_the_same) {
  auto whole = of(kSchema + kView, 1 << 20);
  for (size_t piece : {1, 2, 3, 64}) EXPECT_EQ(of(kSchema + kView, piece), whole) << piece;
}

TEST(SchemaText, added_removed_and_changed) {
  EXPECT_EQ(differences(of(kSchema + kView), of(kSchema)), Lines{"removed VIEW v in schema public"});
  EXPECT_EQ(differences(of(kView), of(kSchema + kView)), Lines{"added SCHEMA app"});
  EXPECT_EQ(differences(of(object("t", "TABLE", "s", "a\n\nb")), of(object("t", "TABLE", "s", "a\nb"))),
            Lines{"changed TABLE t in schema s"});
  EXPECT_EQ(differences(of(object("t", "TYPE", "s", "a", "one")), of(object("t", "TYPE", "s", "a", "two"))),
            Lines{"changed TYPE t in schema s"});
}

TEST(SchemaText, order_does_not_matter_and_equal_headers_add_up) {
  const std::string one = object("DEFAULT PRIVILEGES FOR TABLES", "DEFAULT ACL", "public", "1;", "a");
  const std::string two = object("DEFAULT PRIVILEGES FOR TABLES", "DEFAULT ACL", "public", "2;", "b");
  EXPECT_EQ(differences(of(one + two + kView), of(kView + two + one)), Lines{});
  EXPECT_EQ(differences(of(one + two), of(one)),
            Lines{"changed DEFAULT ACL DEFAULT PRIVILEGES FOR TABLES in schema public"});
}

TEST(SchemaText, tablespace_and_access_method_count) {
  auto with = [](std::string_view method) {
    return of(cat("SET default_table_access_method = ", method, ";\n\n", object("t", "TABLE", "s", "…")));
  };
  EXPECT_EQ(differences(with("heap"), with("zheap")), Lines{"changed TABLE t in schema s"});
  std::string there = object("t", "TABLE", "s", "…");
  there.replace(there.find("postgres\n"), 9, "postgres; Tablespace: fast\n");
  EXPECT_EQ(differences(of(object("t", "TABLE", "s", "…")), of(there)), Lines{"changed TABLE t in schema s"});
}

TEST(SchemaText, names_may_hold_what_a_header_holds) {
  auto found = of(object("a; Type: b; Owner: c", "VIEW", "public", "…"));
  EXPECT_TRUE(found.contains({"VIEW", "public", "a; Type: b; Owner: c"}));
}

TEST(SchemaText, no_text_is_lost_behind_what_looks_like_a_header_or_the_end) {
  for (std::string_view trap :
       {kBegin, kEnd, std::string_view("--\n-- Name: x; Type: VIEW; Schema: s; Owner: o\n--\n"),
        std::string_view("--\n"), std::string_view("--\n-- Name: half\n"),
        std::string_view("\n\nSET row_security = off;\n")}) {
    auto body = [&](std::string_view end) {
      return of(object("f()", "FUNCTION", "public", cat("CREATE FUNCTION AS $$\n", trap, end, "\n$$;")) +
                kView);
    };
    EXPECT_EQ(differences(body("same"), body("same")), Lines{}) << trap;
    EXPECT_EQ(differences(body("one"), body("two")).size(), 1U) << trap;
  }
  // In the last one too.
  auto last = [](std::string_view more) {
    return of(object("f()", "FUNCTION", "public", cat("AS $$\n", kEnd, more, "$$;")));
  };
  EXPECT_EQ(differences(last("a"), last("b")), Lines{"changed FUNCTION f() in schema public"});
  // The last line of a text that only looks like a setting.
  auto comment = [](std::string_view more) {
    return of(object("TABLE t", "COMMENT", "s", cat("COMMENT … IS 'x\nSET row_security = ", more, "';")));
  };
  EXPECT_EQ(differences(comment("on"), comment("off")), Lines{"changed COMMENT TABLE t in schema s"});
}

TEST(SchemaText, lines_longer_than_what_is_held_count) {
  auto with = [](char end, size_t piece) {
    return of(object("f()", "FUNCTION", "s", std::string(300'000, 'x') + end), piece);
  };
  EXPECT_EQ(with('a', 1000), with('a', 1000));
  EXPECT_EQ(differences(with('a', 100'000), with('b', 100'000)), Lines{"changed FUNCTION f() in schema s"});
}

TEST(SchemaText, a_script_that_was_cut_is_damaged) {
  const std::string script = cat(kBegin, kSchema, kView, kEnd);
  for (size_t size :
       {size_t{0}, kBegin.size(), kBegin.size() + kSchema.size() + 5, script.find("complete")}) {
    SchemaText text;
    ASSERT_TRUE(text.feed(script.substr(0, size)));
    auto ended = text.finish();
    ASSERT_FALSE(ended) << size;
    EXPECT_EQ(ended.error().kind, ErrorKind::damaged);
  }
}

TEST(SchemaText, more_objects_than_are_held_are_an_error) {
  SchemaText text(2000);
  Status status;
  for (int i = 0; i < 100 && status; ++i) status = text.feed(object(cat("v", i), "VIEW", "public", "…"));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::unsupported);
}

}  // namespace
}  // namespace lifeboat::ops
