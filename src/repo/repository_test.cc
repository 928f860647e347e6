#include "repo/repository.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/repo_fixture.h"
#include "util/files.h"

namespace lifeboat::repo {
namespace {

std::unique_ptr<storage::Store> borrow(storage::Store& store) {
  return std::make_unique<BorrowedStore>(store);
}

TEST(RepositoryTest, there_is_none_before_it_is_made_and_one_after) {
  storage::MemoryStore memory;
  auto missing = Repository::open(borrow(memory), {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::not_found);
  auto made = Repository::create(borrow(memory), {}, {codec::Compression::lz4, 3});
  ASSERT_TRUE(made);
  auto opened = Repository::open(borrow(memory), {});
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->marker().repository_id, made->marker().repository_id);
  EXPECT_EQ(opened->marker().repository_id.size(), 32u);
  EXPECT_EQ(opened->marker().compression.compression, codec::Compression::lz4);
  EXPECT_EQ(opened->marker().compression.level, 3);
  EXPECT_FALSE(opened->marker().encrypted);
}

TEST(RepositoryTest, a_second_creation_is_a_conflict) {
  storage::MemoryStore memory;
  ASSERT_TRUE(Repository::create(borrow(memory), {}, {}));
  auto again = Repository::create(borrow(memory), {}, {});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::conflict);
}

TEST(RepositoryTest, an_encrypted_one_needs_its_key_and_a_plain_one_takes_none) {
  TempDir dir = *TempDir::make();
  KeySource key{KeySourceKind::key_file, dir / "key"};
  ASSERT_TRUE(create_key_file(key.path));
  storage::MemoryStore sealed;
  ASSERT_TRUE(Repository::create(borrow(sealed), key, {}));
  EXPECT_TRUE(Repository::open(borrow(sealed), key));
  auto without = Repository::open(borrow(sealed), {});
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().kind, ErrorKind::wrong_key);
  EXPECT_FALSE(without.error().hint.empty());
  storage::MemoryStore plain;
  ASSERT_TRUE(Repository::create(borrow(plain), {}, {}));
  auto with = Repository::open(borrow(plain), key);
  ASSERT_FALSE(with);
  EXPECT_EQ(with.error().kind, ErrorKind::wrong_key);
}

TEST(RepositoryTest, a_marker_of_a_later_format_is_refused_by_number) {
  storage::MemoryStore memory;
  ASSERT_TRUE(memory.put("lifeboat.json", as_bytes(with_check_line("{\"format\":2}"))));
  auto opened = Repository::open(borrow(memory), {});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::unsupported);
  EXPECT_NE(opened.error().to_string().find("2"), std::string::npos);
}

TEST(RepositoryTest, a_damaged_marker_is_damaged) {
  storage::MemoryStore memory;
  ASSERT_TRUE(Repository::create(borrow(memory), {}, {}));
  Bytes marker = *memory.get("lifeboat.json", 1 << 20);
  for (size_t i = 0; i < marker.size(); ++i) {
    Bytes bad = marker;
    bad[i] ^= 0x10;
    ASSERT_TRUE(memory.overwrite("lifeboat.json", bad));
    auto opened = Repository::open(borrow(memory), {});
    ASSERT_FALSE(opened) << i;
    EXPECT_EQ(opened.error().kind, ErrorKind::damaged);
  }
}

// The one that loses takes its key slot away again, and never the winner's.
TEST(RepositoryTest, of_two_processes_one_makes_it_and_it_opens) {
  for (int round = 0; round < 100; ++round) {
    TempDir dir = *TempDir::make();
    std::string url = cat("file://", dir.path(), "/repo");
    ASSERT_TRUE(storage::open_store(url, storage::StoreMode::create_missing));
    KeySource keys[2];
    pid_t children[2];
    int start[2];
    ASSERT_EQ(pipe(start), 0);
    for (int i = 0; i < 2; ++i) {
      keys[i] = {KeySourceKind::key_file, dir / cat("key", i)};
      ASSERT_TRUE(create_key_file(keys[i].path));
    }
    for (int i = 0; i < 2; ++i) {
      children[i] = fork();
      if (children[i] != 0) continue;
      close(start[1]);
      char none;
      (void)!read(start[0], &none, 1);  // both begin when the parent closes its end
      auto made = Repository::create(*storage::open_store(url, storage::StoreMode::existing), keys[i], {});
      _exit(made ? 0 : made.error().kind == ErrorKind::conflict ? 1 : 2);
    }
    close(start[0]);
    close(start[1]);
    int winner = -1;
    for (int i = 0; i < 2; ++i) {
      int status = 0;
      ASSERT_EQ(waitpid(children[i], &status, 0), children[i]);
      ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) < 2) << status;
      if (WEXITSTATUS(status) != 0) continue;
      EXPECT_EQ(winner, -1) << "both made it";
      winner = i;
    }
    ASSERT_NE(winner, -1);
    auto store = storage::open_store(url, storage::StoreMode::existing);
    ASSERT_TRUE(store);
    EXPECT_EQ(list_slots(**store)->size(), 1u);
    auto opened = Repository::open(std::move(*store), keys[winner]);
    EXPECT_TRUE(opened) << opened.error().to_string();
  }
}

