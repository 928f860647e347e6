#include "ops/wal/gap.h"

#include <gtest/gtest.h>

#include "repo/evidence.h"
#include "tests/support/wal_fixture.h"

namespace lifeboat::ops {
namespace {

using testing::at;

class GapTest : public testing::WalFixture {};

TEST_F(GapTest, what_was_recorded_is_read_in_order_of_time) {  // T27
  ASSERT_TRUE(
      record_gap(lineage().repo, {{2}, {0x2000000}, {0x5000000}, at(20), "lifeboat_main", "removed"}));
  ASSERT_TRUE(
      record_gap(lineage().repo, {{1}, {0x1000000}, {0x3000000}, at(10), "lifeboat_main", "removed"}));
  auto gaps = read_gaps(lineage().repo);
  ASSERT_TRUE(gaps) << gaps.error().to_string();
  ASSERT_EQ(gaps->size(), 2u);
  EXPECT_EQ(gaps->front().timeline, Timeline{1});
  EXPECT_EQ(gaps->front().from, Lsn{0x1000000});
  EXPECT_EQ(gaps->back().to, Lsn{0x5000000});
  EXPECT_EQ(gaps->back().noticed, at(20));
  EXPECT_EQ(gaps->back().reason, "removed");
}

TEST_F(GapTest, other_evidence_and_records_of_another_shape_are_none) {
  for (const char* text : {R"({"kind":"drill"})", R"({"kind":"wal_gap"})", "not JSON"}) {
    ASSERT_TRUE(repo::write_evidence(lineage().repo, at(1), text));
  }
  auto gaps = read_gaps(lineage().repo);
  ASSERT_TRUE(gaps);
  EXPECT_TRUE(gaps->empty());
}

}  // namespace
}  // namespace lifeboat::ops
