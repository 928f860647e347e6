// A backup as a running server for a while: mounted (or restored) into a directory of its own, recovered,
// promoted, cut off from production, and taken away again. What drills, the return of single tables and
// comparisons stand on.
//
// Isolation is absolute (T10, T11, T32, T33, T43, T44; isolate.h): nothing that the copy does reaches
// production, its archive or its files.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/restore/replay_check.h"
#include "ops/restore/restore.h"
#include "ops/scratch/isolate.h"
#include "ops/scratch/left_out.h"
#include "ops/scratch/libraries.h"
#include "ops/scratch/scratch_mount.h"
#include "pg/server/launcher.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class ScratchMedium : uint8_t {
  mount,  // blocks come when they are read (ops/mount); where that is not possible, a copy
  copy,   // everything is restored first
};
std::string_view to_string(ScratchMedium medium);
enum class ScratchUntil : uint8_t {
  open,               // promoted and open for writing
  stopped_at_target,  // ended when the target was reached: files as replay left them, and not a byte else
};
enum class AfterScratch : uint8_t { remove, keep };  // of the restored directory; kept ones are copies

struct ScratchOptions {
  RepoLocation location;
  std::optional<Lineage> lineage;
  std::optional<BackupId> backup;
  RecoveryTarget target;
  TimelineChoice timeline_choice = TimelineChoice::unset;
  Timeline timeline;
  ScratchUntil until = ScratchUntil::open;
  // Only these are wanted of it: what is not known to be needless is replayed (left_out.h). Of an open one.
  std::optional<WantedTables> wanted;
  std::string directory;  // absolute; made, must be absent or empty
  AfterScratch after = AfterScratch::remove;
  ScratchMedium medium = ScratchMedium::mount;
  Mounter* mounter = nullptr;  // of a mount; none: a copy
  std::string program;         // lifeboat itself, for restore_command
  std::string pg_bin;
  int jobs = 1;
  int64_t recovery_timeout_ms = 0;  // 0: no limit
};

// Thread rule: one thread.
class Scratch {
 public:
  // Makes the directory and decides on the medium. Errors: precondition (not empty), usage (its path is too
  // long for a socket), those of looking into it. Nothing is removed that was there before.
  static Result<std::unique_ptr<Scratch>> make(ScratchOptions options);
  ~Scratch();  // ends the server and takes everything away; a leftover is only a waste of space
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // What a restore is asked for; the target may be changed before plan().
  RestoreOptions& restore() { return restore_; }
  // Restores or mounts, starts the server and follows it until it is open for writing, or has ended. Errors:
  // not_found (PostgreSQL's programs), check_failed (the server did not come up), those of restoring and
  // mounting.
  Status start(const RestoreSource& source, RestorePlan plan, Reporter& reporter, StopToken& stop);
  // After start(), unless it ended at the target.
  pg::PgServer& server() { return *server_; }
  const repo::Manifest& manifest() const { return manifest_; }
  const RestorePlan& plan() const { return plan_; }
  const RestorePhases& phases() const { return phases_; }
  RecoveryResult& recovery() { return recovery_; }
  const PreloadedLibraries& libraries() const { return libraries_; }
  double mount_seconds() const { return mount_seconds_; }
  double first_query_seconds() const { return first_query_seconds_; }

  ScratchMedium medium() const { return medium_; }
  std::string data() const { return options_.directory + "/data"; }
  // For files of whoever uses this; goes with the rest.
  std::string work_directory() const { return options_.directory + "/work"; }
  const std::vector<std::string>& notes() const { return notes_; }
  // Whether WAL of these tables was left out, as of the target, or something went wrong with that: then
  // another copy has to be made, with nothing left out. `client` is connected to their database.
  Result<bool> lacks(pg::PgClient& client, const std::vector<TableName>& tables) const;
  // Records that were left out.
  uint64_t left_out() const { return left_out_ ? left_out_->records() : 0; }
  // A clean stop, so that the files below can be looked at.
  Status stop_server();
  // Ends the mount: how much it brought from the repository, plain; 0 of a copy.
  Result<uint64_t> end();

 private:
  explicit Scratch(ScratchOptions options) : options_(std::move(options)) {}
  Status prepare();
  Status take_directory();
  void choose_medium();
  Status restore_files(const RestoreSource& source, Reporter& reporter, StopToken& stop);
  Status choose_what_is_left_out(const RestoreSource& source);
  Status read_wal(const RestoreSource& source, RecoveryMinimums granted);
  Status recover(const Settings& settings, Reporter& reporter, StopToken& stop);
  Status check_end() const;
  Status check_recovered(const pg::ServerState& state) const;
  Status remove();
  Status remove_content();
  std::string file(std::string_view name) const;

  ScratchOptions options_;
  bool made_ = false;  // the directory, by us
  bool ours_ = false;  // what is in it: it was empty
  ScratchMedium medium_ = ScratchMedium::copy;
  RestoreOptions restore_;
  RestorePlan plan_;
  repo::Manifest manifest_;
  RestorePhases phases_;
  RecoveryResult recovery_;
  PreloadedLibraries libraries_;
  double mount_seconds_ = 0;
  double first_query_seconds_ = 0;
  std::vector<std::string> notes_;
  std::unique_ptr<ScratchMount> mount_;
  std::optional<LeftOut> left_out_;
  std::unique_ptr<ReplayCheck> checking_;  // reads WAL, with left_out_
  std::optional<pg::PgServer> server_;     // ends before its mount
};

}  // namespace lifeboat::ops
