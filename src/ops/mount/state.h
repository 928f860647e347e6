// What a mount keeps of itself in DIR/lifeboat.mount, below the mount: enough to mount the directory again
// after a crash, and nothing secret.
//
//   state    text: where the blocks come from, which trees there are, what was asked for
//   files    the table of files (file_table.h)
//
// `state` is written last, when everything else of the skeleton is durable. A directory with a `state` is a
// mount, mounted or not; while the skeleton is being made it is an unfinished restore.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/names.h"
#include "ops/mount/shown_names.h"
#include "ops/session.h"
#include "pg/server/recovery_settings.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

struct MountedTree {
  Oid tablespace = 0;  // 0: the data directory
  std::string path;    // absolute, without symbolic links
  TreeKind kind() const { return tablespace == 0 ? TreeKind::data_directory : TreeKind::tablespace; }
};

// Of a mount that `restore --instant` made: what it needs to go on after it was killed.
struct InstantRestore {
  std::string target;             // as it was asked for, to tell whether the same is asked again
  Lsn stop;                       // where recovery must end
  Timeline timeline;              // that it follows
  std::optional<Timestamp> time;  // of a target that is one, which an earlier commit may meet (T31)
  bool exclusive = false;         // of that time
  Lsn replay_from;                // for progress
  uint64_t wal_bytes = 0;
  std::string pg_bin;  // directory
};

struct MountState {
  std::string id;         // of this mount: 16 hex digits, in every file's mark
  RepoLocation location;  // without patience
  Lineage lineage;
  BackupId backup;
  uint32_t block_size = 8192;
  uint64_t files = 0;       // in the table
  uint64_t bytes = 0;       // of these files
  std::string table_hash;   // of the table, 32 hex digits
  bool throw_away = false;  // removed when it is unmounted
  std::string boot;         // of the machine when a throw_away was made: nothing of it was ever synced
  bool removing = false;    // that has begun
  bool read_only = false;
  bool hydrate = false;  // everything is brought, then the directory stands on its own
  std::string owner;     // of the files
  std::string next;      // the command that starts the server, for people
  pg::TargetAction action = pg::TargetAction::pause;  // of that server, at its target
  std::optional<InstantRestore> instant;
  std::vector<MountedTree> trees;  // [0] is the data directory

  static std::string make_id();
  std::string to_text() const;
  static Result<MountState> parse(std::string_view object, std::string_view text);
};

std::string state_path(std::string_view directory);
std::string table_path(std::string_view directory);
// Durable. `directory`/lifeboat.mount exists.
Status write_state(const std::string& directory, const MountState& state);
// `directory` is not mounted. nullopt: it is no mount. `precondition`: it was moved, or is seen under another
// path.
Result<std::optional<MountState>> read_state(const std::string& directory);
// Of a directory that is plain since, and whose server has to be started yet (kInstantMark). nullopt: there
// is none.
Result<std::optional<MountState>> read_instant_mark(const std::string& directory);
// Holds off everybody else for as long as the descriptor is open. `busy` when somebody has it.
Result<Fd> lock_state(const std::string& directory);

}  // namespace lifeboat::ops
