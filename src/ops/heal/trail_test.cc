// The audit trail of healing (SH1).
#include "ops/heal/trail.h"

#include <gtest/gtest.h>

#include <fstream>

namespace lifeboat::ops {
namespace {

HealRecord record(const std::string& id, int64_t seconds) {
  HealRecord made;
  made.id = id;
  made.action = "archiver";
  made.object = "process 17";
  made.finding = "archiver_stuck";
  made.saw = "process 17 has run for 9 min";
  made.cites = {"signal wal_archive_lag"};
  made.began = Timestamp::from_seconds(seconds);
  made.user = "postgres";
  made.host = "db1";
  made.pid = 99;
  made.tool_version = "1";
  return made;
}

class HealTrailTest : public ::testing::Test {
 protected:
  TempDir dir_ = *TempDir::make();
  std::string path_ = HealJournal::path_in(dir_.path(), "main");
};

TEST_F(HealTrailTest, what_was_begun_is_there_after_a_crash_and_what_ended_replaces_it) {
  {
    auto journal = HealJournal::open(path_);
    ASSERT_TRUE(journal);
    ASSERT_TRUE(journal->begin(record("a", 1)));
  }
  auto read = HealJournal::read(path_);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 1u);
  EXPECT_EQ(read->front().outcome, HealOutcome::begun);
  EXPECT_EQ(read->front().saw, "process 17 has run for 9 min");
  auto journal = HealJournal::open(path_);
  ASSERT_TRUE(journal);
  HealRecord ended = journal->records().front();
  ended.outcome = HealOutcome::failed;
  ended.did = {"ended process 17"};
  ended.says = "it came back";
  ended.ended = Timestamp::from_seconds(5);
  ASSERT_TRUE(journal->end(ended));
  read = HealJournal::read(path_);
  ASSERT_EQ(read->size(), 1u);
  EXPECT_EQ(read->front().outcome, HealOutcome::failed);
  EXPECT_EQ(read->front().did, ended.did);
  EXPECT_EQ(read->front().ended, ended.ended);
}

TEST_F(HealTrailTest, two_do_not_act_at_once) {
  auto journal = HealJournal::open(path_);
  ASSERT_TRUE(journal);
  auto second = HealJournal::open(path_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::busy);
}

TEST_F(HealTrailTest, a_torn_line_costs_itself_alone) {
  {
    auto journal = HealJournal::open(path_);
    ASSERT_TRUE(journal->begin(record("a", 1)));
  }
  {
    std::ofstream file(path_, std::ios::app);
    file << R"({"format":1,"kind":"heal","id":"b)";
  }
  {
    auto journal = HealJournal::open(path_);
    ASSERT_TRUE(journal);
    ASSERT_TRUE(journal->begin(record("c", 3)));
  }
  auto read = HealJournal::read(path_);
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[1].id, "c");
}

TEST_F(HealTrailTest, without_a_directory_to_write_to_nothing_is_opened) {
  EXPECT_FALSE(HealJournal::open("/proc/heal/heal-main.jsonl"));
  auto read = HealJournal::read(dir_ / "none");
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->empty());
}

TEST_F(HealTrailTest, trails_are_merged_by_id_and_time) {
  auto merged = merge_trails({record("b", 2), record("c", 3)}, {record("a", 1), record("b", 2)});
  ASSERT_EQ(merged.size(), 3u);
  EXPECT_EQ(merged[0].id, "a");
  EXPECT_EQ(merged[2].id, "c");
}

}  // namespace
}  // namespace lifeboat::ops
