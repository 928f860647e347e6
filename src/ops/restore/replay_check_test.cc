// What the reading of WAL beside its replay finds, and what the gate hands out meanwhile.
#include "ops/restore/replay_check.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "ops/wal/gate.h"
#include "tests/support/wal_fixture.h"
#include "util/clock.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using testing::at;
using ::testing::HasSubstr;
using testing::name_of;
using testing::Wal;

class ReplayCheckTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    WalFixture::SetUp();
    directory_ = scratch_ / "data";
    for (const char* name : {"", "/pg_wal", "/pg_tblspc"}) ASSERT_TRUE(create_dirs(directory_ + name, 0700));
    options_.directory = directory_;
    repo::Card& card = options_.backup;
    card.id = BackupId::make(at(0), 1);
    card.timeline = {1};
    card.start_lsn = wal_.checkpoint(at(1));
    wal_.fill(1000);
    card.stop_lsn = wal_.end();
    options_.timeline = {1};
  }
  Lsn commit(double seconds) {
    Lsn lsn = wal_.commit(xid_++, at(seconds));
    wal_.fill(1000);
    wal_.end_segment();
    return lsn;
  }
  void begin() {
    store_segments(1, 1, wal_.last_index(), wal_);
    options_.stop = wal_.end();
    auto checking = ReplayCheck::begin(lineage(), options_);
    ASSERT_TRUE(checking) << checking.error().to_string();
    checking_ = std::move(*checking);
  }
  Result<WalComes> get(uint64_t index) {
    const SegmentName name = name_of(1, index);
    return wait_at_gate(directory_ + "/pg_wal/" + name.to_string(), name);
  }

  TempDir scratch_ = *TempDir::make();
  std::string directory_;
  ReplayCheckOptions options_;
  Wal wal_;
  uint32_t xid_ = 700;
  std::unique_ptr<ReplayCheck> checking_;
};

// T31: PostgreSQL ends recovery at the first commit behind the target, whatever earlier times follow.
TEST_F(ReplayCheckTest, a_commit_time_that_goes_back_ends_recovery_earlier_than_planned) {
  commit(10);
  Lsn ahead = commit(1000);
  for (double seconds : {20.0, 30.0, 40.0}) commit(seconds);
  options_.asked.kind = pg::TargetKind::time;
  options_.asked.time = at(35);
  begin();
  auto stop = checking_->stop();
  ASSERT_TRUE(stop) << stop.error().to_string();
  EXPECT_EQ(*stop, ahead);
  EXPECT_TRUE(get(wal_.last_index())) << "recovery ends before it; whoever asks is not kept waiting";
}

// What is read to find that end is not put there.
TEST_F(ReplayCheckTest, an_earlier_end_is_looked_for_behind_what_was_put_into_pg_wal) {
  commit(10);
  Lsn ahead = commit(1000);
  for (int i = 0; i < 40; ++i) commit(20 + i * 0.1);
  options_.asked.kind = pg::TargetKind::time;
  options_.asked.time = at(35);
  PlacingOptions& placing = options_.placing.emplace();
  placing.directory = scratch_ / "placed";
  placing.owner = {"", getuid(), getgid()};
  placing.needless = [](const pg::WalRecord&) { return false; };
  begin();
  auto stop = checking_->stop();
  ASSERT_TRUE(stop) << stop.error().to_string();
  EXPECT_EQ(*stop, ahead);
}

TEST_F(ReplayCheckTest, nothing_strange_ends_where_it_was_planned) {
  for (double seconds : {10.0, 20.0, 30.0}) commit(seconds);
  begin();
  auto stop = checking_->stop();
  ASSERT_TRUE(stop) << stop.error().to_string();
  EXPECT_EQ(*stop, options_.stop);
  EXPECT_TRUE(checking_->raised().empty());
  EXPECT_TRUE(get(3));
}

// T11: nothing of a segment reaches the server before all of it was judged.
TEST_F(ReplayCheckTest, what_is_put_into_pg_wal_was_judged_before) {
  TempDir live = *TempDir::make();
  ASSERT_TRUE(write_file_durable(live / "file", as_bytes("x"), 0600));
  commit(10);
  Bytes data;
  ByteWriter(data).u32(16400);
  for (char c : live.path()) data.push_back(static_cast<uint8_t>(c));
  data.push_back(0);
  wal_.builder().add({.rmgr = 5, .info = 0x00, .xid = 701, .body = pg::testing::main_data(data)});
  for (double seconds : {20.0, 30.0, 40.0}) commit(seconds);
  PlacingOptions& placing = options_.placing.emplace();
  placing.directory = scratch_ / "placed";
  placing.owner = {"", getuid(), getgid()};
  placing.needless = [](const pg::WalRecord&) { return false; };
  begin();
  while (!checking_->ended()) Clock::system().sleep_us(1000);
  auto stop = checking_->stop();
  ASSERT_FALSE(stop);
  EXPECT_EQ(stop.error().kind, ErrorKind::precondition) << stop.error().to_string();
  EXPECT_TRUE(*path_exists(directory_ + "/pg_wal/" + name_of(1, 1).to_string()));
  EXPECT_FALSE(*path_exists(directory_ + "/pg_wal/" + name_of(1, 2).to_string()));
  EXPECT_FALSE(*path_exists(scratch_ / "placed/" + name_of(1, 2).to_string()));
  EXPECT_FALSE(get(2));
}

// The first segment is what a first answer needs; what is broken behind it is never handed out.
TEST_F(ReplayCheckTest, what_is_damaged_is_held_back_and_what_comes_before_is_not) {
  for (double seconds : {10.0, 20.0, 30.0}) commit(seconds);
  store_segments(1, 1, 1, wal_);
  Bytes broken = wal_.segment(2);
  broken[broken.size() / 2] ^= 1;
  broken[100] ^= 1;
  store_file(name_of(1, 2).to_string(), broken);
  options_.stop = wal_.end();
  store_segments(1, 3, wal_.last_index(), wal_);
  auto checking = ReplayCheck::begin(lineage(), options_);
  ASSERT_TRUE(checking) << checking.error().to_string();
  checking_ = std::move(*checking);
  EXPECT_TRUE(get(1));
  auto stop = checking_->stop();
  EXPECT_FALSE(stop);
  EXPECT_TRUE(checking_->ended());
  auto refused = get(3);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::precondition);
  EXPECT_THAT(refused.error().to_string(), HasSubstr(name_of(1, 3).to_string()));
}

// Nobody reads for a server that is left alone: it must not replay what nobody looked at.
TEST_F(ReplayCheckTest, what_was_not_read_is_not_handed_out_when_the_reading_is_ended) {
  for (double seconds : {10.0, 20.0, 30.0}) commit(seconds);
  begin();
  EXPECT_TRUE(get(1));
  checking_.reset();  // before the server answered: it reads no further until then
  auto refused = get(3);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::precondition);
}

}  // namespace
}  // namespace lifeboat::ops
