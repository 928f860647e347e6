// One entry of a cluster's directory tree, and what its name says about it.
//
// Paths are relative to the data directory with '/' and no leading "./": "base/5/1259", "global/pg_control",
// "pg_tblspc/16385/PG_15_202209061/5/16390". Tablespaces are always spelled through pg_tblspc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/lsn.h"
#include "pg/wal/wal_record.h"

namespace lifeboat::pg {

enum class EntryKind : uint8_t {
  directory,
  file,
  tablespace_link,  // pg_tblspc/OID, a symbolic link to a directory outside; link_target is its location
  symlink,          // any other symbolic link; recorded, not followed
};

enum class FileClass : uint8_t {
  other,
  relation,         // fork, relfilenode and segment are set
  control,          // global/pg_control
  filenode_map,     // pg_filenode.map
  slru,             // pg_xact, pg_multixact, pg_commit_ts
  config,           // postgresql.conf, postgresql.auto.conf, pg_hba.conf, pg_ident.conf at the top
  recovery_signal,  // standby.signal, recovery.signal: the source's own role, to be left out by a restore
  version,          // PG_VERSION
};

std::string_view to_string(Fork fork);  // "main", "fsm", "vm", "init"

// The name of a permanent or unlogged relation's file: "16384", "16384_fsm", "16384_init", "16384.7",
// "16384_vm.1" (src/backend/storage/file/reinit.c, parse_filename_for_nontemp_relation).
struct RelationFileName {
  uint32_t relfilenode = 0;
  Fork fork = Fork::main;
  uint32_t segment = 0;

  static std::optional<RelationFileName> parse(std::string_view name);
};
// "t3_16384", "t3_16384_fsm.1" (src/backend/storage/file/fd.c, looks_like_temp_rel_name).
bool is_temporary_relation_name(std::string_view name);

// Where a relation file lives: derived from its directory.
struct RelationDirectory {
  Oid tablespace = 0;  // 1663 pg_default, 1664 pg_global, else the oid in the path
  Oid database = 0;    // 0 in global
  // "global", "base/5", "pg_tblspc/16385/PG_15_202209061/5".
  static std::optional<RelationDirectory> parse(std::string_view directory);
};

struct Entry {
  std::string name;  // last path element
  EntryKind kind = EntryKind::file;
  FileClass file_class = FileClass::other;
  Fork fork = Fork::main;
  bool contents_skipped = false;  // directory that belongs in a backup empty
  uint32_t mode = 0;              // permission bits (07777)
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string owner;  // by name, where there is no number: through a connection
  std::string group;
  uint32_t relfilenode = 0;
  uint32_t segment = 0;
  uint64_t size = 0;     // bytes when listed; files only
  int64_t mtime_ns = 0;  // since 1970
  uint64_t inode = 0;
  std::string
      link_target;  // of both kinds of links, and of a directory that is a link on the source (pg_wal)

  // Number of the first block of this file within its fork.
  uint64_t first_block(uint64_t segment_blocks) const { return segment * segment_blocks; }
};

// The class of a regular file by its directory and name alone; sets the relation fields of `entry` too.
void classify(std::string_view directory, Entry& entry);

}  // namespace lifeboat::pg
