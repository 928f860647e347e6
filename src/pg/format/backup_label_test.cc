#include "pg/format/backup_label.h"

#include <gtest/gtest.h>

#include "util/strings.h"

namespace lifeboat::pg {
namespace {

// As PostgreSQL 17 returned it.
constexpr std::string_view kLabel =
    "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"
    "CHECKPOINT LOCATION: 0/2000080\n"
    "BACKUP METHOD: streamed\n"
    "BACKUP FROM: primary\n"
    "START TIME: 2026-11-20 11:35:28 UTC\n"
    "LABEL: nightly: with colon\n"
    "START TIMELINE: 1\n";

TEST(BackupLabel, as_a_server_writes_it_is_read) {
  auto label = parse_backup_label(kLabel);
  ASSERT_TRUE(label) << label.error().to_string();
  EXPECT_EQ(label->start, Lsn{0x2000028});
  EXPECT_EQ(label->start_segment.to_string(), "000000010000000000000002");
  EXPECT_EQ(label->checkpoint, Lsn{0x2000080});
  EXPECT_EQ(label->method, "streamed");
  EXPECT_FALSE(label->from_standby);
  EXPECT_EQ(label->start_time, "2026-11-20 11:35:28 UTC");
  EXPECT_EQ(label->label, "nightly: with colon");
  EXPECT_EQ(label->start_timeline, Timeline{1});
  EXPECT_FALSE(label->incremental_from);
}

TEST(BackupLabel, of_a_standby_and_of_13_is_read) {
  std::string text(kLabel);
  text.replace(text.find("primary"), 7, "standby");
  EXPECT_TRUE(parse_backup_label(text)->from_standby);
  text.replace(text.find("standby"), 7, "master");  // what 13 calls a primary
  EXPECT_FALSE(parse_backup_label(text)->from_standby);
}

TEST(BackupLabel, of_an_incremental_backup_says_so) {
  auto label = parse_backup_label(cat(kLabel, "INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n"));
  ASSERT_TRUE(label);
  EXPECT_EQ(label->incremental_from, Lsn{0x1000028});
  EXPECT_EQ(label->incremental_from_timeline, Timeline{1});
}

TEST(BackupLabel, without_a_required_line_or_with_a_contradiction_is_damage) {
  auto broken = [](std::string_view from, std::string_view to) {
    std::string text(kLabel);
    text.replace(text.find(from), from.size(), to);
    auto label = parse_backup_label(text);
    EXPECT_FALSE(label) << from;
    EXPECT_TRUE(label || label.error().kind == ErrorKind::damaged);
  };
  broken("START WAL", "start wal");
  broken("CHECKPOINT LOCATION", "CHECKPOINT");
  broken("0/2000028", "2000028");
  broken("(file 0000", "(file ");
  broken("0/2000080", "0/");
  broken("START TIMELINE: 1", "START TIMELINE: 2");
  broken("START TIMELINE: 1", "START TIMELINE: x");
  EXPECT_FALSE(parse_backup_label(""));
}

TEST(BackupHistory, holds_the_end_too) {
  std::string text =
      "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"
      "STOP WAL LOCATION: 0/2000138 (file 000000010000000000000002)\n" +
      std::string(kLabel.substr(kLabel.find("CHECKPOINT"))) +
      "STOP TIME: 2026-11-20 11:35:29 UTC\n"
      "STOP TIMELINE: 1\n";
  auto history = parse_backup_history(text);
  ASSERT_TRUE(history) << history.error().to_string();
  EXPECT_EQ(history->label.label, "nightly: with colon");
  EXPECT_EQ(history->stop, Lsn{0x2000138});
  EXPECT_EQ(history->stop_segment.to_string(), "000000010000000000000002");
  EXPECT_EQ(history->stop_time, "2026-11-20 11:35:29 UTC");
  EXPECT_EQ(history->stop_timeline, Timeline{1});
  EXPECT_FALSE(parse_backup_history(kLabel)) << "no stop";
  text.replace(text.find("0/2000138"), 9, "0/1000138");
  EXPECT_FALSE(parse_backup_history(text)) << "stops before it starts";
}

// Three tablespaces named a\b, c<line end>d and e: what servers of both kinds return.
TEST(TablespaceMap, is_escaped_as_each_version_does) {
  const VersionTraits& v13 = *find_version(13);
  const VersionTraits& v14 = *find_version(14);
  std::vector<TablespaceMapEntry> entries = {
      {16384, "/t/a\\b"}, {16385, "/t/c\nd"}, {16386, "/t/with space"}};
  std::string old_text = "16384 /t/a\\b\n16385 /t/c\\\nd\n16386 /t/with space\n";
  std::string new_text = "16384 /t/a\\\\b\n16385 /t/c\\\nd\n16386 /t/with space\n";
  EXPECT_EQ(print_tablespace_map(entries, v13), old_text);
  EXPECT_EQ(print_tablespace_map(entries, v14), new_text);
  auto old_map = parse_tablespace_map(old_text, v13);
  auto new_map = parse_tablespace_map(new_text, v14);
  ASSERT_TRUE(old_map && new_map);
  EXPECT_EQ(*old_map, entries);
  EXPECT_EQ(*new_map, entries);
}

TEST(TablespaceMap, a_path_may_end_with_a_backslash_from_14_on) {
  auto map = parse_tablespace_map("16384 /t/e\\\\\n16385 /t/f\n", *find_version(15));
  ASSERT_TRUE(map);
  EXPECT_EQ(*map, (std::vector<TablespaceMapEntry>{{16384, "/t/e\\"}, {16385, "/t/f"}}));
}

TEST(TablespaceMap, incomplete_lines_are_damage) {
  for (const VersionTraits& version : supported_versions()) {
    EXPECT_TRUE(parse_tablespace_map("", version)->empty());
    for (std::string_view text :
         {"16384 /t/a", "16384\n", "16384 \n", "/t/a\n", "x /t/a\n", "16384 /t/a\\", "0 /t\n"}) {
      auto map = parse_tablespace_map(text, version);
      EXPECT_FALSE(map) << version.major << " " << text;
    }
  }
}

}  // namespace
}  // namespace lifeboat::pg
