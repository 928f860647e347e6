#include "ops/wal/get.h"

#include <gmock/gmock.h>

#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using testing::at;
using ::testing::IsEmpty;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

// A repository in a directory, WAL of three segments, and a target directory. That the lineage comes from
// pg_control is checked with real data directories in tests/system/wal_test.py.
class GetTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    make_repository(cat("file://", root_ / "repo"), storage::StoreMode::create_missing);
    ASSERT_TRUE(create_dirs(root_ / "pg_wal"));
    for (int i = 0; i < 12; ++i) wal_.fill(250'000);
    store_segments(1, 1, 3, wal_);
  }
  WalGetOptions options(std::string name) const {
    WalGetOptions options;
    options.repo.url = cat("file://", root_ / "repo");
    options.name = std::move(name);
    options.path = "pg_wal/RECOVERYXLOG";
    options.working_directory = root_.path();
    return options;
  }
  Result<WalGetOutcome> get(std::string name) const { return get_wal(options(std::move(name))); }
  void expect_no_files() const {
    auto entries = list_dir(root_ / "pg_wal");
    ASSERT_TRUE(entries);
    EXPECT_THAT(*entries, IsEmpty());
  }
  std::string target() const { return root_ / "pg_wal/RECOVERYXLOG"; }
  std::string object_path(const std::string& name) const {
    auto object = wal_store().find(*WalFileName::parse(name));
    EXPECT_TRUE(object && *object);
    return root_ / cat("repo/", (*object)->object);
  }
  // Flips a bit at so many percent of the file.
  void flip(const std::string& path, uint64_t percent) {
    Bytes content = read_file(path, 4 << 20).value();
    content[(content.size() - 1) * percent / 100] ^= 1;
    ASSERT_TRUE(write_file_durable(path, content, 0600));
  }

  TempDir root_ = TempDir::make("lifeboat-get-test").value();
  Wal wal_;
  std::string two_ = name_of(1, 2).to_string();
};

TEST_F(GetTest, a_segment_arrives_whole) {
  auto outcome = get(two_);
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(*outcome, WalGetOutcome::delivered);
  EXPECT_EQ(read_file(target(), 4 << 20).value(), wal_.segment(2));
  EXPECT_EQ(list_dir(root_ / "pg_wal")->size(), 1u);
}

TEST_F(GetTest, an_older_file_at_the_target_is_replaced) {
  ASSERT_TRUE(write_file_durable(target(), as_bytes("old"), 0600));
  ASSERT_TRUE(get(two_));
  EXPECT_EQ(read_file(target(), 4 << 20).value(), wal_.segment(2));
  EXPECT_EQ(list_dir(root_ / "pg_wal")->size(), 1u);
}

TEST_F(GetTest, what_is_not_stored_is_absent) {  // T29
  for (const std::string& name :
       {name_of(1, 9).to_string(), std::string("00000002.history"), name_of(7, 2).to_string()}) {
    auto outcome = get(name);
    ASSERT_TRUE(outcome) << outcome.error().to_string();
    EXPECT_EQ(*outcome, WalGetOutcome::absent);
  }
  expect_no_files();
}

TEST_F(GetTest, a_partial_does_not_stand_in_for_its_segment) {
  store_file(cat(name_of(1, 4).to_string(), ".partial"), wal_.segment(3));
  auto outcome = get(name_of(1, 4).to_string());
  ASSERT_TRUE(outcome);
  EXPECT_EQ(*outcome, WalGetOutcome::absent);
}

TEST_F(GetTest, an_outage_is_not_absence) {  // T29
  ASSERT_TRUE(rename_durable(root_ / "repo", root_ / "away"));
  auto gone = get(two_);
  ASSERT_FALSE(gone);
  EXPECT_NE(gone.error().kind, ErrorKind::not_found);
  // A mount point whose file system is missing.
  ASSERT_TRUE(create_dirs(root_ / "repo"));
  auto empty = get(two_);
  ASSERT_FALSE(empty);
  EXPECT_NE(empty.error().kind, ErrorKind::not_found);
}

TEST_F(GetTest, an_unknown_cluster_is_not_absence) {  // T29
  WalGetOptions asked = options(two_);
  asked.repo.cluster = "other";
  auto outcome = get_wal(asked);
  ASSERT_FALSE(outcome);
  EXPECT_NE(outcome.error().kind, ErrorKind::not_found);
}

TEST_F(GetTest, another_lineage_is_foreign) {  // T26
  WalGetOptions asked = options(two_);
  asked.lineage = Lineage{{1234}, 15};
  auto outcome = get_wal(asked);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::foreign);
}

TEST_F(GetTest, a_damaged_object_is_never_delivered) {
  std::string path = object_path(two_);
  for (uint64_t percent : {0, 25, 50, 75, 100}) {
    flip(path, percent);
    auto outcome = get(two_);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::damaged);
    expect_no_files();
    flip(path, percent);
  }
  EXPECT_TRUE(get(two_));
}

TEST_F(GetTest, a_truncated_object_is_never_delivered) {  // T30
  std::string path = object_path(two_);
  Bytes content = read_file(path, 4 << 20).value();
  content.resize(content.size() / 2);
  ASSERT_TRUE(write_file_durable(path, content, 0600));
  auto outcome = get(two_);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::damaged);
  expect_no_files();
}

TEST_F(GetTest, two_contents_are_a_conflict) {  // T46
  store_conflict(1, 2, wal_);
  auto outcome = get(two_);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::conflict);
  expect_no_files();
}

TEST_F(GetTest, a_wrong_size_is_never_delivered) {  // T30
  std::string name = name_of(1, 4).to_string();
  Bytes content = wal_.segment(3);
  store_le(content.data() + 8, uint64_t{4 * kSegment});
  content.resize(kSegment / 2);
  store_file(name, content);
  auto outcome = get(name);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::damaged);
  content.resize(2 * kSegment);
  std::string longer = name_of(1, 5).to_string();
  store_le(content.data() + 8, uint64_t{5 * kSegment});
  store_file(longer, content);
  outcome = get(longer);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::damaged);
  expect_no_files();
}

TEST_F(GetTest, content_under_another_segments_name_is_never_delivered) {
  std::string name = name_of(1, 4).to_string();
  store_file(name, wal_.segment(3));
  auto outcome = get(name);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::damaged);
  expect_no_files();
}

TEST_F(GetTest, history_files_are_checked_and_delivered) {
  pg::TimelineHistory two = pg::TimelineHistory::root({1}).branch({2}, Lsn{2 * kSegment}, "test");
  store_history(two);
  auto outcome = get("00000002.history");
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(read_text(target(), 1000).value(), two.to_text());
  store_file("00000003.history", as_bytes("not a history"));
  EXPECT_EQ(get("00000003.history").error().kind, ErrorKind::damaged);
}

TEST_F(GetTest, what_is_no_wal_file_is_a_usage_error) {
  EXPECT_EQ(get("pg_control").error().kind, ErrorKind::usage);
}

TEST_F(GetTest, a_target_directory_that_is_missing_is_not_absence) {  // T29
  WalGetOptions asked = options(two_);
  asked.path = "nowhere/RECOVERYXLOG";
  auto outcome = get_wal(asked);
  ASSERT_FALSE(outcome);
  EXPECT_NE(outcome.error().kind, ErrorKind::not_found);
}

}  // namespace
}  // namespace lifeboat::ops
