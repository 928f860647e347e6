#include "app/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lifeboat::app {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string checked(ValueKind kind, std::string_view text, std::string_view choices = {}) {
  Option option = {.name = "x", .kind = kind, .help = {}, .choices = choices};
  auto result = check_value(option, text, "/work");
  return result ? *result : "error " + std::string(info(result.error().kind).id);
}

Error refusal(ValueKind kind, std::string_view text) {
  Option option = {.name = "x", .kind = kind, .help = {}};
  auto result = check_value(option, text, "/work");
  return result ? make_error(ErrorKind::internal, "", "was accepted") : result.error();
}

TEST(values, paths_become_absolute) {
  EXPECT_EQ(checked(ValueKind::path, "pg_wal/0001"), "/work/pg_wal/0001");
  EXPECT_EQ(checked(ValueKind::path, "./x"), "/work/x");
  EXPECT_EQ(checked(ValueKind::path, "."), "/work");
  EXPECT_EQ(checked(ValueKind::path, "./"), "/work");
  EXPECT_EQ(checked(ValueKind::path, "/srv/data/"), "/srv/data");
  EXPECT_EQ(checked(ValueKind::path, "//srv"), "/srv");
  EXPECT_EQ(checked(ValueKind::path, "/"), "/");
  EXPECT_EQ(checked(ValueKind::path, "../x"), "/work/../x");
  EXPECT_EQ(checked(ValueKind::path, ""), "error usage");
}

TEST(values, a_tilde_that_the_shell_left_is_refused) {
  EXPECT_THAT(refusal(ValueKind::path, "~/key").hint, HasSubstr("the shell expands ~"));
}

TEST(values, repositories_are_urls_directories_or_names) {
  EXPECT_EQ(checked(ValueKind::repository, "file:///srv/repo/"), "file:///srv/repo");
  EXPECT_EQ(checked(ValueKind::repository, "/srv/repo"), "file:///srv/repo");
  EXPECT_EQ(checked(ValueKind::repository, "./repo"), "file:///work/repo");
  EXPECT_EQ(checked(ValueKind::repository, "s3://bucket/prefix"), "s3://bucket/prefix");
  EXPECT_EQ(checked(ValueKind::repository, "offsite"), "offsite");
  EXPECT_EQ(checked(ValueKind::repository, "file://srv/repo"), "error usage");
  EXPECT_EQ(checked(ValueKind::repository, "Not A Name"), "error usage");
}

TEST(values, sizes_follow_postgresql_conf) {
  EXPECT_EQ(parse_bytes("64MB"), 64u << 20);
  EXPECT_EQ(parse_bytes("512kB"), 512u << 10);
  EXPECT_EQ(parse_bytes("1024"), 1024u);
  EXPECT_EQ(parse_bytes("2 GB"), 2ull << 30);
  EXPECT_EQ(parse_bytes("8388608TB"), std::nullopt);  // 2^63
  EXPECT_EQ(parse_bytes("18446744073709551616"), std::nullopt);
  EXPECT_EQ(parse_bytes("-1"), std::nullopt);
  EXPECT_EQ(parse_bytes("MB"), std::nullopt);
  EXPECT_EQ(parse_bytes("1.5GB"), std::nullopt);
  EXPECT_EQ(parse_bytes("64mb"), std::nullopt);
}

TEST(values, durations_default_to_seconds) {
  EXPECT_EQ(parse_duration("120"), 120'000'000);
  EXPECT_EQ(parse_duration("500ms"), 500'000);
  EXPECT_EQ(parse_duration("5min"), 300'000'000);
  EXPECT_EQ(parse_duration("7d"), 7ll * 86400 * 1'000'000);
  EXPECT_EQ(parse_duration("5m"), std::nullopt);  // minutes or months: nobody knows
  EXPECT_EQ(parse_duration(""), std::nullopt);
}

TEST(values, numbers_keep_their_range) {
  Option port = {.name = "port", .kind = ValueKind::integer, .help = {}, .min = 1, .max = 65535};
  EXPECT_TRUE(check_value(port, "5432", "/").has_value());
  auto refused = check_value(port, "70000", "/");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "expected a whole number from 1 to 65535, found '70000'");
  EXPECT_FALSE(check_value(port, "5432x", "/"));
  EXPECT_FALSE(check_value(port, "0", "/"));
  Option rate = {.name = "rate", .kind = ValueKind::bytes, .help = {}, .min = 1};
  EXPECT_TRUE(check_value(rate, "1MB", "/").has_value());
  EXPECT_FALSE(check_value(rate, "0", "/"));
}

