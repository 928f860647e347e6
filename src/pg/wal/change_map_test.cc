#include "pg/wal/change_map.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace lifeboat::pg {
namespace {

constexpr ForkId kTable{{1663, 5, 16384}, Fork::main};
constexpr ForkId kIndex{{1663, 5, 16390}, Fork::main};

std::vector<uint32_t> members(const BlockSet& set) {
  std::vector<uint32_t> all;
  uint64_t from = 0;
  while (from <= UINT32_MAX) {
    auto block = set.next(static_cast<uint32_t>(from));
    if (!block) break;
    all.push_back(*block);
    from = uint64_t{*block} + 1;
  }
  return all;
}

// Block numbers as relations have them: runs, a few hot blocks, scattered ones, both ends of the range.
class Numbers {
 public:
  explicit Numbers(uint32_t seed) : random_(seed) {}
  uint32_t next() {
    if (run_left_ > 0) {
      --run_left_;
      return at_ == UINT32_MAX ? at_ : ++at_;
    }
    switch (draw() % 6) {
      case 0:
        run_left_ = draw() % 6000;
        at_ = spread();
        return at_;
      case 1:
        return draw() % 8;
      case 2:
        return (draw() % 4 << 16) + draw() % 3 - (draw() % 2);  // where chunks meet
      case 3:
        return UINT32_MAX - draw() % 3;
      default:
        return spread();
    }
  }

 private:
  uint32_t draw() { return static_cast<uint32_t>(random_()); }
  uint32_t spread() { return draw() % 200'000; }
  std::mt19937 random_;
  uint32_t run_left_ = 0;
  uint32_t at_ = 0;
};

void expect_same(const BlockSet& set, const std::set<uint32_t>& expected, Numbers& numbers) {
  ASSERT_EQ(set.count(), expected.size());
  ASSERT_EQ(set.empty(), expected.empty());
  ASSERT_EQ(members(set), std::vector<uint32_t>(expected.begin(), expected.end()));
  for (int i = 0; i < 200; ++i) {
    uint32_t block = numbers.next();
    ASSERT_EQ(set.contains(block), expected.contains(block)) << block;
    auto next = expected.lower_bound(block);
    ASSERT_EQ(set.next(block), next == expected.end() ? std::nullopt : std::optional(*next)) << block;
  }
}

TEST(BlockSet, behaves_as_a_sorted_set) {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    Numbers numbers(seed);
    BlockSet set;
    std::set<uint32_t> expected;
    uint32_t adds = (seed % 8) * (seed % 8) * 500;  // from none to more than fit a list
    for (uint32_t i = 0; i < adds; ++i) {
      uint32_t block = numbers.next();
      set.add(block);
      expected.insert(block);
    }
    expect_same(set, expected, numbers);
    set.clear();
    EXPECT_TRUE(set.empty());
    EXPECT_FALSE(set.next(0));
  }
}

TEST(BlockSet, merging_is_the_union_and_does_not_depend_on_order) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    Numbers numbers(seed);
    std::mt19937 random(seed);
    BlockSet a;
    BlockSet b;
    BlockSet all;
    std::set<uint32_t> expected;
    // Sizes apart, so that lists meet lists, lists bitmaps, and bitmaps bitmaps.
    uint32_t sizes[2] = {static_cast<uint32_t>(random() % 9000), static_cast<uint32_t>(random() % 9000)};
    for (int side = 0; side < 2; ++side) {
      for (uint32_t i = 0; i < sizes[side]; ++i) {
        uint32_t block = numbers.next();
        (side == 0 ? a : b).add(block);
        all.add(block);
        expected.insert(block);
      }
    }
    BlockSet ab = a;
    ab.add(b);
    BlockSet ba = b;
    ba.add(a);
    expect_same(ab, expected, numbers);
    EXPECT_EQ(ab, ba);
    EXPECT_EQ(ab, all);
    ab.add(ab);
    ab.add(a);
    EXPECT_EQ(ab, all);
    all.add(numbers.next() | 0x00800000);
    EXPECT_FALSE(ab == all);
  }
}

