#include "ops/backup/page_check.h"

#include <algorithm>

#include "pg/format/page.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr int kRereads = 5;
constexpr int64_t kRereadPauseUs = 20'000;
constexpr size_t kMostListed = 1000;
}  // namespace

Result<Lsn> PageChecker::check(std::string_view path, MutableBytes range, uint64_t first_block,
                               uint64_t fork_block, const Reread& reread) {
  size_t blocks = range.size() / options_.block_size;
  if (!options_.checksums) return newest_of(range);
  pages_.fetch_add(blocks, std::memory_order_relaxed);
  Bytes again(options_.block_size);
  Lsn newest;
  for (size_t i = 0; i < blocks; ++i) {
    MutableBytes page = range.subspan(i * options_.block_size, options_.block_size);
    uint32_t number = static_cast<uint32_t>(fork_block + i);
    pg::PageState state = pg::verify_page(page, number);
    for (int tries = 0; tries < kRereads && state != pg::PageState::ok && state != pg::PageState::zero;
         ++tries) {
      if (tries > 0) options_.clock->sleep_us(kRereadPauseUs);
      TRY_ASSIGN(size_t got, reread(first_block + i, again));
      if (got < again.size()) {  // truncated since: replay removes what we hold
        state = pg::PageState::ok;
        break;
      }
      std::copy(again.begin(), again.end(), page.begin());
      state = pg::verify_page(page, number);
    }
    Lsn lsn = pg::page_lsn(page);
    bool good = state == pg::PageState::ok || state == pg::PageState::zero;
    newest = good ? std::max(newest, lsn) : repo::kDoubtful;
    if (!good) {
      suspect(path, first_block + i, pg::to_string(state), lsn);
    } else if (lsn > options_.start_lsn && lsn.value > newest_lsn_.load(std::memory_order_relaxed)) {
      note_newest(path, first_block + i, lsn);
    }
  }
  return newest;
}

Lsn PageChecker::newest_of(ByteView range) const {
  Lsn newest;
  for (size_t at = 0; at + options_.block_size <= range.size(); at += options_.block_size)
    newest = std::max(newest, pg::page_lsn(range.subspan(at, options_.block_size)));
  return newest;
}

void PageChecker::suspect(std::string_view path, uint64_t block, std::string_view problem, Lsn lsn) {
  std::lock_guard lock(mutex_);
  if (suspects_.size() < kMostListed) {
    suspects_.push_back({{std::string(path), block, std::string(problem)}, lsn});
  } else {
    ++surely_broken_;  // a cluster with this many is damaged, whatever each of them is
  }
}

void PageChecker::note_newest(std::string_view path, uint64_t block, Lsn lsn) {
  std::lock_guard lock(mutex_);
  if (lsn <= newest_.lsn) return;
  newest_ = {{std::string(path), block, "page LSN past the end of the backup"}, lsn};
  newest_lsn_.store(lsn.value, std::memory_order_relaxed);
}

PageChecker::Verdict PageChecker::judge(Lsn stop_lsn) const {
  std::lock_guard lock(mutex_);
  Verdict verdict;
  verdict.count = surely_broken_;
  std::vector<Suspect> all = suspects_;
  if (newest_.lsn > stop_lsn) all.push_back(newest_);
  for (const Suspect& suspect : all) {
    bool replayed = suspect.lsn >= options_.start_lsn && suspect.lsn <= stop_lsn;
    if (replayed) continue;
    ++verdict.count;
    verdict.broken.push_back(suspect.page);
    verdict.broken.back().problem += cat(", page LSN ", suspect.lsn.to_string());
  }
  return verdict;
}

}  // namespace lifeboat::ops
