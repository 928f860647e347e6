#include "model/timestamp.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace lifeboat {
namespace {

// 2026-11-20 10:56:25 UTC
constexpr int64_t kMoment = 1'795'172'185;

int64_t parsed_us(std::string_view text) {
  auto time = parse_time(text);
  EXPECT_TRUE(time.has_value()) << text << ": " << (time ? "" : time.error().to_string());
  return time ? time->unix_us : -1;
}

std::string refusal(std::string_view text) {
  auto time = parse_time(text);
  EXPECT_FALSE(time.has_value()) << text;
  if (time) return "";
  EXPECT_EQ(time.error().kind, ErrorKind::usage) << text;
  EXPECT_FALSE(time.error().hint.empty()) << text;
  return time.error().message;
}

TEST(Timestamp, prints_with_an_offset_and_microseconds_only_when_there_are_any) {
  Timestamp whole = Timestamp::from_seconds(kMoment);
  Timestamp fine = whole.plus_us(77'300);
  EXPECT_EQ(whole.to_string(), "2026-11-20 10:56:25+00");
  EXPECT_EQ(fine.to_string(), "2026-11-20 10:56:25.077300+00");
  EXPECT_EQ(whole.to_iso(), "2026-11-20T10:56:25Z");
  EXPECT_EQ(fine.to_iso(), "2026-11-20T10:56:25.077300Z");
  EXPECT_EQ(fine.to_compact(), "20261120T105625Z");
  EXPECT_EQ(Timestamp{1}.to_string(), "1970-01-01 00:00:00.000001+00");
  EXPECT_EQ(Timestamp{-1}.to_string(), "1969-12-31 23:59:59.999999+00");
}

// src/include/datatype/timestamp.h: POSTGRES_EPOCH_JDATE is 2000-01-01.
TEST(Timestamp, converts_from_and_to_postgresqls_epoch) {
  EXPECT_EQ(Timestamp::from_postgres(0).to_string(), "2000-01-01 00:00:00+00");
  Timestamp time = Timestamp::from_seconds(kMoment).plus_us(7);
  EXPECT_EQ(Timestamp::from_postgres(time.to_postgres()), time);
}

TEST(Timestamp, differences_are_seconds) {
  Timestamp time = Timestamp::from_seconds(kMoment);
  EXPECT_DOUBLE_EQ(time.plus_us(1'500'000).seconds_since(time), 1.5);
  EXPECT_FALSE(Timestamp{}.valid());
}

// T31: what psql prints must be accepted as it stands, in any session time zone.
TEST(ParseTime, reads_psql_output) {
  EXPECT_EQ(parsed_us("2026-11-20 10:56:25.0773+00"), kMoment * 1'000'000 + 77'300);
  EXPECT_EQ(parsed_us("2026-11-20 11:56:25.077301+01"), kMoment * 1'000'000 + 77'301);
  EXPECT_EQ(parsed_us("2026-11-20 16:26:25+05:30"), kMoment * 1'000'000);
  EXPECT_EQ(parsed_us("2026-11-20 05:56:25-05"), kMoment * 1'000'000);
  EXPECT_EQ(parsed_us(" 2026-11-20 10:56:25+00\n"), kMoment * 1'000'000);
  EXPECT_EQ(parsed_us("1991-06-01 12:00:00-00:44:30"), parsed_us("1991-06-01 12:44:30+00"));
}

TEST(ParseTime, reads_iso_8601) {
  EXPECT_EQ(parsed_us("2026-11-20T10:56:25Z"), kMoment * 1'000'000);
  EXPECT_EQ(parsed_us("2026-11-20t10:56:25.5z"), kMoment * 1'000'000 + 500'000);
  EXPECT_EQ(parsed_us("2026-11-20T12:56:25+0200"), kMoment * 1'000'000);
  EXPECT_EQ(parsed_us("2026-11-20 12:56:25 +02:00"), kMoment * 1'000'000);
  EXPECT_EQ(parsed_us("2026-11-20 10:56Z"), (kMoment - 25) * 1'000'000);
}

TEST(ParseTime, reads_what_it_prints) {
  for (int64_t us :
       {int64_t{1}, kMoment * 1'000'000, kMoment * 1'000'000 + 123'456, int64_t{4'102'444'799'999'999}}) {
    EXPECT_EQ(parsed_us(Timestamp{us}.to_string()), us);
    EXPECT_EQ(parsed_us(Timestamp{us}.to_iso()), us);
  }
}

TEST(ParseTime, reads_zone_names) {
  EXPECT_EQ(parsed_us("2026-11-20 11:56:25 Europe/Zurich"), kMoment * 1'000'000);
  EXPECT_EQ(parsed_us("2026-07-01 12:00:00 Europe/Zurich"), parsed_us("2026-07-01 10:00:00+00"));
  EXPECT_EQ(parsed_us("2026-07-01 12:00:00 America/New_York"), parsed_us("2026-07-01 16:00:00+00"));
  EXPECT_EQ(parsed_us("2026-07-01 12:00:00 Asia/Kathmandu"), parsed_us("2026-07-01 06:15:00+00"));
  EXPECT_EQ(parsed_us("2026-07-01 12:00:00 UTC"), parsed_us("2026-07-01 12:00:00+00"));
}

TEST(ParseTime, hour_that_occurs_twice_is_refused) {
  EXPECT_NE(refusal("2026-10-25 02:30:00 Europe/Zurich").find("twice"), std::string::npos);
  EXPECT_NE(refusal("2026-11-01 01:00:00 America/New_York").find("twice"), std::string::npos);
  // Lord Howe Island changes by half an hour.
  EXPECT_NE(refusal("2026-04-05 01:45:00 Australia/Lord_Howe").find("twice"), std::string::npos);
  // Just outside it is clear, and so it is with an offset.
  EXPECT_EQ(parsed_us("2026-10-25 01:59:59 Europe/Zurich"), parsed_us("2026-10-24 23:59:59+00"));
  EXPECT_EQ(parsed_us("2026-10-25 03:00:00 Europe/Zurich"), parsed_us("2026-10-25 02:00:00+00"));
  EXPECT_EQ(parsed_us("2026-10-25 02:30:00+02"), parsed_us("2026-10-25 00:30:00+00"));
}

TEST(ParseTime, hour_that_never_occurs_is_refused) {
  EXPECT_NE(refusal("2026-03-29 02:30:00 Europe/Zurich").find("does not exist"), std::string::npos);
  EXPECT_NE(refusal("2026-03-08 02:00:00 America/New_York").find("does not exist"), std::string::npos);
  EXPECT_EQ(parsed_us("2026-03-29 01:59:59 Europe/Zurich"), parsed_us("2026-03-29 00:59:59+00"));
  EXPECT_EQ(parsed_us("2026-03-29 03:00:00 Europe/Zurich"), parsed_us("2026-03-29 01:00:00+00"));
}

TEST(ParseTime, missing_zone_is_refused) {
  EXPECT_NE(refusal("2026-11-20 10:56:25").find("time zone is missing"), std::string::npos);
  EXPECT_NE(refusal("2026-11-20T10:56").find("time zone is missing"), std::string::npos);
}

TEST(ParseTime, unknown_zone_is_refused) {
  for (const char* zone :
       {"Europe/Nowhere", "CETX", "../../etc/passwd", "/etc/localtime", "zone.tab", "Europe"}) {
    EXPECT_NE(refusal(std::string("2026-11-20 10:56:25 ") + zone).find("unknown time zone"),
              std::string::npos)
        << zone;
  }
}

TEST(ParseTime, nonsense_is_refused) {
  for (const char* bad : {"",
                          "now",
                          "yesterday",
                          "2026-11-20",
                          "2026-11-20Z",
                          "2026-13-01 00:00:00Z",
                          "2026-00-01 00:00:00Z",
                          "2026-02-29 00:00:00Z",
                          "2026-04-31 00:00:00Z",
                          "2026-01-00 00:00:00Z",
                          "2026-11-20 24:00:00Z",
                          "2026-11-20 10:60:00Z",
                          "2026-11-20 10:56:60Z",
                          "2026-11-20 10:56:25.Z",
                          "2026-11-20 10:56:25.1234567Z",
                          "2026-11-20 1:56:25Z",
                          "26-11-20 10:56:25Z",
                          "2026-11-20 10:56:25+",
                          "2026-11-20 10:56:25+2",
                          "2026-11-20 10:56:25+16",
                          "2026-11-20 10:56:25+02:60",
                          "2026-11-20 10:56:25+02:00:00:00",
                          "2026-11-20 10:56:25 + 02",
                          "2026-11-20_10:56:25Z",
                          "1969-12-31 23:59:59Z",
                          "20/11/2026 10:56:25Z"}) {
    refusal(bad);
  }
  EXPECT_EQ(parsed_us("2028-02-29 00:00:00Z") % 1'000'000, 0) << "a leap day";
}

TEST(ParseTime, does_not_disturb_the_process_time_zone) {
  const char* old = std::getenv("TZ");
  std::string before = old == nullptr ? "(unset)" : old;
  (void)parse_time("2026-11-20 11:56:25 Asia/Tokyo");
  const char* now = std::getenv("TZ");
  EXPECT_EQ(now == nullptr ? "(unset)" : std::string(now), before);

  setenv("TZ", "America/New_York", 1);
  EXPECT_EQ(parsed_us("2026-11-20 11:56:25 Europe/Zurich"), kMoment * 1'000'000);
  EXPECT_STREQ(std::getenv("TZ"), "America/New_York");
  unsetenv("TZ");
}

}  // namespace
}  // namespace lifeboat
