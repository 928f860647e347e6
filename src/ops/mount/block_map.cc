#include "ops/mount/block_map.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr size_t kMostRefs = 256 << 10;  // kept decoded, about 40 MB
}

std::pair<size_t, size_t> MapLeaf::overlapping(uint64_t begin, uint64_t end) const {
  auto ends_after = [](uint64_t at, const repo::Piece& piece) { return at < piece.offset + piece.length; };
  auto first = std::upper_bound(pieces.begin(), pieces.end(), begin, ends_after);
  auto last = first;
  while (last != pieces.end() && last->offset < end) ++last;
  return {static_cast<size_t>(first - pieces.begin()), static_cast<size_t>(last - pieces.begin())};
}

Result<std::shared_ptr<const MapLeaf>> BlockMap::leaf(uint64_t file, uint64_t number,
                                                      repo::TreeReader& tree) {
  const Key key{file, number};
  {
    std::lock_guard lock(mutex_);
    if (auto found = slots_.find(key); found != slots_.end()) {
      used_.splice(used_.begin(), used_, found->second.used);
      return found->second.leaf;
    }
  }
  // Two that need the same one at the same time both read it, which does no harm.
  TRY_ASSIGN(std::shared_ptr<const MapLeaf> leaf, load(file, number, tree));
  std::lock_guard lock(mutex_);
  if (slots_.contains(key)) return leaf;
  used_.push_front(key);
  slots_.emplace(key, Slot{leaf, used_.begin()});
  refs_ += leaf->refs.size();
  forget_oldest();
  return leaf;
}

void BlockMap::forget_oldest() {
  while (refs_ > kMostRefs && used_.size() > 1) {
    auto oldest = slots_.find(used_.back());
    refs_ -= oldest->second.leaf->refs.size();
    slots_.erase(oldest);
    used_.pop_back();
  }
}

Result<std::shared_ptr<const MapLeaf>> BlockMap::load(uint64_t file, uint64_t number,
                                                      repo::TreeReader& tree) const {
  TRY_ASSIGN(TableFile record, table_.file(file));
  auto leaf = std::make_shared<MapLeaf>();
  leaf->path = record.path;
  uint64_t begin = 0;
  uint64_t end = record.entry.size;
  if (record.entry.leaves.empty()) {
    // The whole map, whichever leaf was asked for.
    leaf->refs = std::move(record.entry.blocks);
  } else {
    const uint64_t leaf_bytes = static_cast<uint64_t>(repo::kMapLeafBlocks) * block_size_;
    begin = number * leaf_bytes;
    if (number >= record.entry.leaves.size() || begin >= end)
      return make_error(ErrorKind::damaged, record.path, cat("its block map has no leaf ", number));
    end = std::min(end, begin + leaf_bytes);
    TRY_ASSIGN(leaf->refs, tree.leaf(record.entry.leaves[number]));
  }
  TRY(repo::lay_out(leaf->path, leaf->refs, 0, begin, end, block_size_, leaf->pieces));
  return std::shared_ptr<const MapLeaf>(std::move(leaf));
}

}  // namespace lifeboat::ops
