#include "repo/tombstone.h"

#include <gtest/gtest.h>

#include "tests/support/repo_fixture.h"

namespace lifeboat::repo {
namespace {

SegmentName segment(uint32_t timeline, uint32_t log_id, uint32_t number) {
  return {{timeline}, log_id, number};
}
WalRange range(uint32_t timeline, uint32_t from, uint32_t end) {
  return {segment(timeline, 0, from), segment(timeline, 0, end)};
}

TEST(TombstoneTest, what_was_written_is_read_back) {
  TinyRepo tiny;
  Tombstone stone;
  stone.created = {tiny.clock.unix_us()};
  stone.grace_us = 3600;
  stone.backups = {tiny.new_id(), tiny.new_id()};
  stone.attempts = {tiny.new_id()};
  stone.wal = {range(1, 2, 5)};
  ASSERT_TRUE(write_tombstone(tiny.repo, stone));
  auto found = read_tombstones(tiny.repo);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  const Tombstone& read = found->front();
  EXPECT_EQ(read.id, stone.id);
  EXPECT_EQ(read.created, stone.created);
  EXPECT_EQ(read.grace_us, 3600);
  EXPECT_EQ(read.backups, stone.backups);
  EXPECT_EQ(read.attempts, stone.attempts);
  EXPECT_EQ(read.wal, stone.wal);
  EXPECT_EQ(*tombstoned_backups(tiny.repo), (std::set<BackupId>(stone.backups.begin(), stone.backups.end())));
}

TEST(TombstoneTest, it_is_ripe_when_older_than_its_grace) {
  Tombstone stone;
  stone.created = {1000};
  stone.grace_us = 100;
  EXPECT_FALSE(stone.ripe({1100}));
  EXPECT_TRUE(stone.ripe({1101}));
  EXPECT_FALSE(stone.ripe({500}));  // the store's clock went back
  stone.grace_us = 0;
  EXPECT_TRUE(stone.ripe({1000}));
}

TEST(TombstoneTest, text_that_is_no_tombstone_is_damaged) {
  for (std::string_view text :
       {"", "{}", "[]", "null", "{\"created_us\":\"x\"}",
        "{\"created_us\":1,\"grace_us\":1,\"backups\":[\"x\"],\"attempts\":[],\"wal\":[]}",
        "{\"created_us\":1,\"grace_us\":1,\"backups\":[],\"attempts\":[],\"wal\":[{\"from\":"
        "\"000000010000000000000001\",\"end\":\"000000020000000000000002\"}]}"}) {
    auto decoded = decode_tombstone("o", as_bytes(text));
    ASSERT_FALSE(decoded) << text;
    EXPECT_EQ(decoded.error().kind, ErrorKind::damaged);
  }
}

TEST(WalRangeTest, subtracting_and_intersecting) {
  using Ranges = std::vector<WalRange>;
  EXPECT_EQ(subtract({range(1, 0, 10)}, {range(1, 3, 5)}), (Ranges{range(1, 0, 3), range(1, 5, 10)}));
  EXPECT_EQ(subtract({range(1, 0, 10)}, {range(2, 3, 5)}), (Ranges{range(1, 0, 10)}));
  EXPECT_EQ(subtract({range(1, 0, 10)}, {range(1, 0, 4), range(1, 4, 10)}), Ranges{});
  EXPECT_EQ(subtract({range(1, 4, 6)}, {range(1, 5, 10)}), (Ranges{range(1, 4, 5)}));
  EXPECT_EQ(intersect({range(1, 0, 10)}, {range(1, 3, 5), range(1, 8, 20)}),
            (Ranges{range(1, 3, 5), range(1, 8, 10)}));
  EXPECT_EQ(intersect({range(1, 0, 10)}, {range(2, 3, 5), range(1, 10, 20)}), Ranges{});
}

TEST(CondemnedTest, the_first_condemned_segment_is_found_within_bounds) {
  Condemned condemned;
  condemned.wal = {range(1, 20, 30), range(1, 5, 10), range(2, 0, 99)};
  EXPECT_EQ(condemned.first_wal(segment(1, 0, 0), std::nullopt), segment(1, 0, 5));
  EXPECT_EQ(condemned.first_wal(segment(1, 0, 7), std::nullopt), segment(1, 0, 7));
  EXPECT_EQ(condemned.first_wal(segment(1, 0, 10), std::nullopt), segment(1, 0, 20));
  EXPECT_EQ(condemned.first_wal(segment(1, 0, 10), segment(1, 0, 20)), std::nullopt);
  EXPECT_EQ(condemned.first_wal(segment(1, 0, 30), std::nullopt), std::nullopt);
  EXPECT_EQ(condemned.first_wal(segment(3, 0, 0), std::nullopt), std::nullopt);
}

TEST(CheckReferencesTest, only_backups_that_exist_and_stay_may_be_referred_to) {  // T37
  TinyRepo tiny;
  BackupId good = *tiny.back_up({{"a", tiny_content(1, 100)}});
  EXPECT_TRUE(check_references(tiny.repo, {good}));
  EXPECT_TRUE(check_references(tiny.repo, {}));

  auto missing = check_references(tiny.repo, {good, tiny.new_id()});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::precondition);

  BackupId aborted = *tiny.back_up({{"a", tiny_content(1, 100)}}, std::nullopt, {}, BackupState::aborted);
  EXPECT_EQ(check_references(tiny.repo, {aborted}).error().kind, ErrorKind::precondition);

  Tombstone stone;
  stone.created = {tiny.clock.unix_us()};
  stone.grace_us = 3600;
  stone.backups = {good};
  ASSERT_TRUE(write_tombstone(tiny.repo, stone));
  EXPECT_EQ(check_references(tiny.repo, {good}).error().kind, ErrorKind::precondition);
}

}  // namespace
}  // namespace lifeboat::repo
