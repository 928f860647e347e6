#include "model/wal_name.h"

#include <gtest/gtest.h>

namespace lifeboat {
namespace {

constexpr SegmentSize kMegabyte{1u << 20};
constexpr SegmentSize kDefault{16u << 20};
constexpr SegmentSize k64Megabytes{64u << 20};
constexpr SegmentSize kGigabyte{1u << 30};

TEST(SegmentSize, powers_of_two_from_one_megabyte_to_one_gigabyte) {
  for (uint64_t bytes = 1; bytes != 0; bytes <<= 1) {
    EXPECT_EQ(SegmentSize::valid(bytes), bytes >= (1u << 20) && bytes <= (1u << 30)) << bytes;
    EXPECT_FALSE(SegmentSize::valid(bytes + 1) && bytes != 1) << bytes;
  }
  EXPECT_FALSE(SegmentSize::valid(0));
  EXPECT_FALSE(SegmentSize::valid((16u << 20) + 1));
}

// T12. The expected names are those of pg_walfile_name() on servers with these segment sizes.
TEST(SegmentName, position_to_name_depends_on_the_segment_size) {
  Lsn lsn{0x16B374D848};
  EXPECT_EQ(SegmentName::containing({1}, lsn, kDefault).to_string(), "0000000100000016000000B3");
  EXPECT_EQ(SegmentName::containing({1}, lsn, kMegabyte).to_string(), "000000010000001600000B37");
  EXPECT_EQ(SegmentName::containing({1}, lsn, k64Megabytes).to_string(), "00000001000000160000002C");
  EXPECT_EQ(SegmentName::containing({1}, lsn, kGigabyte).to_string(), "000000010000001600000002");
}

TEST(SegmentName, start_and_end_enclose_the_position_at_every_size) {
  for (uint32_t bytes = 1u << 20; bytes <= 1u << 30; bytes <<= 1) {
    SegmentSize size{bytes};
    for (uint64_t lsn : {uint64_t{0}, uint64_t{1}, uint64_t{bytes} - 1, uint64_t{bytes}, uint64_t{0xFFFFFFFF},
                         uint64_t{0x100000000}, uint64_t{0x16B374D848}}) {
      SegmentName name = SegmentName::containing({3}, {lsn}, size);
      EXPECT_LE(name.start(size).value, lsn);
      EXPECT_GT(name.end(size).value, lsn);
      EXPECT_EQ(name.end(size).value - name.start(size).value, bytes);
      EXPECT_EQ(SegmentName::parse(name.to_string()), name);
      EXPECT_EQ(name.next(size).start(size), name.end(size));
      EXPECT_LT(name.number, size.segments_per_log_id());
    }
  }
}

TEST(SegmentName, next_carries_into_the_log_id) {
  EXPECT_EQ(SegmentName::parse("0000000100000000000000FF")->next(kDefault).to_string(),
            "000000010000000100000000");
  EXPECT_EQ(SegmentName::parse("000000010000000000000FFF")->next(kMegabyte).to_string(),
            "000000010000000100000000");
  EXPECT_EQ(SegmentName::parse("00000001000000000000003F")->next(k64Megabytes).to_string(),
            "000000010000000100000000");
  EXPECT_EQ(SegmentName::parse("0000000100000000000000FE")->next(kDefault).to_string(),
            "0000000100000000000000FF");
}

TEST(SegmentName, exactly_24_upper_case_digits_and_a_timeline) {
  for (const char* bad :
       {"", "00000001000000000000000", "0000000100000000000000001", "00000001000000000000000a",
        "00000000000000000000000A", "0000000100000000000000 1", "0x0000010000000000000001"}) {
    EXPECT_EQ(SegmentName::parse(bad), std::nullopt) << bad;
  }
}

TEST(SegmentName, orders_by_timeline_then_position) {
  EXPECT_LT(*SegmentName::parse("0000000100000000000000FF"), *SegmentName::parse("000000010000000100000000"));
  EXPECT_LT(*SegmentName::parse("0000000100000005000000FF"), *SegmentName::parse("000000020000000000000000"));
}

// PostgreSQL archives these four (IsXLogFileName and its siblings in xlog_internal.h).
TEST(WalFileName, every_kind_that_is_archived) {
  auto segment = WalFileName::parse("00000002000000160000002C");
  ASSERT_TRUE(segment.has_value());
  EXPECT_EQ(segment->kind, WalFileKind::segment);
  EXPECT_EQ(segment->timeline, Timeline{2});
  EXPECT_EQ(segment->segment.log_id, 0x16u);
  EXPECT_EQ(segment->segment.number, 0x2cu);

  auto partial = WalFileName::parse("00000002000000160000002C.partial");
  ASSERT_TRUE(partial.has_value());
  EXPECT_EQ(partial->kind, WalFileKind::partial);
  EXPECT_EQ(partial->segment, segment->segment);

  auto label = WalFileName::parse("00000002000000160000002C.00000028.backup");
  ASSERT_TRUE(label.has_value());
  EXPECT_EQ(label->kind, WalFileKind::backup_label);
  EXPECT_EQ(label->text, "00000002000000160000002C.00000028.backup");

  // Recovery asks for the history of timeline 1 too, although there never is one.
  EXPECT_TRUE(WalFileName::parse("00000001.history").has_value());
  auto history = WalFileName::parse("0000000A.history");
  ASSERT_TRUE(history.has_value());
  EXPECT_EQ(history->kind, WalFileKind::history);
  EXPECT_EQ(history->timeline, Timeline{10});
}

TEST(WalFileName, nothing_else_is) {
  for (const char* bad :
       {"", ".history", "0000000a.history", "00000000.history", "0000000A.histor", "0000000A.history.tmp",
        "00000002000000160000002C.parti", "00000002000000160000002C.Partial",
        "00000002000000160000002C.0000028.backup", "00000002000000160000002C.0000002x.backup",
        "00000002000000160000002C.backup", "00000002000000160000002C.00000028.backup.gz",
        "00000002000000160000002C ", "../00002000000160000002C", "RECOVERYXLOG", "archive_status"}) {
    EXPECT_FALSE(WalFileName::parse(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace lifeboat
