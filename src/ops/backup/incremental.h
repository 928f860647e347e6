// What an incremental backup takes over from its reference, file by file.
//
// The change map decides only about main and init forks of relations, below min(length in the reference, length now, limit
// block). Every other file, and every block at or past that, is read: free-space and visibility maps are not logged
// properly (T15), pg_xact and its like, pg_filenode.map, pg_control and configuration change without block references, and a
// hash index may grow without one. What was read is stored where its hash differs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ops/backup/copy_pool.h"
#include "ops/backup/proof_sample.h"
#include "pg/files/entry.h"
#include "pg/wal/change_map.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

class Incremental {
 public:
  // Without a map everything is read and compared by hash. All are borrowed.
  Incremental(const repo::Manifest& reference, const pg::ChangeMap* map, uint64_t segment_blocks, ProofSample& sample)
      : reference_(reference), map_(map), segment_blocks_(segment_blocks), sample_(sample) {}

  const repo::Manifest& reference() const { return reference_; }

  struct Decision {
    bool unchanged = false;  // nothing of it needs to be read
    FileBefore before;
  };
  // `directory` as pg::RelationDirectory has it: "base/5". Takes the reference's entry of the same path.
  Decision decide(std::string_view directory, const pg::Entry& now, repo::Entry before);

 private:
  uint64_t mapped_blocks(const pg::ForkChanges* changes, const pg::Entry& now, uint64_t old_size) const;
  const repo::Manifest& reference_;
  const pg::ChangeMap* map_;
  uint64_t segment_blocks_;
  ProofSample& sample_;
};

}  // namespace lifeboat::ops
