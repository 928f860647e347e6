#include "model/names.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lifeboat {
namespace {

TEST(ClusterName, plain_lower_case_words_only) {
  for (const std::string& good : std::vector<std::string>{"main", "0", "a", "db-1_x", std::string(63, 'a')}) {
    EXPECT_EQ(check_cluster_name(good).value(), good);
  }
  for (const std::string& bad :
       std::vector<std::string>{"", "-a", "_a", "A", "a b", "a/b", "..", "a.b", "é", std::string(64, 'a')}) {
    auto checked = check_cluster_name(bad);
    ASSERT_FALSE(checked.has_value()) << bad;
    EXPECT_EQ(checked.error().kind, ErrorKind::usage);
    EXPECT_FALSE(checked.error().hint.empty());
  }
}

TEST(Lineage, round_trips) {
  Lineage lineage{{7424242424242424242}, 15};
  EXPECT_EQ(lineage.to_string(), "7424242424242424242-15");
  EXPECT_EQ(Lineage::parse("7424242424242424242-15"), lineage);
  for (const char* bad :
       {"", "-", "1-", "-15", "1-1000", "x-15", "1-15-2", "1_15", "18446744073709551616-15"}) {
    EXPECT_EQ(Lineage::parse(bad), std::nullopt) << bad;
  }
}

// T39
TEST(BackupId, orders_by_time) {
  BackupId early = BackupId::make(Timestamp::from_seconds(1'795'172'185), 0xffffff);
  BackupId late = BackupId::make(Timestamp::from_seconds(1'795'172'186), 0x000000);
  EXPECT_LT(early, late);
}

TEST(BackupId, holds_start_and_six_random_digits) {
  BackupId id = BackupId::make(Timestamp::from_seconds(1'795'172'185).plus_us(999'999), 0xff4f2a9c);
  EXPECT_EQ(id.text, "20261120T105625Z-4f2a9c");
  EXPECT_EQ(BackupId::parse(id.text), id);
  for (const char* bad : {"", "20261120T105625Z", "20261120T105625Z-4f2a9", "20261120T105625Z-4F2A9C",
                          "20261120T105625Z-4f2a9cd", "2026x120T105625Z-4f2a9c", "20261120 105625Z-4f2a9c",
                          "../261120T105625Z-4f2a9c"}) {
    EXPECT_EQ(BackupId::parse(bad), std::nullopt) << bad;
  }
}

TEST(BackupType, names_round_trip) {
  for (auto type : {BackupType::full, BackupType::diff, BackupType::incr}) {
    EXPECT_EQ(parse_backup_type(to_string(type)), type);
  }
  EXPECT_EQ(parse_backup_type("incremental"), std::nullopt);
  EXPECT_EQ(parse_backup_type(""), std::nullopt);
}

}  // namespace
}  // namespace lifeboat
