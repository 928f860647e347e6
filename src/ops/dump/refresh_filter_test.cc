#include "ops/dump/refresh_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

constexpr std::string_view kRefresh =
    "--\n-- Name: mv; Type: MATERIALIZED VIEW DATA; Schema: public; Owner: postgres\n--\n\n"
    "REFRESH MATERIALIZED VIEW public.mv;\n\n\n";
constexpr std::string_view kRows =
    "COPY public.t (x) FROM stdin;\n-- Name: mv; Type: MATERIALIZED VIEW DATA; Schema: public; Owner: p\n"
    "REFRESH MATERIALIZED VIEW public.mv;\n\\.\n\n";

TEST(RefreshFilter, refreshes_are_taken_and_everything_else_passes_however_it_is_cut) {
  const std::string text =
      std::string("SET x = 1;\n") + std::string(kRows) + std::string(kRefresh) + "CREATE INDEX i;\nlast";
  for (size_t size : {size_t{1}, size_t{7}, text.size()}) {
    RefreshFilter filter;
    std::string passed;
    for (size_t at = 0; at < text.size(); at += size)
      passed += filter.pass(std::string_view(text).substr(at, size));
    passed += filter.rest();
    EXPECT_THAT(filter.taken(), testing::ElementsAre("REFRESH MATERIALIZED VIEW public.mv"));
    std::string expected = text;
    const std::string statement = "REFRESH MATERIALIZED VIEW public.mv;\n";
    expected.erase(expected.rfind(statement), statement.size());
    EXPECT_EQ(passed, expected);
  }
}

TEST(RefreshFilter, what_nobody_announced_is_passed_on) {
  RefreshFilter filter;
  const std::string body = "CREATE FUNCTION f() AS $$\nREFRESH MATERIALIZED VIEW public.mv;\n$$;\n";
  EXPECT_EQ(filter.pass(body), body);
  EXPECT_TRUE(filter.taken().empty());
}

TEST(RefreshFilter, a_line_of_any_length_goes_through_in_pieces) {
  RefreshFilter filter;
  EXPECT_EQ(filter.pass("COPY public.t (x) FROM stdin;\n"), "COPY public.t (x) FROM stdin;\n");
  const std::string piece(1 << 20, 'x');
  size_t passed = 0;
  for (int i = 0; i < 10; ++i) passed += filter.pass(piece).size();
  EXPECT_GT(passed, 9 * piece.size());
  passed += filter.pass("\n\\.\n").size();
  EXPECT_EQ(passed, 10 * piece.size() + 4);
  EXPECT_EQ(filter.pass(kRefresh).find("REFRESH"), std::string::npos) << "the rows have ended";
}

}  // namespace
}  // namespace lifeboat::ops
