// What a restore is asked to do, and where things go.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/lsn.h"
#include "model/names.h"
#include "model/timestamp.h"
#include "ops/session.h"
#include "ops/wal/reach.h"
#include "pg/server/launcher.h"
#include "pg/server/recovery_settings.h"

namespace lifeboat::pg {
class PgServer;
}

namespace lifeboat::ops {

struct RestorePlan;

enum class ArchiveChoice : uint8_t {
  automatic,  // off beside the original, kept in its place (R5)
  keep,
  off,
};

// Where an external tablespace goes whose location --tablespace does not name.
enum class UnmappedTablespaces : uint8_t {
  original_if_free,  // its recorded location when that is absent or empty; else the restore is refused (T11)
  beside,            // DIRECTORY_tablespaces/<oid>, whatever is at the recorded location: drills
};

// What the data directory is when the restore is done with it.
enum class RestoreMedium : uint8_t {
  copy,   // whole
  mount,  // a skeleton that is mounted next (ops/mount)
};

// What the restored cluster follows, when it is to be a standby.
struct StandbySettings {
  std::string conninfo;                  // primary_conninfo, without a password; "": the repository alone
  std::string slot;                      // primary_slot_name; "": none
  bool keeps_synchronous_names = false;  // synchronous_standby_names stays the business of somebody else
};

struct RestoreOptions {
  RestoreMedium medium = RestoreMedium::copy;
  bool throw_away = false;  // of a mount: what these mean stands in ops/mount/state.h
  bool read_only = false;
  bool hydrate = false;
  bool instant = false;            // of a mount: restore --instant
  bool reads_wal_later = false;    // not in the preflight, but beside replay (replay_check.h)
  RepoLocation location;           // key path and URL stand in the generated restore_command
  std::optional<Lineage> lineage;  // default: the newest of the cluster
  std::optional<BackupId> backup;  // default: the newest that ends before the target on the target's history
  RecoveryTarget target;           // how far recovery goes (ops/wal/reach.h)
  TimelineChoice timeline_choice = TimelineChoice::unset;
  Timeline timeline;                       // of TimelineChoice::number
  std::optional<pg::TargetAction> action;  // default: pause with a target, promote for latest

  // Names what is made and kept beside it, so that a plan that was shown and what is done then agree; unset:
  // now.
  Timestamp moment;
  std::string directory;  // absolute: the new directory, or with `replace` the cluster's data directory
  bool replace = false;   // put the restored cluster in the place of the one that is there (R3)
  // What is in the directory is compared by block and overwritten where it differs (delta.h). With `replace`
  // it is the cluster's own and nothing is kept aside, else a copy that was restored before.
  bool delta = false;
  std::optional<StandbySettings> standby;
  // The preflight goes on where a server runs in `directory`, which the caller stops before the rest.
  bool stops_server = false;
  std::vector<std::pair<std::string, std::string>> tablespaces;  // recorded location → new location
  UnmappedTablespaces unmapped = UnmappedTablespaces::original_if_free;

  ArchiveChoice archive = ArchiveChoice::automatic;
  std::string program;  // absolute path of lifeboat, for restore_command
  std::string spool;  // where `wal get` keeps what it fetched ahead (ops/wal/prefetch.h); "": its own choice
  std::string placed_wal;  // WalCommandLine::placed
  std::string pg_bin;      // PostgreSQL's programs; empty: searched
  int jobs = 1;
  std::optional<int> port;                                    // written to the settings when given
  std::optional<std::string> socket_directory;                // likewise
  std::vector<std::pair<std::string, std::string>> settings;  // written last, above everything else
  bool start = false;  // start the server and watch its recovery to the end
  std::vector<std::pair<std::string, std::string>> start_settings;  // of that start alone, above every file
  int64_t recovery_timeout_ms = 0;                                  // 0: no limit
  // Before the first change on this host: a server is about to be stopped, or a directory written. May come
  // twice. May be empty.
  std::function<void(const RestorePlan& plan)> begins = {};
  // With start: where recovery had to end, asked when it has; empty: as planned.
  std::function<Result<Lsn>()> expected_stop = {};
  // With start: what the server does, at each look while it recovers. May be empty.
  std::function<void(const pg::ServerState&)> watching = {};
  // With start: the server answers its first query. May be empty.
  std::function<void(int port, const std::string& socket_directory)> accepting = {};
  // With start: looks at the server that is paused where the plan says, before it is promoted. An error
  // leaves it running and paused. May be empty.
  std::function<Status(pg::PgServer& server, const RestorePlan& plan)> validate = {};
  // With start: the server accepts writes, for good: of an instant restore on the plain directory. May be
  // empty.
  std::function<Status(pg::PgServer& server)> promoted = {};
};

}  // namespace lifeboat::ops
