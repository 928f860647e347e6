// What a backup takes over, file by file: from its reference, and from attempts that it goes on with.
//
// A change map decides only about main and init forks of relations, below min(length then, length now, limit
// block). Every other file, and every block at or past that, is read: free-space and visibility maps are not
// logged properly (T15), pg_xact and its like, pg_filenode.map, pg_control and configuration change without
// block references, and a hash index may grow without one. What was read is stored where its hash differs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/backup/carry.h"
#include "ops/backup/copy_pool.h"
#include "ops/backup/proof_sample.h"
#include "ops/backup/resume.h"
#include "pg/files/entry.h"
#include "pg/wal/change_map.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

// All are borrowed.
struct IncrementalSources {
  const repo::Manifest* reference = nullptr;  // null: none
  const pg::ChangeMap* map = nullptr;         // since the reference's start; null: it is compared by hash
  std::vector<ResumedAttempt>* attempts = nullptr;  // newest first; null: none
  bool trust_attempts = true;                       // false: their blocks too are compared by hash
  const Carry* carry = nullptr;                     // null: nothing is carried forward
  uint32_t block_size = 8192;
  uint64_t segment_blocks = 131072;
  ProofSample* sample = nullptr;  // required
};

// Thread rule: one thread.
class Incremental {
 public:
  explicit Incremental(const IncrementalSources& sources) : sources_(sources) {}

  const repo::Manifest* reference() const { return sources_.reference; }
  const Carry* carry() const { return sources_.carry; }

  struct Decision {
    bool unchanged = false;            // nothing of it needs to be read
    std::optional<FileBefore> before;  // nullopt: nothing is known of the file
  };
  // `directory` as pg::RelationDirectory has it: "base/5". Takes the reference's entry of the same path, if
  // there is one. Errors: those of reading what attempts stored.
  Result<Decision> decide(std::string_view directory, const pg::Entry& now,
                          std::optional<repo::Entry> before);

 private:
  struct Mapped {
    uint64_t blocks = 0;  // below this, but for `changed`, all are as they were
    const pg::BlockSet* changed = nullptr;
  };
  Mapped mapped_by(const pg::ChangeMap* map, std::string_view directory, const pg::Entry& now,
                   uint64_t old_size) const;
  Status add_attempts(std::string_view directory, const pg::Entry& now, const std::string& path,
                      FileBefore& before);
  void offer_to_sample(std::string_view directory, const pg::Entry& now, const FileBefore& before);
  IncrementalSources sources_;
};

}  // namespace lifeboat::ops
