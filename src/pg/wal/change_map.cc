// A chunk has one form for each value, so that sets compare member by member: a list up to kListLimit blocks,
// a bitmap beyond. Nothing is ever taken out, so a bitmap never becomes a list again.
#include "pg/wal/change_map.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "util/check.h"

namespace lifeboat::pg {

// --- one chunk
// -------------------------------------------------------------------------------------------------------

void BlockSet::use_bits(Chunk& chunk) {
  chunk.bits.assign(kWords, 0);
  for (uint16_t low : chunk.list) chunk.bits[low / 64] |= uint64_t{1} << (low % 64);
  std::vector<uint16_t>().swap(chunk.list);
}

bool BlockSet::add_to(Chunk& chunk, uint16_t low) {
  if (!chunk.bits.empty()) {
    uint64_t& word = chunk.bits[low / 64];
    uint64_t bit = uint64_t{1} << (low % 64);
    if ((word & bit) != 0) return false;
    word |= bit;
    return true;
  }
  std::vector<uint16_t>& list = chunk.list;
  if (list.empty() || list.back() < low) {
    list.push_back(low);
  } else {
    auto at = std::lower_bound(list.begin(), list.end(), low);
    if (*at == low) return false;
    list.insert(at, low);
  }
  if (list.size() > kListLimit) use_bits(chunk);
  return true;
}

uint64_t BlockSet::add_run_to(Chunk& chunk, uint32_t low, uint32_t count) {
  uint64_t added = 0;
  if (chunk.bits.empty()) {
    // What overlaps may leave few enough for a list.
    auto from = std::lower_bound(chunk.list.begin(), chunk.list.end(), low);
    auto to = std::lower_bound(from, chunk.list.end(), low + count);
    if (chunk.list.size() - static_cast<size_t>(to - from) + count <= kListLimit) {
      for (uint32_t i = 0; i < count; ++i) added += add_to(chunk, static_cast<uint16_t>(low + i)) ? 1 : 0;
      return added;
    }
    use_bits(chunk);
  }
  for (uint32_t at = low, end = low + count; at < end;) {
    uint32_t take = std::min<uint32_t>(64 - at % 64, end - at);
    uint64_t ones = (take == 64 ? ~uint64_t{0} : (uint64_t{1} << take) - 1) << (at % 64);
    uint64_t& word = chunk.bits[at / 64];
    added += static_cast<uint64_t>(std::popcount(ones & ~word));
    word |= ones;
    at += take;
  }
  return added;
}

bool BlockSet::contains(const Chunk& chunk, uint16_t low) {
  if (!chunk.bits.empty()) return (chunk.bits[low / 64] >> (low % 64) & 1) != 0;
  return std::binary_search(chunk.list.begin(), chunk.list.end(), low);
}

uint64_t BlockSet::size(const Chunk& chunk) {
  uint64_t count = chunk.list.size();
  for (uint64_t word : chunk.bits) count += static_cast<uint64_t>(std::popcount(word));
  return count;
}

std::optional<uint16_t> BlockSet::next(const Chunk& chunk, uint16_t low) {
  if (chunk.bits.empty()) {
    auto at = std::lower_bound(chunk.list.begin(), chunk.list.end(), low);
    return at == chunk.list.end() ? std::nullopt : std::optional(*at);
  }
  size_t index = low / 64;
  uint64_t word = chunk.bits[index] & ~uint64_t{0} << (low % 64);
  while (word == 0) {
    if (++index == kWords) return std::nullopt;
    word = chunk.bits[index];
  }
  return static_cast<uint16_t>(index * 64 + static_cast<size_t>(std::countr_zero(word)));
}

void BlockSet::merge(Chunk& chunk, const Chunk& other) {
  if (chunk.bits.empty() && other.bits.empty()) {
    std::vector<uint16_t> both;
    both.reserve(chunk.list.size() + other.list.size());
    std::set_union(chunk.list.begin(), chunk.list.end(), other.list.begin(), other.list.end(),
                   std::back_inserter(both));
    chunk.list = std::move(both);
    if (chunk.list.size() > kListLimit) use_bits(chunk);
    return;
  }
  if (chunk.bits.empty()) use_bits(chunk);
  for (uint16_t low : other.list) chunk.bits[low / 64] |= uint64_t{1} << (low % 64);
  for (size_t i = 0; i < other.bits.size(); ++i) chunk.bits[i] |= other.bits[i];
}

// --- BlockSet
// --------------------------------------------------------------------------------------------------------

BlockSet::Chunk& BlockSet::chunk(uint16_t key) {
  if (!chunks_.empty() && chunks_.back().key == key) return chunks_.back();
  auto at = std::ranges::lower_bound(chunks_, key, {}, &Chunk::key);
  if (at == chunks_.end() || at->key != key)
    at = chunks_.insert(at, Chunk{.key = key, .list = {}, .bits = {}});
  return *at;
}

const BlockSet::Chunk* BlockSet::find(uint16_t key) const {
  auto at = std::ranges::lower_bound(chunks_, key, {}, &Chunk::key);
  return at == chunks_.end() || at->key != key ? nullptr : &*at;
}

void BlockSet::add(uint32_t block) {
  if (add_to(chunk(static_cast<uint16_t>(block >> 16)), static_cast<uint16_t>(block))) ++count_;
}

void BlockSet::add(const BlockSet& other) {
  if (&other == this) return;
  for (const Chunk& theirs : other.chunks_) {
    Chunk& ours = chunk(theirs.key);
    count_ -= size(ours);
    if (ours.list.empty() && ours.bits.empty()) {
      ours = theirs;
    } else {
      merge(ours, theirs);
    }
    count_ += size(ours);
  }
}

void BlockSet::add_run(uint32_t first, uint64_t count) {
  CHECK(count <= uint64_t{UINT32_MAX} - first + 1);
  for (uint64_t at = first, end = first + count; at < end;) {
    uint64_t low = at % 65536;
    uint64_t take = std::min<uint64_t>(65536 - low, end - at);
    Chunk& in = chunk(static_cast<uint16_t>(at >> 16));
    count_ += add_run_to(in, static_cast<uint32_t>(low), static_cast<uint32_t>(take));
    at += take;
  }
}

bool BlockSet::contains(uint32_t block) const {
  const Chunk* found = find(static_cast<uint16_t>(block >> 16));
  return found != nullptr && contains(*found, static_cast<uint16_t>(block));
}

std::optional<uint32_t> BlockSet::next(uint32_t from) const {
  auto key = static_cast<uint16_t>(from >> 16);
  for (auto at = std::ranges::lower_bound(chunks_, key, {}, &Chunk::key); at != chunks_.end(); ++at) {
    auto low = next(*at, at->key == key ? static_cast<uint16_t>(from) : uint16_t{0});
    if (low) return uint32_t{at->key} << 16 | *low;
  }
  return std::nullopt;
}

void BlockSet::each_run(const std::function<void(uint32_t first, uint64_t count)>& each) const {
  uint64_t first = 0;
  uint64_t end = 0;  // of the run so far; equal to `first`: none
  auto member = [&](uint64_t block) {
    if (block != end || first == end) {
      if (first != end) each(static_cast<uint32_t>(first), end - first);
      first = block;
    }
    end = block + 1;
  };
  for (const Chunk& chunk : chunks_) {
    uint64_t base = uint64_t{chunk.key} << 16;
    for (uint16_t low : chunk.list) member(base | low);
    for (size_t i = 0; i < chunk.bits.size(); ++i) {
      for (uint64_t word = chunk.bits[i]; word != 0; word &= word - 1) {
        member(base | (i * 64 + static_cast<uint64_t>(std::countr_zero(word))));
      }
    }
  }
  if (first != end) each(static_cast<uint32_t>(first), end - first);
}

void BlockSet::clear() {
  chunks_.clear();
  count_ = 0;
}

bool BlockSet::operator==(const BlockSet& other) const {
  return count_ == other.count_ && chunks_ == other.chunks_;
}

// --- ChangeMap
// -------------------------------------------------------------------------------------------------------

ForkChanges& ChangeMap::at(const ForkId& fork) {
  if (cached_.changes == nullptr || cached_.id != fork) {
    cached_.changes = &forks_[fork];
    cached_.id = fork;
  }
  return *cached_.changes;
}

void ChangeMap::cut(const ForkId& fork, uint32_t blocks) {
  ForkChanges& changes = at(fork);
  changes.limit = std::min(changes.limit.value_or(blocks), blocks);
}

void ChangeMap::rewritten(const DatabaseDirectory& directory) {
  auto at = std::ranges::lower_bound(directories_, directory);
  if (at == directories_.end() || *at != directory) directories_.insert(at, directory);
}

void ChangeMap::merge(const ChangeMap& other) {
  for (const auto& [fork, changes] : other.forks_) {
    ForkChanges& ours = at(fork);
    ours.blocks.add(changes.blocks);
    if (changes.limit) ours.limit = std::min(ours.limit.value_or(*changes.limit), *changes.limit);
  }
  for (const DatabaseDirectory& directory : other.directories_) rewritten(directory);
}

const ForkChanges* ChangeMap::find(const ForkId& fork) const {
  auto found = forks_.find(fork);
  return found == forks_.end() ? nullptr : &found->second;
}

bool ChangeMap::is_rewritten(const DatabaseDirectory& directory) const {
  return std::ranges::binary_search(directories_, directory);
}

uint64_t ChangeMap::changed_blocks() const {
  uint64_t count = 0;
  for (const auto& [fork, changes] : forks_) count += changes.blocks.count();
  return count;
}

}  // namespace lifeboat::pg
