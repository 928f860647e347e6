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
  Verdict verdict;
  Bytes page(block_size);
  for (const Sampled& sampled : sample_) {
    TRY(stop.check());
    TRY_ASSIGN(auto file, source.open_listed(sampled.path));
    if (!file) continue;
    auto missed = [&]() -> Result<bool> {
      TRY_ASSIGN(size_t got, file->read(sampled.block * block_size, page));
      if (got < page.size() || pg::is_all_zero(page)) return false;
      Lsn lsn = pg::page_lsn(page);
      return lsn >= sampled.from && lsn < to;
    };
    ++verdict.blocks;
    TRY_ASSIGN(bool first_look, missed());
    if (!first_look) continue;
    Clock::system().sleep_us(kPauseUs);
    TRY_ASSIGN(bool second_look, missed());
    if (!second_look) continue;
    verdict.missed = Missed{sampled.path, sampled.block, pg::page_lsn(page)};
    break;
  }
  return verdict;
}

}  // namespace lifeboat::ops
