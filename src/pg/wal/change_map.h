// Which blocks WAL says have changed: what an incremental backup reads instead of everything.
//
// A map answers for main and init forks only: free-space maps are not logged properly and visibility bits are
// cleared without a block reference (T15), so both are always read. It is an upper bound: merging maps, or
// taking in a record too many, costs reading and never correctness.
//
// Memory: about two bytes per changed block while they are scattered, at most one bit per block of the
// relation otherwise. Thread rule: const after building; any thread may read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "model/lsn.h"
#include "pg/wal/wal_record.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::pg {

// A set of block numbers: 65,536 blocks to a chunk, which is a sorted list while few are in it and then a
// bitmap.
class BlockSet {
 public:
  void add(uint32_t block);
  void add(const BlockSet& other);
  // `count` blocks from `first` on; the last one is at most UINT32_MAX (CHECKed).
  void add_run(uint32_t first, uint64_t count);
  bool contains(uint32_t block) const;
  // The smallest member that is not below `from`.
  std::optional<uint32_t> next(uint32_t from) const;
  // Every stretch of consecutive members, as long as possible, ascending.
  void each_run(const std::function<void(uint32_t first, uint64_t count)>& each) const;
  uint64_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  void clear();
  bool operator==(const BlockSet& other) const;

 private:
  static constexpr size_t kListLimit = 4096;  // a list of more is larger than the bitmap
  static constexpr size_t kWords = 65536 / 64;
  struct Chunk {
    uint16_t key = 0;            // upper half of the block number
    std::vector<uint16_t> list;  // ascending; empty when `bits` is used
    std::vector<uint64_t> bits;  // kWords words, or empty
    bool operator==(const Chunk&) const = default;
  };
  Chunk& chunk(uint16_t key);
  const Chunk* find(uint16_t key) const;
  static bool add_to(Chunk& chunk, uint16_t low);
  static bool contains(const Chunk& chunk, uint16_t low);
  static uint64_t size(const Chunk& chunk);
  static std::optional<uint16_t> next(const Chunk& chunk, uint16_t low);
  static void merge(Chunk& chunk, const Chunk& other);
  static void use_bits(Chunk& chunk);
  static uint64_t add_run_to(Chunk& chunk, uint32_t low, uint32_t count);
  std::vector<Chunk> chunks_;  // ascending by key
  uint64_t count_ = 0;
};

struct ForkId {
  RelationLocator relation;
  Fork fork = Fork::main;
  auto operator<=>(const ForkId&) const = default;
};

struct ForkChanges {
  BlockSet blocks;
  // The fewest blocks that the fork was cut to, 0 where it was made or dropped. Whatever is at or past this
  // may have changed without being in `blocks`.
  std::optional<uint32_t> limit;
  bool operator==(const ForkChanges&) const = default;
};

// One directory of relation files: base/<database> or pg_tblspc/<tablespace>/…/<database>.
struct DatabaseDirectory {
  Oid tablespace = 0;
  Oid database = 0;
  auto operator<=>(const DatabaseDirectory&) const = default;
};

class ChangeMap {
 public:
  void changed(const ForkId& fork, uint32_t block) { at(fork).blocks.add(block); }
  // Cut to, or made with, so many blocks.
  void cut(const ForkId& fork, uint32_t blocks);
  // Nothing in it is as it was: created by copying files, or dropped.
  void rewritten(const DatabaseDirectory& directory);
  void merge(const ChangeMap& other);
  // Makes `changes` all that is known of the fork.
  void put(const ForkId& fork, ForkChanges changes) { at(fork) = std::move(changes); }

  // nullptr: no record speaks of this fork. Look at rewritten() first.
  const ForkChanges* find(const ForkId& fork) const;
  bool is_rewritten(const DatabaseDirectory& directory) const;
  uint64_t changed_blocks() const;
  bool empty() const { return forks_.empty() && directories_.empty(); }
  const std::map<ForkId, ForkChanges>& forks() const { return forks_; }
  const std::vector<DatabaseDirectory>& directories() const { return directories_; }
  bool operator==(const ChangeMap&) const = default;

 private:
  ForkChanges& at(const ForkId& fork);
  std::map<ForkId, ForkChanges> forks_;
  std::vector<DatabaseDirectory> directories_;  // ascending
  // The fork that was spoken of last: records come in runs. Not part of the value.
  struct Cached {
    ForkId id;
    ForkChanges* changes = nullptr;
    Cached() = default;
    Cached(const Cached&) {}
    Cached(Cached&& other) noexcept { other.changes = nullptr; }  // what it points to has moved away
    Cached& operator=(const Cached&) {  // NOLINT(bugprone-unhandled-self-assignment): a cache may forget
      changes = nullptr;
      return *this;
    }
    Cached& operator=(Cached&& other) noexcept {
      changes = nullptr;
      other.changes = nullptr;
      return *this;
    }
    bool operator==(const Cached&) const { return true; }
  } cached_;
};

}  // namespace lifeboat::pg
