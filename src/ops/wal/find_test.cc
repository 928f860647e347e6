#include "ops/wal/find.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/wal/survey.h"
#include "tests/support/wal_fixture.h"

namespace lifeboat::ops {
namespace {

using testing::at;
using ::testing::HasSubstr;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

TEST(FindThreshold, is_a_number_of_rows_or_a_share) {
  EXPECT_EQ(RowThreshold::parse("5000")->rows, 5000u);
  EXPECT_EQ(RowThreshold::parse("90%")->percent, 90);
  for (const char* text : {"", "0", "0%", "101%", "-5", "many", "5 %", "%"}) {
    EXPECT_FALSE(RowThreshold::parse(text)) << text;
  }
}

FoundTable table(std::string name) {
  FoundTable found;
  found.database_oid = 5;
  found.database = "app";
  found.schema = "shop";
  found.table = std::move(name);
  found.file = 16390;
  return found;
}

TEST(FindText, says_what_is_known_of_a_name) {
  EXPECT_EQ(table("orders").to_string(), "shop.orders in database app");
  EXPECT_EQ(table("").to_string(), "the relation in file 16390 of database app, whose name is not known");
  FoundTable nameless = table("");
  nameless.database = "";
  EXPECT_THAT(nameless.to_string(), HasSubstr("database with oid 5"));
  EXPECT_EQ(table("a\nb").to_string(), "shop.a?b in database app");
}

TEST(FindText, tells_deeds_with_their_size) {
  WalFinding finding;
  finding.changed.push_back(table("orders"));
  finding.changed[0].rows = {0, 0, 900};
  finding.changed[0].rows_before = 1000;
  EXPECT_EQ(finding.to_string(), "deleted 900 rows in shop.orders in database app (of about 1000)");
  finding.dropped = {table("a"), table("b")};
  EXPECT_THAT(finding.to_string(), HasSubstr("dropped 2 tables: shop.a in database app, shop.b"));
}

TEST(FindOnly, takes_one_and_never_one_of_several) {
  FindRequest request;
  request.table = "orders";
  FindResult result;
  auto none = only_finding(result, request);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::not_found);
  WalFinding finding;
  finding.xid = 747;
  finding.dropped.push_back(table("orders"));
  result.findings = {finding};
  EXPECT_EQ(only_finding(result, request)->xid, 747u);
  finding.xid = 800;
  result.findings.push_back(finding);
  auto several = only_finding(result, request);
  ASSERT_FALSE(several);
  EXPECT_EQ(several.error().kind, ErrorKind::precondition);
  EXPECT_THAT(several.error().message, HasSubstr("--before-xid 747"));
  EXPECT_THAT(several.error().message, HasSubstr("--before-xid 800"));
  result.findings.pop_back();
  result.left_out = 1;
  EXPECT_FALSE(only_finding(result, request)) << "what is not shown counts";
}

class SurveyTest : public testing::WalFixture {
 protected:
  Survey survey() {
    auto history = WalHistory::load(lineage());
    EXPECT_TRUE(history);
    SilentReporter reporter;
    StopToken stop;
    auto made = survey_wal(lineage(), *history, {1}, {kSegment}, reporter, stop);
    EXPECT_TRUE(made) << made.error().to_string();
    return std::move(*made);
  }

  // A commit in each segment, of which nothing else is there.
  static Wal wal_to(uint64_t last) {
    Wal wal;
    for (uint64_t index = 1; index <= last; ++index) {
      wal.commit(static_cast<uint32_t>(700 + index), at(static_cast<double>(index)));
      wal.end_segment();
    }
    return wal;
  }
};

TEST_F(SurveyTest, goes_on_behind_a_hole_and_says_so) {
  Wal wal = wal_to(8);
  store_segments(1, 1, 3, wal);
  store_segments(1, 6, 8, wal);
  Survey made = survey();
  ASSERT_EQ(made.segments.size(), 6u);
  EXPECT_EQ(made.segments[3].index, 6u);
  EXPECT_EQ(made.paths.size(), 2u);
  ASSERT_EQ(made.ends.size(), 6u);
  EXPECT_EQ(made.ends.back().xid, 708u);
  EXPECT_EQ(made.ends.back().time, at(8));
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_THAT(made.notes[0], HasSubstr(name_of(1, 4).to_string()));
  EXPECT_EQ(made.path_at({4 * uint64_t{kSegment} + 5}), nullptr);
  EXPECT_NE(made.path_at({6 * uint64_t{kSegment} + 5}), nullptr);
}

TEST_F(SurveyTest, takes_stored_summaries_the_second_time) {
  store_segments(1, 1, 4, wal_to(4));
  Survey first = survey();
  EXPECT_EQ(first.summaries, 0u);
  EXPECT_GT(first.wal_bytes, 0u);
  Survey second = survey();
  EXPECT_EQ(second.summaries, 4u);
  EXPECT_EQ(second.wal_bytes, 0u);
  EXPECT_EQ(second.ends, first.ends);
}

TEST_F(SurveyTest, passes_over_a_damaged_segment) {
  Wal wal = wal_to(5);
  store_segments(1, 1, 2, wal);
  Bytes bad = wal.segment(3);
  bad[100] ^= 4;
  store_file(name_of(1, 3).to_string(), bad);
  store_segments(1, 4, 5, wal);
  Survey made = survey();
  ASSERT_EQ(made.notes.size(), 1u);
  std::vector<uint32_t> xids;
  for (const pg::NotedEnd& end : made.ends) xids.push_back(end.xid);
  EXPECT_EQ(xids, (std::vector<uint32_t>{701, 702, 704, 705}));
}

}  // namespace
}  // namespace lifeboat::ops