TEST(RepositoryTest, the_slot_of_an_init_that_was_killed_goes_with_the_next_one) {
  TempDir dir = *TempDir::make();
  KeySource key{KeySourceKind::key_file, dir / "key"};
  ASSERT_TRUE(create_key_file(key.path));
  storage::MemoryStore memory;
  ASSERT_TRUE(create_keys(memory, key));
  ASSERT_TRUE(Repository::create(borrow(memory), key, {}));
  EXPECT_EQ(list_slots(memory)->size(), 1u);
  EXPECT_TRUE(Repository::open(borrow(memory), key));
}

class LineageTest : public ::testing::Test {
 protected:
  LineageTest() : repository_(*Repository::create(borrow(memory_), {}, {})) {}
  LineageRepo lineage(uint64_t system_id, int major, std::string cluster = "main") {
    return LineageRepo(repository_, std::move(cluster), Lineage{{system_id}, major});
  }
  static LineageRecord record(const LineageRepo& repo, int64_t registered) {
    LineageRecord record;
    record.lineage = repo.lineage();
    record.catalog_version = 202209061;
    record.segment_size = {64u << 20};
    record.registered = Timestamp::from_seconds(registered);
    record.registered_by = "db1";
    return record;
  }
  storage::MemoryStore memory_;
  Repository repository_;
};

TEST_F(LineageTest, what_was_registered_is_read_back) {
  LineageRepo repo = lineage(7, 15);
  ASSERT_TRUE(register_lineage(repo, record(repo, 100)));
  auto found = require_lineage(repo);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->segment_size.bytes, 64u << 20);
  EXPECT_EQ(found->catalog_version, 202209061u);
  EXPECT_EQ(found->registered_by, "db1");
  EXPECT_EQ(found->registered, Timestamp::from_seconds(100));
}

TEST_F(LineageTest, registering_twice_is_a_conflict) {
  LineageRepo repo = lineage(7, 15);
  ASSERT_TRUE(register_lineage(repo, record(repo, 100)));
  auto again = register_lineage(repo, record(repo, 200));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::conflict);
}

TEST_F(LineageTest, an_unknown_cluster_and_a_foreign_system_are_told_apart) {  // T26
  auto unknown = require_lineage(lineage(7, 15));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind, ErrorKind::not_found);
  LineageRepo repo = lineage(7, 15);
  ASSERT_TRUE(register_lineage(repo, record(repo, 100)));
  for (auto [system_id, major] : {std::pair{8, 15}, std::pair{7, 16}}) {
    auto foreign = require_lineage(lineage(static_cast<uint64_t>(system_id), major));
    ASSERT_FALSE(foreign);
    EXPECT_EQ(foreign.error().kind, ErrorKind::foreign);
    EXPECT_NE(foreign.error().hint.find("--new-lineage"), std::string::npos);
  }
}

TEST_F(LineageTest, lineages_are_ordered_by_registration_not_by_number) {  // T39
  LineageRepo first = lineage(9, 14);
  LineageRepo second = lineage(3, 15);
  ASSERT_TRUE(register_lineage(second, record(second, 200)));
  ASSERT_TRUE(register_lineage(first, record(first, 100)));
  auto found = list_lineages(repository_, "main");
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].lineage, first.lineage());
  EXPECT_EQ((*found)[1].lineage, second.lineage());
  EXPECT_TRUE(list_lineages(repository_, "other")->empty());
}

TEST_F(LineageTest, clusters_are_listed) {
  for (const char* name : {"b", "a"}) {
    LineageRepo repo = lineage(7, 15, name);
    ASSERT_TRUE(register_lineage(repo, record(repo, 1)));
  }
  EXPECT_EQ(*list_clusters(repository_), (std::vector<std::string>{"a", "b"}));
}

}  // namespace
}  // namespace lifeboat::repo
