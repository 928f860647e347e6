// Sees that a file is read from front to back and says what to fetch before it is asked for. Pure.
//
// The kernel's own read-ahead comes as several requests that arrive in any order, and several servers'
// processes may read the same file, so "sequential" means near where the last request ended. The window
// doubles with each request that goes on, so that a few random reads that happen to be neighbours fetch
// little.
#pragma once

#include <cstdint>
#include <optional>

namespace lifeboat::ops {

// Thread rule: one thread at a time.
class ReadAhead {
 public:
  static constexpr uint64_t kLeast = 256 << 10;
  static constexpr uint64_t kMost = 4 << 20;  // 16 frames of a fresh backup
  static constexpr uint64_t kNear = 1 << 20;  // how far out of order requests may come

  struct Range {
    uint64_t begin = 0;  // bytes
    uint64_t end = 0;
    bool operator==(const Range&) const = default;
  };
  // A request for [offset, offset + length); what should be fetched now in addition.
  std::optional<Range> observe(uint64_t offset, uint64_t length);
  bool sequential() const { return window_ != 0; }

 private:
  uint64_t next_ = 0;     // behind what was read
  uint64_t fetched_ = 0;  // up to where was asked for
  uint64_t window_ = 0;   // 0: not sequential
};

}  // namespace lifeboat::ops
