// Every incremental backup proves its change map on a sample (T20): a block that the map calls unchanged and
// whose page carries an LSN from between the reference's start and this start, seen twice, is a change that
// the map missed. Pages changed since this start are not, nor are hint bits, which leave the LSN alone.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "model/lsn.h"
#include "pg/files/source.h"
#include "pg/wal/change_map.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Thread rule: one thread.
class ProofSample {
 public:
  // `most` blocks are kept, all with the same chance within a file, and each file with at least one draw.
  explicit ProofSample(uint64_t seed, size_t most = 1000) : random_(seed), most_(most) {}

  // A main fork's file: `path` as in the source, its first `mapped_blocks` blocks are decided by the map
  // since `from`.
  void offer(const std::string& path, uint64_t fork_first_block, uint64_t mapped_blocks,
             const pg::BlockSet* changed, Lsn from);

  struct Missed {
    std::string path;
    uint64_t block = 0;  // in the file
    Lsn lsn;
  };
  struct Verdict {
    uint64_t blocks = 0;  // that were looked at
    std::optional<Missed> missed;
  };
  // Reads the sample. `to`: this backup's start.
  Result<Verdict> judge(pg::FileSource& source, uint32_t block_size, Lsn to, const StopToken& stop) const;

 private:
  struct Sampled {
    std::string path;
    uint64_t block = 0;
    Lsn from;
  };
  std::mt19937_64 random_;
  size_t most_;
  uint64_t offered_ = 0;
  std::vector<Sampled> sample_;  // a reservoir
};

}  // namespace lifeboat::ops
