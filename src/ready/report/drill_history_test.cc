#include "ready/report/drill_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lifeboat::ready {
namespace {

using testing::DoubleEq;
using testing::DoubleNear;
using testing::HasSubstr;
using testing::Optional;

constexpr int64_t kDaySeconds = 86400;

Rehearsal drill(int64_t days_ago, std::optional<double> rto) {
  Rehearsal made;
  made.time = Timestamp::from_seconds(1'800'000'000 - days_ago * kDaySeconds);
  made.passed = true;
  made.rto_seconds = rto;
  return made;
}

TEST(DrillHistoryTest, a_rising_rto_says_when_it_reaches_its_target) {
  DrillHistory history = judge_drills({drill(0, 100), drill(1, 90), drill(2, 80), drill(3, 70)}, 130, {});
  EXPECT_EQ(history.rto.measured, 4U);
  EXPECT_THAT(history.rto.newest, Optional(DoubleEq(100)));
  EXPECT_THAT(history.rto.median, Optional(DoubleEq(80)));
  EXPECT_THAT(history.rto.slowest, Optional(DoubleEq(100)));
  EXPECT_EQ(history.rto.missed, 0U);
  EXPECT_THAT(history.rto.trend.per_day, Optional(DoubleNear(10, 0.01)));
  EXPECT_THAT(history.rto.trend.reaches_critical_seconds, Optional(DoubleNear(3 * kDaySeconds, 60)));
  EXPECT_THAT(describe_trend(history.rto), HasSubstr("reaches the target in 72 h"));
}

TEST(DrillHistoryTest, a_failed_drill_is_counted_and_not_measured) {
  Rehearsal failed = drill(0, 1);
  failed.passed = false;
  DrillHistory history = judge_drills({failed, drill(1, 90)}, {}, {});
  EXPECT_EQ(history.failed, 1U);
  EXPECT_EQ(history.rto.measured, 1U);
  EXPECT_THAT(history.rto.newest, Optional(DoubleEq(90)));
  EXPECT_EQ(history.rto.median, std::nullopt);
}

TEST(DrillHistoryTest, without_a_target_that_of_the_newest_drill_which_had_one_counts) {
  Rehearsal older = drill(2, 50);
  older.rto_target_seconds = 60;
  Rehearsal oldest = drill(3, 70);
  oldest.rto_target_seconds = 1000;
  DrillHistory history = judge_drills({drill(1, 61), older, oldest}, {}, {});
  EXPECT_THAT(history.rto.target, Optional(DoubleEq(60)));
  EXPECT_EQ(history.rto.missed, 2U);
}

TEST(DrillHistoryTest, what_hardly_moves_is_steady_and_two_drills_are_no_trend) {
  EXPECT_EQ(describe_trend(judge_drills({drill(0, 100), drill(1, 100.1), drill(2, 100)}, {}, {}).rto),
            "steady");
  DrillHistory two = judge_drills({drill(0, 100), drill(1, 10)}, {}, {});
  EXPECT_EQ(two.rto.trend.per_day, std::nullopt);
  EXPECT_THAT(describe_trend(two.rto), HasSubstr("not known"));
  EXPECT_EQ(two.rpo.newest, std::nullopt);
}

}  // namespace
}  // namespace lifeboat::ready