TEST(BlockSet, runs_go_in_and_come_out_as_single_blocks_do) {
  for (uint32_t seed = 1; seed <= 25; ++seed) {
    Numbers numbers(seed);
    std::mt19937 random(seed);
    BlockSet set;
    std::set<uint32_t> expected;
    for (uint32_t i = 0; i < seed % 12; ++i) {
      uint32_t first = numbers.next();
      uint64_t count = random() % (i % 3 == 0 ? 100'000 : 3000);
      count = std::min<uint64_t>(count, uint64_t{UINT32_MAX} - first + 1);
      set.add_run(first, count);
      for (uint64_t k = 0; k < count; ++k) expected.insert(static_cast<uint32_t>(first + k));
    }
    expect_same(set, expected, numbers);
    BlockSet one_by_one;
    for (uint32_t block : expected) one_by_one.add(block);
    EXPECT_EQ(set, one_by_one);  // the same form, however it came in

    BlockSet again;
    uint64_t end = 0;
    set.each_run([&](uint32_t first, uint64_t count) {
      EXPECT_TRUE(first > end || end == 0) << "two runs touch";
      end = first + count;
      again.add_run(first, count);
    });
    EXPECT_EQ(again, set);
  }
}

TEST(ChangeMap, keeps_the_lowest_cut_and_what_came_before_and_after_it) {
  ChangeMap map;
  map.changed(kTable, 100);
  map.cut(kTable, 40);
  map.cut(kTable, 70);
  map.changed(kTable, 41);
  const ForkChanges* table = map.find(kTable);
  ASSERT_NE(table, nullptr);
  EXPECT_EQ(table->limit, 40u);
  EXPECT_EQ(table->blocks.count(), 2u);
  EXPECT_EQ(map.find(kIndex), nullptr);
  EXPECT_EQ(map.find({kTable.relation, Fork::init}), nullptr);
  EXPECT_EQ(map.changed_blocks(), 2u);
}

TEST(ChangeMap, merging_takes_everything_of_both) {
  ChangeMap a;
  a.changed(kTable, 1);
  a.cut(kIndex, 7);
  a.rewritten({1663, 9});
  ChangeMap b;
  b.changed(kTable, 2);
  b.cut(kTable, 3);
  b.cut(kIndex, 5);
  b.rewritten({1663, 8});
  b.rewritten({1663, 9});
  ChangeMap ab = a;
  ab.merge(b);
  ChangeMap ba = b;
  ba.merge(a);
  EXPECT_EQ(ab, ba);
  EXPECT_EQ(ab.find(kTable)->blocks.count(), 2u);
  EXPECT_EQ(ab.find(kTable)->limit, 3u);
  EXPECT_EQ(ab.find(kIndex)->limit, 5u);
  EXPECT_TRUE(ab.is_rewritten({1663, 8}));
  EXPECT_TRUE(ab.is_rewritten({1663, 9}));
  EXPECT_FALSE(ab.is_rewritten({1664, 9}));
  EXPECT_EQ(ab.directories().size(), 2u);
  EXPECT_TRUE(ChangeMap().empty());
  EXPECT_FALSE(ab.empty());
}

TEST(ChangeMap, a_map_that_was_copied_or_moved_from_changes_alone) {
  ChangeMap first;
  first.changed(kTable, 1);
  ChangeMap copy = first;
  copy.changed(kTable, 2);
  EXPECT_EQ(first.find(kTable)->blocks.count(), 1u);
  ChangeMap moved = std::move(first);
  first = ChangeMap();
  first.changed(kTable, 3);
  EXPECT_EQ(moved.find(kTable)->blocks.count(), 1u);
  EXPECT_TRUE(moved.find(kTable)->blocks.contains(1));
}

}  // namespace
}  // namespace lifeboat::pg
