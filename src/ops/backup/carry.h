// Carrying forward: what a backup stores again although it has not changed, so that old packs die whole
// (repo/pack_usage.h).
//
// The packs that are to be emptied name in their footers the blocks that they once held; those that the
// reference still refers to there are read from the server as if they had changed.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "pg/wal/change_map.h"
#include "repo/manifest.h"
#include "repo/pack_usage.h"

namespace lifeboat::ops {

// Thread rule: const after planning.
class Carry {
 public:
  Carry() = default;  // nothing is carried
  // For a backup on `reference` that stores about `changed_blocks` blocks anyway. A pack that cannot be read
  // is left alone. `seed`: of a pack that is only partly emptied other frames are chosen each time.
  static Result<Carry> plan(const repo::LineageRepo& repo, const repo::Manifest& reference,
                            uint64_t changed_blocks, uint64_t seed);

  // How full the reference's packs are: where this backup's record begins.
  const repo::PackUsage& usage() const { return usage_; }
  // Whether blocks are to leave this pack: those among the candidates.
  bool empties(const repo::PackId& pack) const { return packs_.contains(pack); }
  // Blocks of a file that may be in these packs; null: none. `path` as in the tree.
  const pg::BlockSet* candidates(std::string_view path) const {
    auto found = blocks_.find(path);
    return found != blocks_.end() ? &found->second : nullptr;
  }

 private:
  repo::PackUsage usage_;
  std::map<repo::PackId, double> packs_;
  std::map<std::string, pg::BlockSet, std::less<>> blocks_;
};

}  // namespace lifeboat::ops
