// Where each block of each file lies in the repository, leaf by leaf, decoded on first need and kept in a
// bounded cache.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "ops/mount/file_table.h"
#include "repo/block_reader.h"

namespace lifeboat::ops {

// The map of up to kMapLeafBlocks blocks of one file. `pieces` are in the order of the file, have their place
// in it, and borrow `refs`.
struct MapLeaf {
  std::string path;  // in the tree
  std::vector<repo::BlockRef> refs;
  std::vector<repo::Piece> pieces;
  // The pieces that hold bytes of [begin, end): [first, last).
  std::pair<size_t, size_t> overlapping(uint64_t begin, uint64_t end) const;
};

// Thread rule: any thread; a TreeReader is the caller's own.
class BlockMap {
 public:
  BlockMap(FileTable table, uint32_t block_size) : table_(std::move(table)), block_size_(block_size) {}
  // `damaged` when the map does not cover the leaf as the file's size says.
  Result<std::shared_ptr<const MapLeaf>> leaf(uint64_t file, uint64_t number, repo::TreeReader& tree);
  const FileTable& table() const { return table_; }
  uint32_t block_size() const { return block_size_; }

 private:
  Result<std::shared_ptr<const MapLeaf>> load(uint64_t file, uint64_t number, repo::TreeReader& tree) const;
  void forget_oldest();

  using Key = std::pair<uint64_t, uint64_t>;
  struct Slot {
    std::shared_ptr<const MapLeaf> leaf;
    std::list<Key>::iterator used;
  };
  FileTable table_;
  uint32_t block_size_;
  std::mutex mutex_;
  std::map<Key, Slot> slots_;
  std::list<Key> used_;  // newest first
  size_t refs_ = 0;      // in all slots
};

}  // namespace lifeboat::ops
