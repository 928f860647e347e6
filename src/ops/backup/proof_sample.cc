#include "ops/backup/proof_sample.h"

#include <algorithm>

#include "pg/format/page.h"
#include "util/clock.h"

namespace lifeboat::ops {

namespace {
constexpr uint64_t kBlocksPerDraw = 8192;
constexpr int64_t kPauseUs = 20'000;  // between two looks at a page that may be half written
}  // namespace

void ProofSample::offer(const std::string& path, uint64_t fork_first_block, uint64_t mapped_blocks,
                        const pg::BlockSet* changed, Lsn from) {
  if (mapped_blocks == 0) return;
  for (uint64_t draw = 0; draw <= mapped_blocks / kBlocksPerDraw; ++draw) {
    uint64_t block = std::uniform_int_distribution<uint64_t>(0, mapped_blocks - 1)(random_);
    if (changed != nullptr && changed->contains(static_cast<uint32_t>(fork_first_block + block))) continue;
    ++offered_;
    if (sample_.size() < most_) {
      sample_.push_back({path, block, from});
      continue;
    }
    uint64_t place = std::uniform_int_distribution<uint64_t>(0, offered_ - 1)(random_);
    if (place < most_) sample_[place] = {path, block, from};
  }
}

Result<ProofSample::Verdict> ProofSample::judge(pg::FileSource& source, uint32_t block_size, Lsn to,
                                                const StopToken& stop) const {
  std::vector<pg::FilePlace> places;
  for (const Sampled& sampled : sample_) places.push_back({sampled.path, sampled.block * block_size});
  // A page that may be half written is looked at a second time.
  auto missed = [&](size_t number, ByteView page) -> std::optional<Missed> {
    const Sampled& sampled = sample_[number];
    if (page.size() < block_size || pg::is_all_zero(page)) return std::nullopt;
    Lsn lsn = pg::page_lsn(page);
    if (lsn < sampled.from || lsn >= to) return std::nullopt;
    return Missed{sampled.path, sampled.block, lsn};
  };
  Verdict verdict;
  std::vector<size_t> suspects;
  TRY(source.read_places(places, block_size, [&](size_t number, ByteView page) -> Status {
    if (!page.empty()) ++verdict.blocks;
    if (missed(number, page)) suspects.push_back(number);
    return stop.check();
  }));
  if (!suspects.empty()) Clock::system().sleep_us(kPauseUs);
  for (size_t number : suspects) {
    TRY(source.read_places({&places[number], 1}, block_size, [&](size_t, ByteView page) -> Status {
      if (!verdict.missed) verdict.missed = missed(number, page);
      return {};
    }));
  }
  return verdict;
}

}  // namespace lifeboat::ops
