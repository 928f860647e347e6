#include "pg/format/version.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "util/strings.h"

namespace lifeboat::pg {
namespace {

TEST(Version, server_version_num_is_taken_apart) {
  EXPECT_EQ(PgVersion::parse_number("150004")->to_string(), "15.4");
  EXPECT_EQ(PgVersion::parse_number("150020")->major(), 15);
  EXPECT_EQ(PgVersion::parse_number("180000")->minor(), 0);
  for (std::string_view text : {"", "15", "15.4", "90624", "15beta", "-150004"}) {
    EXPECT_FALSE(PgVersion::parse_number(text)) << text;
  }
}

TEST(Version, exactly_13_to_18_are_supported) {
  std::set<int> majors;
  for (int major = 1; major < 40; ++major) {
    if (find_version(major) != nullptr) majors.insert(major);
  }
  EXPECT_EQ(majors, (std::set<int>{13, 14, 15, 16, 17, 18}));
  EXPECT_EQ(supported_versions().size(), 6u);
  for (const VersionTraits& version : supported_versions()) {
    EXPECT_EQ(find_version(version.major), &version);
    EXPECT_EQ(find_version_by_catalog(version.catalog_version), &version);
    EXPECT_EQ(find_version_by_wal_magic(version.wal_magic), &version);
    EXPECT_EQ(*require_version(version.major), &version);
  }
}

TEST(Version, other_majors_are_refused_with_what_to_do) {
  auto newer = require_version(19);
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().kind, ErrorKind::unsupported);
  EXPECT_EQ(newer.error().message, "PostgreSQL 19 is not supported: expected 13 to 18");
  EXPECT_NE(newer.error().hint, require_version(12).error().hint);
}

TEST(Version, pg_version_file_is_read) {
  EXPECT_EQ((*parse_pg_version_file("15\n"))->major, 15);
  EXPECT_EQ(parse_pg_version_file("9.6\n").error().kind, ErrorKind::damaged);
  EXPECT_EQ(parse_pg_version_file("").error().kind, ErrorKind::damaged);
  EXPECT_EQ(parse_pg_version_file("19\n").error().kind, ErrorKind::unsupported);
}

// docs/pg-versions.md is what people read; it must say what the table says.
TEST(Version, document_and_table_agree) {
  const char* source = std::getenv("LIFEBOAT_SOURCE_DIR");
  if (source == nullptr) GTEST_SKIP() << "LIFEBOAT_SOURCE_DIR is not set; run through ctest";
  std::ifstream in(cat(source, "/docs/pg-versions.md"));
  std::stringstream text;
  text << in.rdbuf();
  auto yes = [](bool value) { return value ? "yes" : "no"; };
  std::vector<std::string> rows(14);
  for (const VersionTraits& v : supported_versions()) {
    size_t row = 0;
    auto cell = [&](std::string value) { rows[row++] += cat(" ", value, " |"); };
    cell(cat(v.control_version));
    cell(cat(v.catalog_version));
    cell(cat("0x", hex_number(v.wal_magic, 4)));
    cell(cat("`", v.backup_start, "`"));
    cell(yes(v.archive_library));
    cell(yes(v.archive_exclusive));
    cell(yes(v.read_replication_slot));
    cell(yes(v.wal_summaries));
    cell(yes(v.checksums_by_default));
    cell(v.page_image_flags == PageImageFlags::v13 ? "old" : "new");
    cell(cat(v.dropped_stats_size));
    cell(yes(v.map_backslash));
    cell(yes(v.class_counts_all_frozen));
    cell(std::string(v.end_of_life));
  }
  for (const std::string& row : rows) EXPECT_NE(text.str().find(row), std::string::npos) << row;
}

TEST(Version, settings_that_recovery_needs_are_the_five) {  // T32
  EXPECT_EQ(recovery_minimum_settings().size(), 5u);
}

}  // namespace
}  // namespace lifeboat::pg
