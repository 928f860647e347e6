#include "util/strings.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace lifeboat {
namespace {

TEST(Cat, joins_text_characters_and_integers) {
  std::string text = "text";
  EXPECT_EQ(cat("a", 'b', text, std::string_view("view"), 1, -2, uint8_t{3}, ""), "abtextview1-23");
  EXPECT_EQ(cat(std::numeric_limits<uint64_t>::max(), " ", std::numeric_limits<int64_t>::min()),
            "18446744073709551615 -9223372036854775808");
  EXPECT_EQ(cat(), "");
}

TEST(Hex, round_trips_and_refuses_what_is_not_hex) {
  std::vector<uint8_t> bytes = {0x00, 0x0f, 0xf0, 0xff, 0xab};
  EXPECT_EQ(to_hex(bytes), "000ff0ffab");
  EXPECT_EQ(from_hex("000ff0ffab"), bytes);
  EXPECT_EQ(from_hex("000FF0FFAB"), bytes);
  EXPECT_EQ(from_hex(""), std::vector<uint8_t>{});
  for (const char* bad : {"0", "0g", "g0", "0x00", " 00", "00 "})
    EXPECT_EQ(from_hex(bad), std::nullopt) << bad;
}

TEST(HexNumber, is_upper_case_and_padded) {
  EXPECT_EQ(hex_number(0xab, 8), "000000AB");
  EXPECT_EQ(hex_number(0, 1), "0");
  EXPECT_EQ(hex_number(0x123456789abcdef0, 2), "123456789ABCDEF0");
}

TEST(Split, keeps_empty_parts) {
  using Parts = std::vector<std::string_view>;
  EXPECT_EQ(split("a/b", '/'), (Parts{"a", "b"}));
  EXPECT_EQ(split("", '/'), Parts{""});
  EXPECT_EQ(split("/", '/'), (Parts{"", ""}));
  EXPECT_EQ(split("a//b/", '/'), (Parts{"a", "", "b", ""}));
}

TEST(Join, puts_the_separator_between) {
  EXPECT_EQ(join({}, ", "), "");
  EXPECT_EQ(join({"a"}, ", "), "a");
  EXPECT_EQ(join({"a", "", "b"}, ", "), "a, , b");
}

TEST(Trim, takes_blanks_off_both_sides_only) {
  EXPECT_EQ(trim(" \t a b \r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(trim(""), "");
}

TEST(ToLower, leaves_other_bytes_alone) {
  EXPECT_EQ(to_lower("AbC-1\xc3\x84"), "abc-1\xc3\x84");
}

TEST(ParseNumbers, take_the_whole_text_or_nothing) {
  EXPECT_EQ(parse_u64("0"), 0u);
  EXPECT_EQ(parse_u64("18446744073709551615"), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(parse_u64("ff", 16), 255u);
  EXPECT_EQ(parse_u64("FF", 16), 255u);
  for (const char* bad : {"", "-1", "+1", " 1", "1 ", "1x", "0x1", "18446744073709551616", "1.0"}) {
    EXPECT_EQ(parse_u64(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(parse_i64("-9223372036854775808"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(parse_i64("9223372036854775807"), std::numeric_limits<int64_t>::max());
  for (const char* bad : {"", "-", "+1", "9223372036854775808", "1-"})
    EXPECT_EQ(parse_i64(bad), std::nullopt) << bad;
}

TEST(ShellQuote, leaves_plain_words_and_protects_the_rest) {
  EXPECT_EQ(shell_quote("/usr/bin/lifeboat"), "/usr/bin/lifeboat");
  EXPECT_EQ(shell_quote("file:///a,b=c%d"), "file:///a,b=c%d");
  EXPECT_EQ(shell_quote(""), "''");
  EXPECT_EQ(shell_quote("a b"), "'a b'");
  EXPECT_EQ(shell_quote("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quote("$(rm)"), "'$(rm)'");
  EXPECT_EQ(shell_quote("~"), "'~'");
  EXPECT_EQ(shell_quote("a\nb"), "'a\nb'");
}

// The E'' form starts with a blank, so that it can follow a keyword without one (as PQescapeLiteral does).
TEST(SqlQuotes, double_what_must_be_doubled) {
  EXPECT_EQ(sql_literal("plain"), "'plain'");
  EXPECT_EQ(sql_literal("it's"), "'it''s'");
  EXPECT_EQ(sql_literal("back\\slash's"), " E'back\\\\slash''s'");
  EXPECT_EQ(sql_literal(""), "''");
  EXPECT_EQ(sql_identifier("Table"), "\"Table\"");
  EXPECT_EQ(sql_identifier("a\"b"), "\"a\"\"b\"");
}

TEST(FormatBytes, uses_powers_of_ten) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.0 kB");
  EXPECT_EQ(format_bytes(5'120'000'000), "5.1 GB");
  EXPECT_EQ(format_bytes(250'000'000), "250 MB");
  EXPECT_EQ(format_bytes(std::numeric_limits<uint64_t>::max()), "18447 PB");
}

TEST(FormatSeconds, picks_the_unit) {
  EXPECT_EQ(format_seconds(0.3), "0.30 s");
  EXPECT_EQ(format_seconds(59.4), "59.4 s");
  EXPECT_EQ(format_seconds(125), "2 min 05 s");
  EXPECT_EQ(format_seconds(3600 * 3 + 600), "3 h 10 min");
}

}  // namespace
}  // namespace lifeboat
