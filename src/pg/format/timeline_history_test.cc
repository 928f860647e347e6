#include "pg/format/timeline_history.h"

#include <gtest/gtest.h>

namespace lifeboat::pg {
namespace {

constexpr Lsn kA{0x5000000};
constexpr Lsn kB{0x9000028};

TimelineHistory parse_ok(uint32_t target, std::string_view text) {
  auto history = TimelineHistory::parse({target}, text);
  EXPECT_TRUE(history) << history.error().to_string();
  return history ? *history : TimelineHistory::root({target});
}

TEST(TimelineHistory, as_a_server_writes_it_is_read) {
  // The blank line comes from copying the parent's file.
  TimelineHistory history =
      parse_ok(3, "1\t0/5000000\tno recovery target specified\n\n2\t0/9000028\tat time\n");
  ASSERT_EQ(history.ancestors().size(), 2u);
  EXPECT_EQ(history.ancestors()[0], (TimelineSwitch{{1}, kA, "no recovery target specified"}));
  EXPECT_EQ(history.ancestors()[1], (TimelineSwitch{{2}, kB, "at time"}));
}

TEST(TimelineHistory, comments_blank_lines_blanks_and_a_missing_line_end_are_tolerated) {
  TimelineHistory history = parse_ok(7, "# a comment\n\n  \t\n   # another\n  1   0/5000000\r\n4\t0/9000028");
  ASSERT_EQ(history.ancestors().size(), 2u);
  EXPECT_EQ(history.ancestors()[0], (TimelineSwitch{{1}, kA, ""}));
  EXPECT_EQ(history.ancestors()[1], (TimelineSwitch{{4}, kB, ""}));
  EXPECT_TRUE(parse_ok(2, "").ancestors().empty());
}

TEST(TimelineHistory, what_postgresql_refuses_is_damage) {
  for (std::string_view text :
       {"one\t0/5000000\tx\n", "1\n", "1\tfive\n", "1\t5000000\n", "2\t0/1\tx\n1\t0/2\tx\n",
        "1\t0/1\tx\n1\t0/2\tx\n", "3\t0/1\tx\n", "9\t0/1\tx\n", "-1\t0/1\n", "99999999999\t0/1\n"}) {
    auto history = TimelineHistory::parse({3}, text);
    ASSERT_FALSE(history) << text;
    EXPECT_EQ(history.error().kind, ErrorKind::damaged) << text;
    EXPECT_EQ(history.error().object, "00000003.history");
  }
  EXPECT_FALSE(TimelineHistory::parse({0}, ""));
}

TEST(TimelineHistory, printed_and_read_again_is_the_same) {
  TimelineHistory history =
      TimelineHistory::root({1}).branch({2}, kA, "no recovery target specified").branch({5}, kB, "");
  EXPECT_EQ(history.to_text(), "1\t0/5000000\tno recovery target specified\n\n2\t0/9000028\t\n");
  EXPECT_EQ(parse_ok(5, history.to_text()), history);
  EXPECT_EQ(TimelineHistory::root({1}).to_text(), "");
}

TEST(TimelineHistory, the_byte_at_a_switch_belongs_to_the_newer_timeline) {
  TimelineHistory history = parse_ok(4, "1\t0/5000000\n2\t0/9000028\n");
  EXPECT_EQ(history.owner({0}), Timeline{1});
  EXPECT_EQ(history.owner({kA.value - 1}), Timeline{1});
  EXPECT_EQ(history.owner(kA), Timeline{2});
  EXPECT_EQ(history.owner({kB.value - 1}), Timeline{2});
  EXPECT_EQ(history.owner(kB), Timeline{4});
  EXPECT_EQ(TimelineHistory::root({1}).owner(kA), Timeline{1});
}

TEST(TimelineHistory, a_position_is_on_it_up_to_and_at_the_fork) {  // T16
  TimelineHistory history = parse_ok(4, "1\t0/5000000\n2\t0/9000028\n");
  EXPECT_TRUE(history.contains({1}, {kA.value - 1}));
  EXPECT_TRUE(history.contains({1}, kA));
  EXPECT_FALSE(history.contains({1}, {kA.value + 1})) << "only the old timeline has this";
  EXPECT_FALSE(history.contains({2}, {kA.value - 1})) << "2 began later";
  EXPECT_TRUE(history.contains({2}, kA));
  EXPECT_TRUE(history.contains({2}, kB));
  EXPECT_FALSE(history.contains({3}, kB)) << "a sibling";
  EXPECT_TRUE(history.contains({4}, {UINT64_MAX}));
  EXPECT_TRUE(history.has({2}));
  EXPECT_FALSE(history.has({3}));
  EXPECT_EQ(history.begin_of({1}), Lsn{0});
  EXPECT_EQ(history.begin_of({4}), kB);
  EXPECT_EQ(history.begin_of({3}), std::nullopt);
  EXPECT_EQ(history.end_of({1}), kA);
  EXPECT_EQ(history.end_of({4}), std::nullopt);
  EXPECT_EQ(history.end_of({3}), std::nullopt);
}

TEST(TimelineHistory, a_recovery_that_stopped_before_its_timeline_began_leaves_all_above) {
  // Target timeline 2, stopped while still on 1: the server writes both lines all the same.
  TimelineHistory history = parse_ok(3, "1\t0/9000028\n2\t0/5000000\n");
  EXPECT_EQ(history.owner({kA.value - 1}), Timeline{1});
  EXPECT_EQ(history.owner(kA), Timeline{3});
  EXPECT_EQ(history.owner(kB), Timeline{3});
  EXPECT_EQ(history.end_of({1}), kA);
  EXPECT_TRUE(history.contains({1}, kA));
  EXPECT_FALSE(history.contains({1}, {kA.value + 8}));
  EXPECT_FALSE(history.contains({2}, kB));
}

}  // namespace
}  // namespace lifeboat::pg
