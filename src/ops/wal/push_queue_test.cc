#include "ops/wal/push_queue.h"

#include <gtest/gtest.h>

#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using testing::at;

class PushQueueTest : public testing::WalFixture {
 protected:
  WalGap gap(uint64_t from, uint64_t to, uint32_t timeline = 1) const {
    return {{timeline}, {from}, {to}, at(static_cast<double>(from >> 20)), "", "the store was away"};
  }
  Status drop(const WalGap& one) { return note_dropped(directory_.path(), "main", line_, one); }
  std::vector<WalGap> noted() { return *read_dropped(directory_.path(), "main", line_); }
  TempDir directory_ = *TempDir::make();
  Lineage line_ = testing::test_lineage();
};

TEST_F(PushQueueTest, what_adjoins_becomes_one_gap) {  // T27
  ASSERT_TRUE(drop(gap(0x1000000, 0x2000000)));
  ASSERT_TRUE(drop(gap(0x2000000, 0x3000000)));
  ASSERT_TRUE(drop(gap(0x2000000, 0x3000000)));  // the archiver was ended before it was told
  ASSERT_TRUE(drop(gap(0x5000000, 0x6000000)));
  ASSERT_TRUE(drop(gap(0x6000000, 0x7000000, 2)));
  auto gaps = noted();
  ASSERT_EQ(gaps.size(), 3u);
  EXPECT_EQ(gaps[0].from, Lsn{0x1000000});
  EXPECT_EQ(gaps[0].to, Lsn{0x3000000});
  EXPECT_EQ(gaps[1].from, Lsn{0x5000000});
  EXPECT_EQ(gaps[2].timeline, Timeline{2});
}

TEST_F(PushQueueTest, it_is_recorded_once_and_the_note_goes) {  // T27
  ASSERT_TRUE(report_dropped(lineage().repo, directory_.path(), "main", line_));
  ASSERT_TRUE(drop(gap(0x1000000, 0x2000000)));
  ASSERT_TRUE(report_dropped(lineage().repo, directory_.path(), "main", line_));
  ASSERT_TRUE(report_dropped(lineage().repo, directory_.path(), "main", line_));
  EXPECT_TRUE(noted().empty());
  auto gaps = read_gaps(lineage().repo);
  ASSERT_TRUE(gaps);
  ASSERT_EQ(gaps->size(), 1u);
  EXPECT_EQ(gaps->front().reason, "the store was away");
}

TEST_F(PushQueueTest, a_note_that_cannot_be_understood_drops_nothing) {
  ASSERT_TRUE(write_file_durable(dropped_path(directory_.path(), "main", line_), as_bytes("?"), 0600));
  EXPECT_EQ(drop(gap(0x1000000, 0x2000000)).error().kind, ErrorKind::damaged);
  auto absent = note_dropped(directory_.path() + "/absent", "main", line_, gap(0x1000000, 0x2000000));
  EXPECT_FALSE(absent);
}

TEST_F(PushQueueTest, only_what_waiting_could_mend_is_dropped) {
  auto segment = *WalFileName::parse("000000010000000000000001");
  for (ErrorKind kind : {ErrorKind::unavailable, ErrorKind::space, ErrorKind::permission, ErrorKind::timeout,
                         ErrorKind::not_found, ErrorKind::failed, ErrorKind::wrong_key})
    EXPECT_TRUE(may_be_dropped(segment, make_error(kind, "", ""))) << info(kind).id;
  for (ErrorKind kind : {ErrorKind::usage, ErrorKind::config, ErrorKind::precondition, ErrorKind::foreign,
                         ErrorKind::conflict, ErrorKind::cancelled})
    EXPECT_FALSE(may_be_dropped(segment, make_error(kind, "", ""))) << info(kind).id;
  auto history = *WalFileName::parse("00000002.history");
  EXPECT_FALSE(may_be_dropped(history, make_error(ErrorKind::unavailable, "", "")));
}

TEST_F(PushQueueTest, segments_that_wait_are_counted) {
  ASSERT_TRUE(create_dirs(directory_ / "archive_status", 0700));
  for (const char* name : {"000000010000000000000001.ready", "000000010000000000000002.ready",
                           "000000010000000000000003.done", "00000002.history.ready"})
    ASSERT_TRUE(write_file_durable(directory_ / (std::string("archive_status/") + name), {}, 0600));
  EXPECT_EQ(*waiting_segments(directory_.path()), 2u);
}

}  // namespace
}  // namespace lifeboat::ops
