#include "ops/mount/read_ahead.h"

#include <algorithm>

namespace lifeboat::ops {

std::optional<ReadAhead::Range> ReadAhead::observe(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  const bool goes_on = end > next_ && offset <= next_ + kNear && offset + kNear >= next_ && next_ != 0;
  if (!goes_on) {
    // A request that comes late, or again, says nothing.
    if (window_ != 0 && end <= next_ && offset + kNear >= next_) return std::nullopt;
    next_ = end;
    fetched_ = end;
    window_ = 0;
    return std::nullopt;
  }
  next_ = end;
  window_ = std::clamp(window_ * 2, kLeast, kMost);
  // In steps of half a window, so that not every request asks.
  const uint64_t target = next_ + window_;
  const uint64_t begin = std::max(fetched_, next_);
  if (target < begin + window_ / 2) return std::nullopt;
  fetched_ = target;
  return Range{begin, target};
}

}  // namespace lifeboat::ops
