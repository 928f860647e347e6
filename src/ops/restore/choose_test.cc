// Which backup, how far, and what the WAL up to there does to the copy.
#include "ops/restore/choose.h"

#include <gmock/gmock.h>

#include "ops/catalogue/proof.h"
#include "repo/evidence.h"
#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using ::testing::AllOf;
using testing::at;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

class ChooseTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    WalFixture::SetUp();
    ASSERT_TRUE(repo::write_card(lineage().repo, back_up(0)));
  }
  // Begun at that second; takes one.
  repo::Card back_up(double seconds) {
    repo::Card card;
    card.id = BackupId::make(at(seconds), 1);
    card.started = at(seconds);
    card.stopped = at(seconds + 1);
    card.timeline = {1};
    card.start_lsn = wal_.checkpoint(card.stopped);
    wal_.fill(1000);
    card.stop_lsn = wal_.end();
    return card;
  }
  // A segment with one commit.
  Lsn commit(double seconds) {
    Lsn lsn = wal_.commit(xid_++, at(seconds));
    wal_.fill(1000);
    wal_.end_segment();
    return lsn;
  }
  void create_tablespace(const std::string& location) {
    Bytes data{1, 0, 0, 0};
    data.insert(data.end(), location.begin(), location.end());
    data.push_back(0);
    wal_.builder().add({.rmgr = 5, .info = 0, .xid = 700, .body = pg::testing::main_data(data)});
  }
  void store_all() { store_segments(1, 1, wal_.last_index(), wal_); }
  Result<ChosenBackup> choose(const RecoveryTarget& target = {}) {
    RestoreOptions options;
    options.target = target;
    return choose_backup(lineage(), options, std::nullopt, reporter_, stop_);
  }
  static RecoveryTarget time(double seconds) {
    RecoveryTarget target;
    target.kind = pg::TargetKind::time;
    target.time = at(seconds);
    return target;
  }

  Wal wal_;
  uint32_t xid_ = 700;
  SilentReporter reporter_;
  StopToken stop_;
};

TEST_F(ChooseTest, a_clock_that_was_ahead_for_a_moment_stops_recovery_there) {  // T31
  for (int i = 1; i <= 8; ++i) commit(10.0 * i);
  Lsn ahead = commit(1000);
  for (int i = 9; i <= 40; ++i) commit(10.0 * i);
  store_all();
  for (double s : {85.0, 205.0, 395.0}) {
    auto chosen = choose(time(s));
    ASSERT_TRUE(chosen) << chosen.error().to_string();
    EXPECT_EQ(chosen->reach.stop, ahead) << s;
    EXPECT_EQ(chosen->reach.last_commit, at(80)) << s;
    EXPECT_EQ(chosen->reach.next_commit, at(1000)) << s;
  }
  auto before = choose(time(75));
  ASSERT_TRUE(before) << before.error().to_string();
  EXPECT_EQ(before->reach.last_commit, at(70));
}

TEST_F(ChooseTest, what_recovery_replays_is_what_was_looked_at) {  // T11
  commit(10);
  create_tablespace("/one");
  commit(20);
  create_tablespace("/two");
  create_tablespace("/three");
  wal_.commit(800, at(30));
  store_segments(1, 1, 2, wal_);
  auto early = choose(time(15));
  ASSERT_TRUE(early) << early.error().to_string();
  EXPECT_THAT(early->replayed.tablespaces, ElementsAre("/one"));
  auto all = choose();
  ASSERT_TRUE(all) << all.error().to_string();
  EXPECT_THAT(all->replayed.tablespaces, ElementsAre("/one"));

  // So is what only the unfinished segment holds.
  store_file(name_of(1, 3).to_string() + ".partial", wal_.segment(3));
  all = choose();
  ASSERT_TRUE(all) << all.error().to_string();
  ASSERT_TRUE(all->reach.partial);
  EXPECT_THAT(all->replayed.tablespaces, ElementsAre("/one", "/two", "/three"));
}

TEST_F(ChooseTest, a_place_with_something_in_it_is_refused) {  // T11
  TempDir live = *TempDir::make();
  ReplayedWal replayed;
  replayed.tablespaces = {live.path(), "/nowhere/at/all", ""};
  EXPECT_TRUE(refuse_live_tablespaces(replayed));
  ASSERT_TRUE(write_file_durable(live / "PG_15_202209061", as_bytes("x"), 0600));
  auto refused = refuse_live_tablespaces(replayed);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().object, live.path());
}

