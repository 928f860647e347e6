#include "repo/pack_usage.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace lifeboat::repo {
namespace {

const BackupId kOld{"20261120T105625Z-4f2a9c"};
const BackupId kNew{"20261121T105625Z-4f2a9d"};

TEST(PackUsage, comes_back_from_its_bytes) {
  PackUsage usage{{{kOld, 1}, {8192, 17}}, {{kOld, 900}, {1, 1}}, {{kNew, 2}, {300, 300}}};
  auto read = decode_usage("node", encode_usage(usage));
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(*read, usage);
  EXPECT_TRUE(decode_usage("node", encode_usage({}))->empty());
}

TEST(PackUsage, damaged_bytes_are_found_and_never_crash) {
  Bytes node = encode_usage({{{kOld, 1}, {8192, 17}}, {{kNew, 2}, {300, 300}}});
  for (size_t size = 1; size < node.size(); ++size) {
    auto read = decode_usage("node", ByteView(node).first(size));
    EXPECT_TRUE(!read || read->size() < 2) << size << ": cut between two backups at most";
  }
  node[0] = 3;
  EXPECT_EQ(decode_usage("node", node).error().kind, ErrorKind::damaged);
}

TEST(UsageTally, moves_blocks_from_old_packs_to_new_ones_and_forgets_dead_packs) {
  PackUsage before{{{kOld, 1}, {100, 80}}, {{kOld, 2}, {50, 5}}};
  UsageTally one;
  one.add({kOld, 1}, -30);
  one.add({kNew, 1}, 30);
  UsageTally other;
  other.add({kOld, 2}, -5);
  other.add({kNew, 1}, 5);
  UsageTally all;
  all.merge(one);
  all.merge(other);
  EXPECT_EQ(all.apply(before), (PackUsage{{{kOld, 1}, {100, 50}}, {{kNew, 1}, {35, 35}}}));
}

TEST(UsageTally, packs_that_nobody_counted_before_are_no_reason_to_fail) {
  UsageTally tally;
  tally.add({kOld, 7}, -3);  // a reference from before usage was recorded
  EXPECT_TRUE(tally.apply({}).empty());
}

TEST(ChoosePacks, nothing_while_little_is_dead) {
  EXPECT_TRUE(choose_packs_to_empty({{{kOld, 1}, {1000, 900}}, {{kNew, 1}, {100, 100}}}, 1000).empty());
  EXPECT_TRUE(choose_packs_to_empty({}, 1000).empty());
}

using Chosen = std::map<PackId, double>;

TEST(ChoosePacks, the_most_dead_first_and_never_more_than_the_change_pays_for) {
  PackUsage usage;
  for (uint32_t i = 1; i <= 10; ++i) usage[{kOld, i}] = {1000, 100 * i};
  EXPECT_EQ(choose_packs_to_empty(usage, 100), (Chosen{{{kOld, 1}, 1}, {{kOld, 2}, 0.5}}));
  EXPECT_EQ(choose_packs_to_empty(usage, 150), (Chosen{{{kOld, 1}, 1}, {{kOld, 2}, 1}}));
  EXPECT_TRUE(choose_packs_to_empty(usage, 0).empty());
  // However much changed, not more than a tenth of what is needed.
  auto most = choose_packs_to_empty(usage, 1'000'000);
  EXPECT_EQ(most.size(), 3u);
  EXPECT_NEAR(most.rbegin()->second, 250.0 / 300, 0.001);
}

// 1 % of the blocks change at random at each step, seven backups are kept, packs go when none of these needs
// them: what bench/fragmentation measures on a server. The packs are large beside the change, as on a small
// cluster.
TEST(ChoosePacks, hundreds_of_incrementals_stay_small) {
  constexpr uint32_t kBlocks = 20'000;
  constexpr uint32_t kPackBlocks = 1600;
  constexpr size_t kKept = 7;
  constexpr size_t kSteps = 400;
  std::vector<uint32_t> pack_of(kBlocks);
  std::vector<PackUse> packs;
  std::vector<size_t> needed_until;  // step of the last backup that referred to it
  std::mt19937_64 random(1);
  auto chance = [&](double probability) {
    return std::uniform_real_distribution<>(0, 1)(random) < probability;
  };
  auto store = [&](uint32_t block) {
    pack_of[block] = static_cast<uint32_t>(packs.size() - 1);
    ++packs.back().live;
    ++packs.back().total;
    if (packs.back().total == kPackBlocks) packs.emplace_back();
  };
  packs.emplace_back();
  for (uint32_t block = 0; block < kBlocks; ++block) store(block);
  double worst = 0;
  double last = 0;
  uint64_t stored = 0;
  for (size_t step = 1; step <= kSteps; ++step) {
    PackUsage usage;
    for (uint32_t i = 0; i < packs.size(); ++i) {
      if (packs[i].live != 0) usage[{kOld, i}] = packs[i];
    }
    std::vector<double> parts(packs.size());
    for (const auto& [pack, part] : choose_packs_to_empty(usage, kBlocks / 100)) parts[pack.number] = part;
    packs.emplace_back();
    for (uint32_t block = 0; block < kBlocks; ++block) {
      uint32_t from = pack_of[block];
      if (!chance(0.01) && !(from < parts.size() && parts[from] > 0 && chance(parts[from]))) continue;
      --packs[from].live;
      store(block);
      ++stored;
    }
    needed_until.resize(packs.size());
    uint64_t kept = 0;
    for (size_t i = 0; i < packs.size(); ++i) {
      if (packs[i].live != 0) needed_until[i] = step;
      if (needed_until[i] + kKept > step) kept += packs[i].total;
    }
    last = static_cast<double>(kept) / kBlocks;
    worst = std::max(worst, last);
  }
  EXPECT_LT(worst, 1.55);
  EXPECT_LT(last, 1.45);
  EXPECT_LT(static_cast<double>(stored) / (kSteps * kBlocks / 100.0), 3.0)
      << "blocks stored for each that changed";
}

}  // namespace
}  // namespace lifeboat::repo
