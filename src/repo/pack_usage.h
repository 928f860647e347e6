// How much of each data pack a backup still refers to, and which packs the next one should help to die.
//
// Nothing is ever rewritten, so a pack stays as long as one block of it is needed: left alone, random changes
// make a repository (and the reading of a restore) several times as large as the data. So every backup
// records, beside its tree, how many blocks each pack holds and how many of them the tree refers to. The next
// backup stores again what it still needs of the packs that are most dead, within a budget proportional to
// what changed; when the older backups expire, these packs are needed by nobody and go as a whole. Which
// packs are chosen is a matter of cost only: what is stored again is read from the server like any changed
// block.
//
// Rejected: counting references in the repository (a second truth that can be wrong), rewriting packs (a
// writer beside running backups, and copies of what the backup is about to replace), walking the tree at
// every backup (cost of size, not of change).
#pragma once

#include <cstdint>
#include <map>
#include <string_view>

#include "repo/pack.h"

namespace lifeboat::repo {

struct PackUse {
  uint64_t total = 0;  // blocks in the pack
  uint64_t live = 0;   // that the tree refers to; at most about `total`
  bool operator==(const PackUse&) const = default;
};
using PackUsage = std::map<PackId, PackUse>;

// Changes of `live` while a tree is made. Thread rule: one thread.
class UsageTally {
 public:
  UsageTally() = default;
  UsageTally(const UsageTally&) = delete;
  UsageTally& operator=(const UsageTally&) = delete;
  void add(const PackId& pack, int64_t blocks);
  void merge(const UsageTally& other);
  // `before` as this tally changed it. Packs that `before` does not know are of this backup, or of an attempt
  // that it goes on with: they count as filled by what is referred to.
  PackUsage apply(PackUsage before) const;

 private:
  std::map<PackId, int64_t> changes_;
  std::pair<const PackId, int64_t>* last_ = nullptr;  // references to one pack follow each other
};

// The packs of which the next backup should store again what it still needs, given how many blocks it stores
// anyway, and which share of that (0 to 1): a pack may hold more than the budget allows at once.
std::map<PackId, double> choose_packs_to_empty(const PackUsage& usage, uint64_t changed_blocks);

// A node of its own (docs/format.md "Trees", type 4).
Bytes encode_usage(const PackUsage& usage);
Result<PackUsage> decode_usage(std::string_view object, ByteView plain);

}  // namespace lifeboat::repo
