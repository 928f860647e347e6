// The pieces that were fetched last for readers that go from front to back, in memory: they are answered from
// here, and what is written to the file need not stay in the page cache, which has it a second time, as the
// kernel's pages of the mount. A piece that a reader waited for may be here only, and not in the file.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "util/bytes.h"

namespace lifeboat::ops {

// What was asked for, in order, and who holds it.
struct FreshParts {
  std::vector<ByteView> views;
  std::vector<std::shared_ptr<const Bytes>> held;
};

// Of all files of a mount. Holds at most kMost bytes and forgets the oldest first. Thread rule: any thread;
// whoever changes a file, reads it here or adds to it holds that file's own lock.
class FreshPieces {
 public:
  // Several readers, each with twice what is fetched ahead (read_ahead.h): requests come in any order.
  static constexpr uint64_t kMost = 32 << 20;

  // What the file holds from `offset` on, from now until forget().
  void add(uint64_t file, uint64_t offset, ByteView plain);
  // All of [offset, offset + length), or nothing: then false.
  bool find(uint64_t file, uint64_t offset, uint64_t length, FreshParts& parts) const;
  // The file is about to change.
  void forget(uint64_t file);

 private:
  struct Piece {
    uint64_t file = 0;
    uint64_t offset = 0;
    std::shared_ptr<const Bytes> plain;
  };
  const Piece* piece_at(uint64_t file, uint64_t offset) const;
  mutable std::mutex mutex_;
  std::deque<Piece> pieces_;  // the oldest first
  uint64_t bytes_ = 0;
};

}  // namespace lifeboat::ops