// An older one replays more: whoever has to wait is told why, and how not to.
TEST_F(ChooseTest, what_is_known_against_a_newer_backup_is_told) {
  commit(10);
  const repo::Card newer = back_up(11);
  commit(20);
  store_all();
  ASSERT_TRUE(repo::write_card(lineage().repo, newer));
  ProofRecord record;
  record.kind = "drill";
  record.time = at(30);
  record.backups = {{newer.id, ProofLevel::none, false, {"it did not start"}}};
  ASSERT_TRUE(repo::write_evidence(lineage().repo, record.time, encode_proof(record)));
  auto chosen = choose();
  ASSERT_TRUE(chosen) << chosen.error().to_string();
  EXPECT_LT(chosen->card.stop_lsn, newer.stop_lsn);
  EXPECT_THAT(chosen->warnings,
              ElementsAre(AllOf(HasSubstr("it did not start"), HasSubstr(chosen->card.id.text),
                                HasSubstr("--backup " + newer.id.text))));
}

// What a drill said of an older one does not make a newer one whose bytes are broken any better.
TEST_F(ChooseTest, where_all_are_in_doubt_the_one_that_restores_is_taken) {
  const BackupId older = repo::read_cards(lineage().repo)->front().id;
  commit(10);
  const repo::Card newer = back_up(11);
  commit(20);
  store_all();
  ASSERT_TRUE(repo::write_card(lineage().repo, newer));
  auto tell = [&](const BackupId& id, const char* kind, double when, const char* problem) {
    ProofRecord record;
    record.kind = kind;
    record.time = at(when);
    record.backups = {{id, ProofLevel::none, false, {problem}}};
    ASSERT_TRUE(repo::write_evidence(lineage().repo, record.time, encode_proof(record)));
  };
  tell(newer.id, "verify", 30, "frame 73: its seal does not match its content");
  tell(older, "drill", 31, "row counts: it is short of a table");
  auto chosen = choose();
  ASSERT_TRUE(chosen) << chosen.error().to_string();
  EXPECT_EQ(chosen->card.id, older);
  EXPECT_THAT(chosen->warnings, ElementsAre(HasSubstr("short of a table")));
  EXPECT_TRUE(chosen->others.empty()) << "the other one does not restore";
  RestoreOptions asked;
  asked.backup = newer.id;
  auto damaged = choose_backup(lineage(), asked, std::nullopt, reporter_, stop_);
  ASSERT_TRUE(damaged) << damaged.error().to_string();
  EXPECT_THAT(damaged->others, ElementsAre(older)) << "what may be taken instead";
}

TEST_F(ChooseTest, damage_before_the_end_makes_it_unreachable) {
  for (int i = 1; i <= 10; ++i) {
    wal_.fill(300'000);
    commit(10.0 * i);
  }
  for (uint64_t index = 1; index <= wal_.last_index(); ++index) {
    Bytes bytes = wal_.segment(index);
    if (index == 4) bytes[100'000] ^= 1;
    store_file(name_of(1, index).to_string(), bytes);
  }
  auto chosen = choose();
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.error().kind, ErrorKind::unreachable);
  EXPECT_THAT(chosen.error().to_string(), HasSubstr("damaged at"));
  EXPECT_TRUE(choose(time(25)));
}

TEST_F(ChooseTest, an_unfinished_segment_does_not_decide_between_branches) {  // T31
  for (int i = 1; i <= 3; ++i) commit(10.0 * i);
  Wal other = wal_;
  Lsn fork = wal_.end();
  commit(40);
  commit(60);
  other.promote({2});
  other.commit(800, at(50));
  other.commit(801, at(90));
  store_all();
  store_file(name_of(2, 4).to_string() + ".partial", other.segment(4));
  store_history(pg::TimelineHistory::root({1}).branch({2}, fork, "test"));
  auto chosen = choose(time(55));
  ASSERT_FALSE(chosen);
  EXPECT_THAT(chosen.error().to_string(), HasSubstr("different states on 2 branches"));
}

}  // namespace
}  // namespace lifeboat::ops
