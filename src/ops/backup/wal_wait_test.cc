// The backup's own WAL: what of pg_wal may be stored, and that it is checked as `wal push` checks it.
#include "ops/backup/wal_wait.h"

#include <gmock/gmock.h>

#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using testing::at;
using ::testing::HasSubstr;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

class WalWaitTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    WalFixture::SetUp();
    start_ = wal_.checkpoint(at(1));
    wal_.fill(1000);
    Bytes data;
    testing::append_u64(data, start_.value);
    wal_.builder().add({.rmgr = 0, .info = 0x50, .xid = 0, .body = pg::testing::main_data(data)});
    stop_ = wal_.end();
    wal_.end_segment();
  }
  void lay(const std::string& name, ByteView content) {
    ASSERT_TRUE(write_file_durable(pg_wal_ / name, content, 0600));
  }
  void lay_segment(uint32_t timeline, const Bytes& content) {
    lay(name_of(timeline, 1).to_string(), content);
  }
  Result<WalOutcome> require(uint32_t timeline = 1) {
    WalDirectory directory(pg_wal_.path());
    WalRequest request;
    request.pg_wal = &directory;
    request.where = pg_wal_.path();
    request.standby = standby_;
    request.timeline = {timeline};
    request.start = start_;
    request.stop = stop_;
    request.timeout_us = 0;
    SilentReporter reporter;
    StopToken stop;
    return require_wal(lineage(), request, reporter, stop);
  }
  Error refused(uint32_t timeline = 1) {
    auto outcome = require(timeline);
    EXPECT_FALSE(outcome);
    EXPECT_FALSE(stored(timeline)) << "was stored all the same";
    return outcome ? Error() : outcome.error();
  }
  bool stored(uint32_t timeline = 1) {
    auto found = wal_store().find(*WalFileName::parse(name_of(timeline, 1).to_string()));
    return found && *found;
  }

  TempDir pg_wal_ = TempDir::make("lifeboat-wal-wait-test").value();
  bool standby_ = false;
  Wal wal_;
  Lsn start_;
  Lsn stop_;
};

TEST_F(WalWaitTest, a_finished_segment_is_stored_from_pg_wal) {  // T03
  lay_segment(1, wal_.segment(1));
  auto outcome = require();
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->segments, 1u);
  EXPECT_EQ(outcome->stored_by_us, 1u);
}

TEST_F(WalWaitTest, a_standbys_segment_is_stored_once_the_next_has_begun) {  // T03
  standby_ = true;
  lay_segment(1, wal_.segment(1));
  EXPECT_THAT(refused().hint, HasSubstr("--primary"));
  Wal later(Lsn{3 * kSegment});
  later.fill(1000);
  lay(name_of(1, 2).to_string(), later.segment(3));  // recycled
  EXPECT_EQ(refused().kind, ErrorKind::timeout);
  Wal next(Lsn{2 * kSegment});
  next.fill(1000);
  lay(name_of(1, 2).to_string(), next.segment(2));
  auto outcome = require();
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->stored_by_us, 1u);
}

TEST_F(WalWaitTest, only_a_standby_needs_no_end_record) {
  Wal without;
  start_ = without.checkpoint(at(1));
  without.fill(1000);
  stop_ = without.end();
  without.end_segment();
  store_file(name_of(1, 1).to_string(), without.segment(1));
  auto primary = require();
  ASSERT_FALSE(primary);
  EXPECT_EQ(primary.error().kind, ErrorKind::damaged);
  standby_ = true;
  auto outcome = require();
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->segments, 1u);
}

TEST_F(WalWaitTest, a_recycled_file_is_not_the_segment) {
  Wal later(Lsn{2 * kSegment});
  later.fill(1000);
  lay_segment(1, later.segment(2));
  EXPECT_EQ(refused().kind, ErrorKind::timeout);
}

TEST_F(WalWaitTest, a_segment_of_another_cluster_or_major_is_refused) {  // T26
  Bytes bytes = wal_.segment(1);
  bytes[24] ^= 1;  // xlp_sysid
  lay_segment(1, bytes);
  EXPECT_EQ(refused().kind, ErrorKind::foreign);
  bytes = wal_.segment(1);
  store_le(bytes.data(), pg::find_version(16)->wal_magic);
  lay_segment(1, bytes);
  EXPECT_EQ(refused().kind, ErrorKind::foreign);
}

TEST_F(WalWaitTest, a_segment_of_a_later_timeline_than_its_name_is_refused) {
  Bytes bytes = wal_.segment(1);
  store_le(bytes.data() + 4, uint32_t{3});
  lay_segment(1, bytes);
  EXPECT_THAT(refused().to_string(), HasSubstr("belongs to timeline 3"));
}

TEST_F(WalWaitTest, a_segment_that_contradicts_a_stored_partial_is_refused) {  // T46
  Wal other;
  other.commit(900, at(90));
  store_file(cat(name_of(1, 1).to_string(), ".partial"), other.segment(1));
  lay_segment(1, wal_.segment(1));
  EXPECT_EQ(refused().kind, ErrorKind::conflict);
}

TEST_F(WalWaitTest, a_timeline_whose_history_contradicts_the_stored_one_is_refused) {  // T23
  auto root = pg::TimelineHistory::root({1});
  store_history(root.branch({2}, Lsn{kSegment / 2}, "theirs"));
  lay("00000002.history", as_bytes(root.branch({2}, Lsn{kSegment / 4}, "ours").to_text()));
  wal_.promote({2});
  lay_segment(2, wal_.segment(1));
  EXPECT_EQ(refused(2).kind, ErrorKind::conflict);
}

}  // namespace
}  // namespace lifeboat::ops
