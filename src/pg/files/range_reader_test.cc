#include "pg/files/range_reader.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "util/files.h"

namespace lifeboat::pg {
namespace {

class RangeReaderTest : public ::testing::Test {
 protected:
  RangeReaderTest() : temp(*TempDir::make()), path(temp.path() + "/file") {
    std::ofstream(path) << std::string(100, 'a') << std::string(100, 'b');
  }
  RangeReader reader() {
    auto opened = RangeReader::open(path);
    CHECK(opened.has_value() && opened->has_value());
    return *std::move(*opened);
  }
  TempDir temp;
  std::string path;
};

// T07
TEST_F(RangeReaderTest, missing_file_is_a_value) {
  auto opened = RangeReader::open(temp.path() + "/missing");
  ASSERT_TRUE(opened);
  EXPECT_FALSE(opened->has_value());
  opened = RangeReader::open(temp.path() + "/missing/below");
  ASSERT_TRUE(opened);
  EXPECT_FALSE(opened->has_value());
}

// T07
TEST_F(RangeReaderTest, range_past_the_end_is_short) {
  RangeReader file = reader();
  Bytes bytes(150);
  EXPECT_EQ(*file.read(0, bytes), 150u);
  EXPECT_EQ(bytes[99], 'a');
  EXPECT_EQ(bytes[100], 'b');
  EXPECT_EQ(*file.read(150, bytes), 50u);
  EXPECT_EQ(*file.read(200, bytes), 0u);
  EXPECT_EQ(*file.read(1 << 20, bytes), 0u);
}

// T07
TEST_F(RangeReaderTest, truncation_and_removal_while_open_are_seen_as_shortness) {
  RangeReader file = reader();
  file.will_read(0, 200);
  Bytes bytes(200);
  ASSERT_EQ(::truncate(path.c_str(), 10), 0);
  EXPECT_EQ(*file.read(0, bytes), 10u);
  EXPECT_EQ(file.state()->size, 10u);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  EXPECT_EQ(*file.read(0, bytes), 10u);
  file.done_with(0, 200);
}

TEST_F(RangeReaderTest, only_regular_files_are_opened) {
  ASSERT_EQ(::symlink(path.c_str(), (temp.path() + "/link").c_str()), 0);
  ASSERT_EQ(::mkfifo((temp.path() + "/pipe").c_str(), 0600), 0);
  for (const char* name : {"/link", "/pipe", ""}) {
    auto opened = RangeReader::open(temp.path() + name);
    ASSERT_FALSE(opened) << name;
    EXPECT_EQ(opened.error().kind, ErrorKind::precondition);
  }
}

}  // namespace
}  // namespace lifeboat::pg
