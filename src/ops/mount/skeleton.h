// The tree of a backup as sparse files of full size, over which it is then mounted.
//
// Small files that are no relations are written whole, so that what a server reads to start is there.
// Everything else is a hole with a mark (base_file.h) and a record in the table of files, and no block of it
// is read: making a skeleton costs what there are files, whatever their size.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "ops/mount/file_table.h"
#include "ops/mount/state.h"
#include "repo/tree.h"
#include "util/result.h"

namespace lifeboat::ops {

// Whether the file system can carry a mount: it keeps extended attributes, tells data from holes, and leaves
// written zeros as data (T48; some that compress make holes of them). `unsupported` when not. Writes a
// temporary file in `directory` and removes it.
Status check_can_carry(const std::string& directory);

// Thread rule: one thread.
class Skeleton {
 public:
  // Makes `directory`/lifeboat.mount for the owner (uid, gid), when root.
  static Result<Skeleton> begin(const std::string& directory, uint32_t block_size, uid_t uid, gid_t gid);
  // Whether a file of the tree (path relative to the data directory) is a hole at first.
  static bool is_hole(const std::string& path, const repo::Entry& entry);
  // Gives the new, empty file its size and its mark, and notes it.
  Status add(const std::string& path, const repo::Entry& entry, const std::string& absolute, int fd);
  const std::string& id() const { return id_; }
  // After everything is durable: from here on the directory is a mount. Fills in the members of `state` that
  // the skeleton knows.
  Status finish(MountState state);
  // The table has to be durable before.
  Status close_table();

 private:
  Skeleton(std::string directory, uint32_t block_size, FileTableWriter table)
      : directory_(std::move(directory)),
        block_size_(block_size),
        id_(MountState::make_id()),
        table_(std::move(table)) {}
  std::string directory_;
  uint32_t block_size_;
  std::string id_;
  FileTableWriter table_;
  std::string table_hash_;
};

}  // namespace lifeboat::ops
