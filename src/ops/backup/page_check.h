// Page checksums, checked in the same pass over memory that hashes and compresses (T06).
//
// A page that fails is read again: the server writes pages while they are read, so a torn page is normal.
// What stays wrong is judged by its LSN. Between the backup's start and stop WAL replay writes the page anew,
// so it is fine; before the start or after the stop it is corruption. The stop is not known while copying, so
// pages of the second kind are kept until judge().
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "repo/manifest.h"
#include "repo/pack.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/result.h"

namespace lifeboat::ops {

struct PageCheckOptions {
  uint32_t block_size = 8192;
  bool checksums = false;  // without them nothing is checked
  Lsn start_lsn;
  Clock* clock = &Clock::system();
};

// Reads one block again into `into`; fewer bytes than a block: the file ends there now.
using Reread = std::function<Result<size_t>(uint64_t block_in_file, MutableBytes into)>;

// One per backup. Thread rule: check() from many threads, judge() after they are done.
class PageChecker {
 public:
  explicit PageChecker(PageCheckOptions options) : options_(options) {}

  // `range`: consecutive blocks of a relation's main, vm, fsm or init fork as read; `first_block` counted in
  // the file, `fork_block` in the fork. Blocks that were right when read again replace what `range` holds. A
  // trailing partial block is left alone. Returns the highest LSN of the pages, kDoubtful when one stays
  // wrong.
  Result<Lsn> check(std::string_view path, MutableBytes range, uint64_t first_block, uint64_t fork_block,
                    const Reread& reread);

  uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }

  // The pages that are broken, given where the backup stopped, and how many there are (more than are listed).
  struct Verdict {
    std::vector<repo::BrokenPage> broken;
    uint64_t count = 0;
  };
  Verdict judge(Lsn stop_lsn) const;

 private:
  struct Suspect {
    repo::BrokenPage page;
    Lsn lsn;
  };
  Lsn newest_of(ByteView range) const;
  void suspect(std::string_view path, uint64_t block, std::string_view problem, Lsn lsn);
  void note_newest(std::string_view path, uint64_t block, Lsn lsn);

  PageCheckOptions options_;
  std::atomic<uint64_t> pages_{0};
  std::atomic<uint64_t> newest_lsn_{0};  // of all good pages
  mutable std::mutex mutex_;
  std::vector<Suspect> suspects_;
  Suspect newest_;              // the good page with the highest LSN: past the stop it is corruption too
  uint64_t surely_broken_ = 0;  // beyond what is listed
};

}  // namespace lifeboat::ops
