#include "ops/mount/local_blocks.h"

#include <algorithm>
#include <bit>

namespace lifeboat::ops {

LocalBlocks::LocalBlocks(uint32_t block_size, uint64_t limit)
    : block_size_(block_size), limit_(limit), missing_(limit), local_((limit + 63) / 64, 0) {}

std::optional<BlockRange> LocalBlocks::first_missing(uint64_t begin, uint64_t end) const {
  end = std::min(end, limit_);
  if (missing_ == 0) return std::nullopt;
  while (begin < end) {
    uint64_t holes = ~local_[begin / 64] >> (begin % 64);
    if (holes == 0) {
      begin = (begin / 64 + 1) * 64;
      continue;
    }
    begin += static_cast<uint64_t>(std::countr_zero(holes));
    break;
  }
  if (begin >= end) return std::nullopt;
  uint64_t last = begin + 1;
  while (last < end && is_missing(last)) ++last;
  return BlockRange{begin, last};
}

void LocalBlocks::set_local(uint64_t begin, uint64_t end) {
  end = std::min(end, limit_);
  for (uint64_t block = begin; block < end; ++block) {
    uint64_t& word = local_[block / 64];
    const uint64_t bit = uint64_t{1} << (block % 64);
    if ((word & bit) != 0) continue;
    word |= bit;
    --missing_;
  }
}

void LocalBlocks::add_data(uint64_t begin, uint64_t end, uint64_t size) {
  BlockRange whole = covered(begin, end - begin, size);
  if (whole.begin < whole.end) set_local(whole.begin, whole.end);
}

void LocalBlocks::lower_limit(uint64_t limit) {
  if (limit >= limit_) return;
  for (uint64_t block = limit; block < limit_; ++block) missing_ -= is_missing(block) ? 1 : 0;
  limit_ = limit;
  local_.resize((limit + 63) / 64);
  // Bits past the limit must not be taken for blocks, whatever asks.
  if (limit % 64 != 0) local_.back() &= (uint64_t{1} << (limit % 64)) - 1;
}

BlockRange LocalBlocks::touched(uint64_t offset, uint64_t length) const {
  if (length == 0) return {offset / block_size_, offset / block_size_};
  return {offset / block_size_, (offset + length - 1) / block_size_ + 1};
}

BlockRange LocalBlocks::covered(uint64_t offset, uint64_t length, uint64_t size) const {
  const uint64_t end = offset + length;
  BlockRange range{(offset + block_size_ - 1) / block_size_, end / block_size_};
  if (end >= size && end % block_size_ != 0) ++range.end;
  if (range.end < range.begin) range.end = range.begin;
  return range;
}

}  // namespace lifeboat::ops
