// What a backup read and stored, per directory of relation files and for the relations of which most is new:
// what `show` tells.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "repo/manifest.h"

namespace lifeboat::ops {

// Memory is bounded: of the relations only the largest changes are kept. Thread rule: any thread.
class ChangeCounts {
 public:
  // A file of the tree is done. `directory` as in the tree; `relation`: its name begins with a relfilenode.
  void add(std::string_view directory, std::string_view file, bool relation, const repo::ChangeCount& count);
  std::vector<repo::ChangeCount> directories() const;  // by path
  std::vector<repo::ChangeCount> relations() const;  // most of what is new first, at most repo::kMostChanged

 private:
  void forget_small();
  mutable std::mutex mutex_;
  std::map<std::string, repo::ChangeCount, std::less<>> directories_;
  std::map<std::string, repo::ChangeCount, std::less<>> relations_;
};

}  // namespace lifeboat::ops
