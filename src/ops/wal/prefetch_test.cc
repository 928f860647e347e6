#include "ops/wal/prefetch.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "ops/wal/get.h"
#include "ops/wal/prefetcher.h"
#include "tests/support/wal_fixture.h"
#include "util/clock.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

constexpr int kIdleMs = 200;

// A fetcher in a thread of the test, and a spool; the calls of real recoveries are in
// tests/system/prefetch_test.py.
class PrefetchTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    make_repository(cat("file://", root_ / "repo"), storage::StoreMode::create_missing);
    while (wal_.last_index() < 10) wal_.fill(250'000);
    store_segments(1, 1, 6, wal_);
    place_.repo.url = cat("file://", root_ / "repo");
    place_.repo.patience.stop = &stop_;
    place_.lineage = testing::test_lineage();
    place_.segment_size = {kSegment};
    place_.spool = root_ / "spool";
    place_.directory = join_path(place_.spool, "main-0-15-0123456789abcdef-fedcba9876543210");
    ASSERT_TRUE(create_dirs(place_.directory, 0700));
  }
  void TearDown() override { end(); }

  void begin(uint64_t delivered, int segments, int idle_ms = 60'000) {
    fetcher_ = std::thread([=, this] {
      outcome_ = fetch_ahead(place_, name_of(1, delivered), segments, idle_ms);
      ended_ = true;
    });
  }
  void end() {
    stop_.request();
    request(1);  // wakes it
    if (fetcher_.joinable()) fetcher_.join();
  }
  // False: nobody listens.
  bool request(uint64_t delivered, uint32_t timeline = 1) {
    auto fd = open_file(path(std::string(kPrefetchRequests)), O_WRONLY | O_NONBLOCK);
    if (!fd) return false;
    std::string line = name_of(timeline, delivered).to_string() + "\n";
    return write_all(fd->get(), as_bytes(line), "requests").has_value();
  }
  std::string path(const std::string& name) const { return join_path(place_.directory, name); }
  // Numbers of the segments that lie whole in the spool.
  std::vector<uint64_t> spooled() const {
    std::vector<uint64_t> found;
    auto entries = list_dir(place_.directory);
    if (!entries) return found;
    for (const DirEntry& entry : *entries) {
      if (auto name = SegmentName::parse(entry.name)) found.push_back(name->index({kSegment}));
    }
    return found;
  }
  template <typename Condition>
  static bool soon(Condition condition) {
    for (int i = 0; i < 5000; ++i) {
      if (condition()) return true;
      Clock::system().sleep_us(2000);
    }
    return false;
  }
  bool soon_spooled(std::vector<uint64_t> wanted) const {
    return soon([&] { return spooled() == wanted; });
  }

  TempDir root_ = TempDir::make("lifeboat-prefetch-test").value();
  PrefetchPlace place_;
  Wal wal_;
  StopToken stop_;
  std::thread fetcher_;
  Status outcome_;
  std::atomic<bool> ended_ = false;
};

TEST_F(PrefetchTest, what_follows_is_fetched_whole_and_no_more_than_asked_for) {
  begin(1, 3);
  ASSERT_TRUE(soon_spooled({2, 3, 4}));
  for (uint64_t index : spooled()) {
    EXPECT_EQ(read_file(path(name_of(1, index).to_string()), 4 << 20).value(), wal_.segment(index));
  }
  ASSERT_TRUE(request(2));
  EXPECT_TRUE(soon_spooled({3, 4, 5})) << "what was passed goes";
  ASSERT_TRUE(request(4));
  EXPECT_TRUE(soon_spooled({5, 6})) << "up to the end of what is stored";
}

TEST_F(PrefetchTest, an_older_request_turns_it_back) {  // pg_rewind, a restart from an older checkpoint
  begin(4, 3);
  ASSERT_TRUE(soon_spooled({5, 6}));
  ASSERT_TRUE(request(1));
  EXPECT_TRUE(soon_spooled({2, 3, 4}));
}

TEST_F(PrefetchTest, files_of_another_timeline_go) {
  begin(1, 2);
  ASSERT_TRUE(soon_spooled({2, 3}));
  ASSERT_TRUE(request(2, 2));
  EXPECT_TRUE(soon_spooled({}));
}

TEST_F(PrefetchTest, what_was_not_stored_yet_is_looked_for_again_with_the_next_request) {
  begin(5, 3);
  ASSERT_TRUE(soon_spooled({6}));
  store_segments(1, 7, 8, wal_);
  ASSERT_TRUE(request(5));
  EXPECT_TRUE(soon_spooled({6, 7, 8}));
}

