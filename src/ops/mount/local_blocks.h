// Which blocks of one file are in the target already, and which still come from the backup. Pure.
//
// A block is missing when it lies below the limit and is not local; what lies at or past the limit is the
// file's own, whatever is there, holes of a later extension too. The limit only ever falls: a truncation
// lowers it, so that a file that grows again does not get its old content back.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace lifeboat::ops {

struct BlockRange {
  uint64_t begin = 0;
  uint64_t end = 0;  // behind the last
  bool operator==(const BlockRange&) const = default;
};

// Thread rule: one thread at a time.
class LocalBlocks {
 public:
  // All blocks below `limit` are missing.
  LocalBlocks(uint32_t block_size, uint64_t limit);

  uint32_t block_size() const { return block_size_; }
  uint64_t limit() const { return limit_; }
  uint64_t missing() const { return missing_; }  // how many
  bool is_missing(uint64_t block) const {
    return block < limit_ && (local_[block / 64] >> (block % 64) & 1) == 0;
  }
  // The first run of missing blocks in [begin, end).
  std::optional<BlockRange> first_missing(uint64_t begin, uint64_t end) const;
  // Blocks at or past the limit are passed over.
  void set_local(uint64_t begin, uint64_t end);
  // Bytes [begin, end) of a file of `size` bytes are data: blocks that lie in them whole are local; the last
  // one ends with the file.
  void add_data(uint64_t begin, uint64_t end, uint64_t size);
  void lower_limit(uint64_t limit);

  // The blocks that [offset, offset + length) touches.
  BlockRange touched(uint64_t offset, uint64_t length) const;
  // Those that it covers whole; of a file of `size` bytes the last one ends with the file.
  BlockRange covered(uint64_t offset, uint64_t length, uint64_t size) const;

 private:
  uint32_t block_size_;
  uint64_t limit_;
  uint64_t missing_;
  std::vector<uint64_t> local_;  // one bit per block
};

}  // namespace lifeboat::ops