TEST(values, a_password_in_a_connection_string_is_refused_and_not_repeated) {
  for (std::string_view conninfo :
       {"host=db password=hunter2", "host = db password = 'hunter2'", "PASSWORD=hunter2",
        "sslpassword=hunter2", "postgresql://me:hunter2@db/postgres", "postgres://me:hunter2@db",
        "postgresql://db/x?password=hunter2", "user='it''s' password=hunter2",
        "options='-c a=b' password=hunter2"}) {
    Error error = refusal(ValueKind::conninfo, conninfo);
    EXPECT_EQ(error.kind, ErrorKind::usage) << conninfo;
    EXPECT_THAT(error.to_string() + error.hint, Not(HasSubstr("hunter2")));
    EXPECT_THAT(error.hint, HasSubstr("pass file"));
  }
}

TEST(values, connection_strings_without_password_pass) {
  for (std::string_view conninfo :
       {"", "host=/tmp port=5433 dbname=postgres", "service=main", "postgresql://me@db:5432/x",
        "postgresql://db:5432/x@y", "host=db passfile=/etc/pass", "application_name='password=x'",
        "options='-c password=x'"}) {
    EXPECT_EQ(checked(ValueKind::conninfo, conninfo), conninfo);
  }
}

TEST(values, times_need_a_zone_and_keep_a_numeric_offset) {  // T31
  EXPECT_EQ(checked(ValueKind::time, "2026-11-20T10:56:25Z"), "2026-11-20 10:56:25+00");
  EXPECT_EQ(checked(ValueKind::time, "2026-11-20 10:56:25.0773+00"), "2026-11-20 10:56:25.077300+00");
  EXPECT_EQ(checked(ValueKind::time, "2026-11-20 10:56:25"), "error usage");
}

TEST(values, positions_transactions_and_timelines) {
  EXPECT_EQ(checked(ValueKind::lsn, "16/B374D848"), "16/B374D848");
  EXPECT_EQ(checked(ValueKind::lsn, "0/0"), "error usage");
  EXPECT_EQ(checked(ValueKind::lsn, "B374D848"), "error usage");
  EXPECT_EQ(checked(ValueKind::xid, "745"), "745");
  EXPECT_EQ(checked(ValueKind::xid, "2"), "error usage");
  EXPECT_EQ(checked(ValueKind::timeline, "latest"), "latest");
  EXPECT_EQ(checked(ValueKind::timeline, "0x1A"), "26");
  EXPECT_EQ(checked(ValueKind::timeline, "3"), "3");
  EXPECT_EQ(checked(ValueKind::timeline, "010"), "error usage");
  EXPECT_EQ(checked(ValueKind::timeline, "0"), "error usage");
  EXPECT_EQ(checked(ValueKind::timeline, "4294967296"), "error usage");
}

TEST(values, mappings_are_two_absolute_directories) {
  EXPECT_EQ(checked(ValueKind::mapping, "/old/=/new"), "/old=/new");
  EXPECT_EQ(checked(ValueKind::mapping, "/old"), "error usage");
  EXPECT_EQ(checked(ValueKind::mapping, "old=/new"), "error usage");
  EXPECT_EQ(checked(ValueKind::mapping, "/old=new"), "error usage");
}

TEST(values, backups_are_ids_or_latest) {
  EXPECT_EQ(checked(ValueKind::backup, "20261120T105625Z-4f2a9c"), "20261120T105625Z-4f2a9c");
  EXPECT_EQ(checked(ValueKind::backup, "latest"), "latest");
  EXPECT_EQ(checked(ValueKind::backup, "yesterday"), "error usage");
}

TEST(values, a_near_choice_is_suggested) {
  Option option = {.name = "x", .kind = ValueKind::choice, .help = {}, .choices = "pause|promote|shutdown"};
  auto result = check_value(option, "promte", "/");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "expected one of pause, promote, shutdown, found 'promte'");
  EXPECT_EQ(result.error().hint, "did you mean promote?");
}

TEST(values, booleans_have_four_spellings) {
  for (std::string_view yes : {"true", "YES", "on", "1"}) EXPECT_EQ(parse_bool(yes), true) << yes;
  for (std::string_view no : {"false", "No", "off", "0"}) EXPECT_EQ(parse_bool(no), false) << no;
  EXPECT_EQ(parse_bool("maybe"), std::nullopt);
}

}  // namespace
}  // namespace lifeboat::app
