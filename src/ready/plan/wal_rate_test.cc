#include "ready/plan/wal_rate.h"

#include <gtest/gtest.h>

namespace lifeboat::ready {
namespace {

constexpr double kDay = 86'400;

TEST(WalRate, is_that_of_the_most_trusted_witness_of_a_day) {
  const WalRate rate = best_wal_rate({{"the repository", 3e9, kDay / 2},
                                      {"pg_stat_wal", 40e9, 4 * kDay},
                                      {"pg_stat_archiver", 900e9, 90 * kDay}});
  EXPECT_DOUBLE_EQ(*rate.bytes_per_day, 10e9);
  EXPECT_EQ(rate.how, "pg_stat_wal, the last 4 days");
  EXPECT_FALSE(rate.weak);
}

TEST(WalRate, of_less_than_a_day_is_the_longest_and_weak) {
  const WalRate rate = best_wal_rate({{"pg_stat_wal", 1e9, 3'600}, {"a sample", 30e6, 3}});
  EXPECT_DOUBLE_EQ(*rate.bytes_per_day, 24e9);
  EXPECT_EQ(rate.how, "pg_stat_wal, the last 1 h 00 min");
  EXPECT_TRUE(rate.weak);
}

TEST(WalRate, of_a_witness_that_may_not_have_looked_all_the_time_is_weak) {
  const WalRate rate = best_wal_rate({{"pg_stat_archiver", 10e9, 10 * kDay, false}});
  EXPECT_DOUBLE_EQ(*rate.bytes_per_day, 1e9);
  EXPECT_TRUE(rate.weak);
  EXPECT_NE(rate.how.find("if it has counted all that time"), std::string::npos) << rate.how;
}

TEST(WalRate, of_an_idle_moment_is_unknown_and_never_0) {
  for (const double bytes : {0.0, 500.0}) {
    const WalRate rate = best_wal_rate({{"pg_stat_wal", bytes, 7'200}, {"a sample", 1e6, 3}});
    EXPECT_FALSE(rate.bytes_per_day);
    EXPECT_TRUE(rate.how.starts_with("not measured long enough")) << rate.how;
    EXPECT_NE(rate.how.find("in 2 h 00 min, by pg_stat_wal"), std::string::npos) << rate.how;
  }
  EXPECT_FALSE(best_wal_rate({{"pg_stat_wal", 0, 3 * kDay}}).bytes_per_day) << "a load is still to come";
}

TEST(WalRate, without_a_witness_has_nothing_to_say) {
  EXPECT_FALSE(best_wal_rate({}).bytes_per_day);
  EXPECT_EQ(best_wal_rate({}).how, "");
}

}  // namespace
}  // namespace lifeboat::ready
