#include "app/daemon/cron.h"

#include <gtest/gtest.h>

namespace lifeboat::app {
namespace {

Timestamp at(const char* text) {
  return parse_time(text).value();
}
std::string next(const char* expression, const char* after) {
  return CronExpression::parse(expression).value().next(at(after)).to_string();
}

TEST(Cron, next_moment_after_another) {
  struct {
    const char *expression, *after, *next;
  } cases[] = {
      {"15 1 * * *", "2026-11-29 00:33:18Z", "2026-11-29 01:15:00+00"},
      {"15 1 * * *", "2026-11-29 01:15:00Z", "2026-11-30 01:15:00+00"},
      {"* * * * *", "2026-11-29 23:59:59Z", "2026-11-30 00:00:00+00"},
      {"*/20 8-10 * * mon-fri", "2026-11-29 12:00:00Z", "2026-11-30 08:00:00+00"},
      {"*/20 8-10 * * 1-5", "2026-11-30 10:40:00Z", "2026-12-01 08:00:00+00"},
      {"0 0 29 2 *", "2026-11-29 12:00:00Z", "2028-02-29 00:00:00+00"},
      {"0 0 31 * *", "2026-11-29 12:00:00Z", "2026-12-31 00:00:00+00"},
      {"0 3 1 jan,JUL *", "2026-11-29 12:00:00Z", "2027-01-01 03:00:00+00"},
      {"0 0 * * 7", "2026-11-28 12:00:00Z", "2026-11-29 00:00:00+00"},
      {"5/25 4 * * *", "2026-11-29 04:05:00Z", "2026-11-29 04:30:00+00"},
      {"@weekly", "2026-11-29 00:00:00Z", "2026-12-06 00:00:00+00"},
      {" @daily ", "2026-11-29 00:00:00Z", "2026-11-30 00:00:00+00"},
  };
  for (const auto& one : cases) EXPECT_EQ(next(one.expression, one.after), one.next) << one.expression;
}

TEST(Cron, either_of_two_restricted_days_matches) {
  EXPECT_EQ(next("0 0 13 * fri", "2026-11-29 00:00:00Z"), "2026-12-04 00:00:00+00");
  EXPECT_EQ(next("0 0 13 * fri", "2026-12-11 00:00:00Z"), "2026-12-13 00:00:00+00");
  // As in cron, a field that begins with * does not restrict by itself.
  EXPECT_EQ(next("0 0 */2 * fri", "2026-11-29 00:00:00Z"), "2026-12-11 00:00:00+00");
}

TEST(Cron, moments_that_were_missed_are_one) {
  auto cron = CronExpression::parse("0 * * * *").value();
  EXPECT_EQ(cron.last(at("2026-11-29 01:00Z"), at("2026-11-29 09:30Z")), at("2026-11-29 09:00Z"));
  EXPECT_EQ(cron.last(at("2026-11-29 09:10Z"), at("2026-11-29 09:30Z")), at("2026-11-29 09:10Z"));
}

TEST(Cron, what_is_no_expression_is_refused) {
  for (const char* text : {"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *",
                           "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "a * * * *",
                           "1,,2 * * * *", "-1 * * * *", "@yearlyish", "0 0 30 2 *", "0 0 31 4,6 *"}) {
    auto parsed = CronExpression::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().kind, ErrorKind::usage) << text;
  }
}

TEST(Cron, calendar_of_systemd_names_the_same_moments) {
  auto calendar = [](const char* text) { return CronExpression::parse(text).value().calendar(); };
  using Lines = std::vector<std::string>;
  EXPECT_EQ(calendar("15 1 * * *"), Lines{"*-*-* 1:15:00 UTC"});
  EXPECT_EQ(calendar("@hourly"), Lines{"*-*-* *:0:00 UTC"});
  EXPECT_EQ(calendar("*/20 8-10 * jan 1-5"), Lines{"Mon,Tue,Wed,Thu,Fri *-1-* 8,9,10:0,20,40:00 UTC"});
  EXPECT_EQ(calendar("0 0 * * 7"), Lines{"Sun *-*-* 0:0:00 UTC"});
  // Cron takes either day when both are restricted, systemd both.
  EXPECT_EQ(calendar("0 4 13 * fri"), (Lines{"*-*-13 4:0:00 UTC", "Fri *-*-* 4:0:00 UTC"}));
}

}  // namespace
}  // namespace lifeboat::app
