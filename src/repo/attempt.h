// What an attempt at a backup says of itself before it stores anything, so that a later one can go on with
// what it stored.
//
// Object "attempts/<id>", written once the server's start position is known and before the first pack. An
// attempt that was killed, or failed, is then an incremental backup's second source: its packs' footers say
// which blocks of which file they hold, with their hashes, and WAL since its start says which of them still
// are as they were. Expiry condemns the object with the attempt (repo/collect.h); packs that a later backup
// took over stay, as those of an expired backup do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "model/names.h"
#include "model/timestamp.h"
#include "repo/repository.h"
#include "repo/tree.h"

namespace lifeboat::repo {

struct Attempt {
  BackupId id;
  Timestamp started;  // on the source server
  Timeline timeline;
  Lsn start_lsn;
  uint32_t block_size = 8192;
  bool data_checksums = false;
};
std::string encode_attempt(const Attempt& attempt);
Result<Attempt> decode_attempt(std::string_view object, ByteView plain);

Status write_attempt(const LineageRepo& repo, const Attempt& attempt);
Result<Attempt> read_attempt(const LineageRepo& repo, const BackupId& id);
// Of all that have an object, also those that became backups; in order of time.
Result<std::vector<BackupId>> list_attempts(const LineageRepo& repo);

// Blocks of a file as an attempt stored them.
struct StoredRun {
  uint64_t first = 0;  // block in the file
  uint64_t bytes = 0;  // fewer than count blocks: the file ended inside the last one
  Lsn newest = {};     // of the pages in its frame, as in the footer
  BlockRef ref;
};

// Finds what an attempt stored of a file. Holds a few bytes for each file and pack, and a few footers at a
// time. Thread rule: one thread.
class AttemptFiles {
 public:
  // Reads the footers of the attempt's data packs. A pack that is damaged or went away is as if it had not
  // been stored.
  static Result<AttemptFiles> open(const LineageRepo& repo, const BackupId& id, uint32_t block_size);
  // Ascending, without overlaps. `path` as in the tree: "pgdata/base/5/16384".
  Result<std::vector<StoredRun>> find(std::string_view path);
  uint64_t blocks() const { return blocks_; }  // in all

 private:
  AttemptFiles(const LineageRepo& repo, BackupId id, uint32_t block_size)
      : repo_(repo), id_(std::move(id)), block_size_(block_size), packs_(repo, PackKind::data) {}
  struct Known {
    uint64_t path_hash = 0;
    uint32_t pack = 0;
    auto operator<=>(const Known&) const = default;
  };
  struct Footer {
    uint32_t pack = 0;
    uint64_t used = 0;
    PackFooter content;
    std::vector<std::pair<uint64_t, uint32_t>> by_path;  // hash of the path, frame; ascending
  };
  Result<const Footer*> footer(uint32_t pack);
  LineageRepo repo_;
  BackupId id_;
  uint32_t block_size_;
  PackReaders packs_;
  std::vector<Known> known_;  // ascending
  std::vector<Footer> footers_;
  uint64_t ticks_ = 0;
  uint64_t blocks_ = 0;
};

}  // namespace lifeboat::repo