TEST_F(PrefetchTest, a_damaged_object_is_not_spooled) {
  auto object = wal_store().find(*WalFileName::parse(name_of(1, 3).to_string()));
  ASSERT_TRUE(object && *object);
  std::string stored = root_ / cat("repo/", (*object)->object);
  Bytes content = read_file(stored, 4 << 20).value();
  content[content.size() - 1] ^= 1;
  ASSERT_TRUE(write_file_durable(stored, content, 0600));
  begin(1, 2);
  ASSERT_TRUE(soon_spooled({2}));
  Clock::system().sleep_us(50'000);
  EXPECT_THAT(spooled(), ElementsAre(2));
}

TEST_F(PrefetchTest, it_ends_when_nobody_asks_and_takes_everything_with_it) {
  begin(1, 3, kIdleMs);
  EXPECT_TRUE(soon([&] { return ended_.load(); }));
  EXPECT_TRUE(outcome_) << outcome_.error().to_string();
  EXPECT_THAT(list_dir(place_.spool).value(), IsEmpty());
}

TEST_F(PrefetchTest, it_ends_when_it_is_told_to) {
  begin(1, 3);
  ASSERT_TRUE(soon_spooled({2, 3, 4}));
  end();
  EXPECT_TRUE(outcome_);
  EXPECT_THAT(list_dir(place_.spool).value(), IsEmpty());
}

TEST_F(PrefetchTest, a_second_one_ends_at_once) {
  begin(1, 3);
  ASSERT_TRUE(soon_spooled({2, 3, 4}));
  EXPECT_EQ(fetch_ahead(place_, name_of(1, 3), 3, kIdleMs).error().kind, ErrorKind::busy);
  EXPECT_THAT(spooled(), ElementsAre(2, 3, 4));
}

TEST_F(PrefetchTest, the_next_one_removes_what_a_killed_one_left) {
  for (const char* name :
       {"000000010000000000000009", "000000010000000000000002.fetching", "000000010000000000000002.77.taken",
        ".tmp-0123456789abcdef", "requests", "lock"}) {
    ASSERT_TRUE(write_file_durable(path(name), as_bytes("left"), 0600));
  }
  std::string other = join_path(place_.spool, "main-0-15-0123456789abcdef-0000000000000000");
  ASSERT_TRUE(create_dirs(other, 0700));
  ASSERT_TRUE(write_file_durable(join_path(other, "lock"), {}, 0600));
  ASSERT_TRUE(write_file_durable(join_path(other, name_of(1, 2).to_string()), as_bytes("left"), 0600));
  begin(1, 2);
  ASSERT_TRUE(soon_spooled({2, 3}));
  EXPECT_EQ(list_dir(place_.directory)->size(), 4u) << "two segments, lock and requests";
  EXPECT_FALSE(path_exists(other).value());
}

TEST_F(PrefetchTest, another_recovery_s_directory_and_what_is_not_ours_stay) {
  std::string other = join_path(place_.spool, "main-0-15-0123456789abcdef-0000000000000000");
  ASSERT_TRUE(create_dirs(other, 0700));
  std::string segment = join_path(other, name_of(1, 2).to_string());
  ASSERT_TRUE(write_file_durable(segment, as_bytes("theirs"), 0600));
  Fd held = open_file(join_path(other, "lock"), O_RDWR | O_CREAT, 0600).value();
  ASSERT_EQ(::flock(held.get(), LOCK_EX | LOCK_NB), 0);
  ASSERT_TRUE(create_dirs(join_path(place_.spool, "photos"), 0700));
  ASSERT_TRUE(write_file_durable(join_path(place_.spool, "photos/lock"), {}, 0600));
  begin(1, 2);
  ASSERT_TRUE(soon_spooled({2, 3}));
  EXPECT_TRUE(path_exists(segment).value());
  EXPECT_TRUE(path_exists(join_path(place_.spool, "photos/lock")).value());
}

TEST_F(PrefetchTest, restore_clears_what_is_spooled_of_its_lineage_only) {  // T28
  RepoLocation repo = place_.repo;
  std::string hash = to_hex(codec::hash128(as_bytes(repo.url))).substr(0, 16);
  auto directory = [&](const std::string& lineage) {
    return join_path(place_.spool, cat("main-", lineage, "-", hash, "-0000000000000000"));
  };
  std::string mine = directory(testing::test_lineage().to_string()), other = directory("1-15");
  for (const std::string& path : {mine, other}) {
    ASSERT_TRUE(create_dirs(path, 0700));
    ASSERT_TRUE(write_file_durable(join_path(path, name_of(1, 2).to_string()), as_bytes("x"), 0600));
  }
  ASSERT_TRUE(clear_spool(place_.spool, repo, testing::test_lineage()));
  EXPECT_THAT(list_dir(mine).value(), IsEmpty());
  EXPECT_EQ(list_dir(other)->size(), 1u);
  EXPECT_TRUE(clear_spool(root_ / "nowhere", repo, testing::test_lineage()));
}

// Below /var/tmp anybody can make a directory of that name first, with links to where it hurts.
TEST_F(PrefetchTest, clearing_follows_nobody_elses_links) {
  const std::string spool = default_spools(::geteuid()).back();
  auto there = path_exists(spool);
  ASSERT_TRUE(there);
  if (*there) GTEST_SKIP() << spool << " is in use";
  const std::string victim = root_ / "pg_wal";
  const std::string wal = join_path(victim, name_of(1, 7).to_string());
  ASSERT_TRUE(create_dirs(victim, 0700));
  ASSERT_TRUE(write_file_durable(wal, as_bytes("needed"), 0600));
  ASSERT_TRUE(create_dirs(spool, 0700));
  // The name that a recovery of this cluster would have there.
  const std::string link = join_path(spool, prefetch_directory(place_.repo, place_.lineage, "/srv/data"));
  ASSERT_EQ(::symlink(victim.c_str(), link.c_str()), 0);
  Status followed = clear_spool(spool, place_.repo, place_.lineage);
  ASSERT_EQ(::chmod(spool.c_str(), 0777), 0);
  Status cleared = clear_spool(spool, place_.repo, place_.lineage);
  EXPECT_TRUE(*path_exists(wal));
  EXPECT_TRUE(remove_tree(spool));
  EXPECT_FALSE(followed) << "a link is not a directory of ours";
  ASSERT_FALSE(cleared) << "others may write there";
  EXPECT_EQ(cleared.error().kind, ErrorKind::permission);
}

}  // namespace
}  // namespace lifeboat::ops
