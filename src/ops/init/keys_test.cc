#include "ops/init/keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "util/files.h"

namespace lifeboat::ops {
namespace {

class KeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto directory = TempDir::make("keys");
    ASSERT_TRUE(directory);
    directory_.emplace(std::move(*directory));
    location_.url = "file://" + (*directory_ / "repo");
    location_.key = {repo::KeySourceKind::key_file, *directory_ / "main.key"};
    ASSERT_TRUE(repo::create_key_file(location_.key.path));
    auto store = storage::open_store(location_.url, storage::StoreMode::create_missing);
    ASSERT_TRUE(store);
    auto repository = repo::Repository::create(std::move(*store), location_.key, {});
    ASSERT_TRUE(repository);
    repo::LineageRecord record;
    record.lineage = {{7}, 15};
    record.registered = Timestamp::from_seconds(1'790'000'000);
    ASSERT_TRUE(repo::register_lineage(repo::LineageRepo(*repository, "main", record.lineage), record));
    passphrase_ = {repo::KeySourceKind::passphrase_file, *directory_ / "passphrase"};
    ASSERT_TRUE(write_file_durable(passphrase_.path, as_bytes("correct horse\n"), 0600));
  }
  static size_t opening(const KeyCheck& check) {
    return static_cast<size_t>(
        std::ranges::count_if(check.slots, [](const auto& slot) { return slot.opens; }));
  }
  std::optional<TempDir> directory_;
  RepoLocation location_;
  repo::KeySource passphrase_;
};

TEST_F(KeysTest, an_added_passphrase_opens_by_itself) {
  auto added = add_key(location_, passphrase_);
  ASSERT_TRUE(added) << added.error().to_string();
  EXPECT_EQ(added->slot.kind, "passphrase");
  RepoLocation escrow = location_;
  escrow.key = passphrase_;
  auto check = check_key(escrow);
  ASSERT_TRUE(check) << check.error().to_string();
  EXPECT_EQ(check->slots.size(), 2u);
  EXPECT_EQ(opening(*check), 1u);
  ASSERT_EQ(check->proofs.size(), 1u);
  EXPECT_EQ(check->proofs[0].cluster, "main");
  EXPECT_FALSE(check->proofs[0].read.empty());
}

TEST_F(KeysTest, a_key_file_that_is_absent_is_generated_with_mode_0600) {
  repo::KeySource second{repo::KeySourceKind::key_file, *directory_ / "second.key"};
  auto added = add_key(location_, second);
  ASSERT_TRUE(added) << added.error().to_string();
  EXPECT_TRUE(added->generated);
  auto info = stat_path(second.path);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->mode & 0777, 0600u);
  RepoLocation other = location_;
  other.key = second;
  EXPECT_TRUE(check_key(other));
}

TEST_F(KeysTest, a_stranger_s_key_opens_nothing_and_adds_nothing) {
  RepoLocation stranger = location_;
  stranger.key.path = *directory_ / "stranger.key";
  ASSERT_TRUE(repo::create_key_file(stranger.key.path));
  auto check = check_key(stranger);
  ASSERT_FALSE(check);
  EXPECT_EQ(check.error().kind, ErrorKind::wrong_key);
  auto added = add_key(stranger, {repo::KeySourceKind::key_file, *directory_ / "third.key"});
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().kind, ErrorKind::wrong_key);
  EXPECT_FALSE(*path_exists(*directory_ / "third.key"));
}

TEST_F(KeysTest, a_repository_without_encryption_takes_no_key) {
  RepoLocation plain;
  plain.url = "file://" + (*directory_ / "plain");
  auto store = storage::open_store(plain.url, storage::StoreMode::create_missing);
  ASSERT_TRUE(store);
  ASSERT_TRUE(repo::Repository::create(std::move(*store), {}, {}));
  auto added = add_key(plain, passphrase_);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().kind, ErrorKind::precondition);
  auto check = check_key(plain);
  ASSERT_TRUE(check);
  EXPECT_TRUE(check->slots.empty());
}

}  // namespace
}  // namespace lifeboat::ops
