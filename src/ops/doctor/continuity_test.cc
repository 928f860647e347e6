#include "ops/doctor/continuity.h"

#include <gtest/gtest.h>

#include "repo/wal_store.h"
#include "tests/support/repo_fixture.h"

namespace lifeboat::ops {
namespace {

// Four segments to a log id, which is what a listing reads at once.
constexpr SegmentSize kSegment{1u << 30};
constexpr uint64_t kPerLogId = 4;

struct Calls {
  uint64_t listed = 0;  // names
};

class CountingStore : public repo::BorrowedStore {
 public:
  CountingStore(storage::Store& inner, Calls& calls) : BorrowedStore(inner), calls_(calls) {}
  Status list(std::string_view prefix,
              const std::function<Status(const storage::ObjectInfo&)>& each) override {
    return BorrowedStore::list(prefix, [&](const storage::ObjectInfo& info) {
      ++calls_.listed;
      return each(info);
    });
  }

 private:
  Calls& calls_;
};

class ContinuityTest : public ::testing::Test {
 protected:
  ContinuityTest() {
    record_.lineage = tiny_.repo.lineage();
    record_.segment_size = kSegment;
  }

  void push(uint64_t index, std::string_view content = "WAL") {
    const SegmentName name = SegmentName::containing({1}, {index * kSegment.bytes}, kSegment);
    const Bytes bytes(content.begin(), content.end());
    auto pushed =
        repo::WalStore(tiny_.repo, {.conflict_check = false})
            .push(*WalFileName::parse(name.to_string()), repo::WalSource::from_bytes(ByteView(bytes)));
    ASSERT_TRUE(pushed) << pushed.error().to_string();
  }
  void push(uint64_t first, uint64_t last) {
    for (uint64_t index = first; index <= last; ++index) push(index);
  }
  void back_up_at(uint64_t index) {
    repo::Card card;
    card.id = tiny_.new_id();
    card.timeline = {1};
    card.start_lsn = {index * kSegment.bytes + 100};
    card.stop_lsn = {index * kSegment.bytes + 200};
    backups_.push_back(card);
  }

  ContinuityFacts look() {
    calls_ = {};
    auto counted = repo::Repository::open(std::make_unique<CountingStore>(tiny_.memory, calls_), {});
    EXPECT_TRUE(counted);
    calls_ = {};  // opening is not what is counted
    const ChosenLineage lineage{repo::LineageRepo(*counted, "main", record_.lineage), record_, 0};
    auto found = follow_wal(lineage, backups_, Timeline{1});
    EXPECT_TRUE(found) << found.error().to_string();
    EXPECT_TRUE(found->has_value());
    return **found;
  }
  static Lsn end_of(uint64_t index) { return {(index + 1) * kSegment.bytes}; }

  repo::TinyRepo tiny_;
  repo::LineageRecord record_;
  std::vector<repo::Card> backups_;
  Calls calls_;
};

TEST_F(ContinuityTest, what_is_older_than_the_newest_backup_is_not_listed) {
  push(1, 400);
  back_up_at(1);
  back_up_at(399);
  EXPECT_EQ(look().end, end_of(400));
  EXPECT_LE(calls_.listed, 4 * kPerLogId);
}

TEST_F(ContinuityTest, a_hole_stays_until_it_is_filled) {
  back_up_at(1);
  push(1, 6);
  EXPECT_FALSE(look().missing);
  push(8, 30);
  for (int i = 0; i < 2; ++i) {
    const ContinuityFacts found = look();
    ASSERT_TRUE(found.missing);
    EXPECT_EQ(found.missing->index(kSegment), 7u);
    EXPECT_EQ(found.end, end_of(6));
    EXPECT_EQ(found.newest->index(kSegment), 30u);
  }
  push(7);
  EXPECT_FALSE(look().missing);
  EXPECT_EQ(look().end, end_of(30));
}

TEST_F(ContinuityTest, what_was_looked_at_is_looked_at_again) {
  back_up_at(1);
  push(1, 40);
  EXPECT_FALSE(look().conflict);
  push(20, "another host's");  // T46
  EXPECT_TRUE(look().conflict);
}

TEST_F(ContinuityTest, a_backup_that_the_server_left_is_told_and_an_older_one_followed) {
  push(1, 9);
  back_up_at(1);
  back_up_at(6);
  // Timeline 2 left timeline 1 before the second backup.
  const std::string history =
      cat("1\t", Lsn{3 * kSegment.bytes}.to_string(), "\tno recovery target specified\n");
  ASSERT_TRUE(
      repo::WalStore(tiny_.repo, {.conflict_check = false})
          .push(*WalFileName::parse("00000002.history"), repo::WalSource::from_bytes(as_bytes(history))));
  const ChosenLineage lineage{tiny_.repo, record_, 0};
  auto found = follow_wal(lineage, backups_, Timeline{2});
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ((*found)->left_behind, backups_[1].id);
  EXPECT_EQ((*found)->backup, backups_[0].id);
  // None leads there: the newest is followed, and named.
  std::vector<repo::Card> newest = {backups_[1]};
  found = follow_wal(lineage, newest, Timeline{2});
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)->left_behind, (*found)->backup);
  // A timeline whose history nobody has says nothing against a backup.
  found = follow_wal(lineage, backups_, Timeline{7});
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_FALSE((*found)->left_behind);
}

TEST_F(ContinuityTest, without_a_complete_backup_there_is_nothing_to_follow) {
  const ChosenLineage lineage{tiny_.repo, record_, 0};
  auto found = follow_wal(lineage, backups_, std::nullopt);
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->has_value());
}

}  // namespace
}  // namespace lifeboat::ops
