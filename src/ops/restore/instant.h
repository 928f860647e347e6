// `restore --instant`: the server answers queries within seconds, on a mount, while everything is brought
// behind its back; then it is stopped for a moment and runs on the plain directory.
//
//   preflight, skeleton     as any restore, with sparse files in the place of the copy (restore.h)
//   mount                   a process of its own, which outlives this one and brings the rest (ops/mount)
//   start                   read-only queries as soon as the backup is consistent; recovery, then promotion
//                           or a pause
//   wait                    until every block is there
//   switch                  CHECKPOINT, stop, unmount and finish, start on the same path
//
// Everything that is needed to go on stands in the mount's state, and from its end until the server runs on
// the plain directory in a file there (kInstantMark): killed at any point, the same command finds out where
// it was. An unfinished skeleton starts over; a server that lost its mount is ended; one that runs goes on.
// In the end nothing of ours is left but the log that the server was started with, startup.log.
#pragma once

#include <functional>
#include <string>

#include "ops/mount/mounter.h"
#include "ops/mount/state.h"
#include "ops/restore/restore.h"

namespace lifeboat::ops {

struct InstantOptions {
  RestoreOptions restore;    // medium and what belongs to it are set here
  bool target_given = true;  // false: one that is there goes on to its own target
                             // (a backup that was asked for has to be the same)
  Mounter* mounter = nullptr;
  // Starts the process that mounts and serves the directory, which exists; returns when it is mounted.
  std::function<Status(const std::string& directory)> start_mount;
  struct Accepting {
    double seconds = 0;  // since the command began
    int port = 0;
    std::string socket_directory;
    bool recovering = false;  // read only until it is promoted
  };
  std::function<void(const Accepting&)> accepting;  // queries are answered
};

struct InstantOutcome {
  MountState state;
  std::optional<RecoveryResult> recovery;
  double accepting_seconds = 0;  // to the first answer; 0: it had been answering before this call
  double recovered_seconds = 0;  // to the target, promoted if asked
  double complete_seconds = 0;   // to the moment when every block was there
  double switch_seconds = 0;     // in which the server did not answer
  bool running = false;          // at the end
  std::vector<std::string> notes;
  std::vector<std::string> copy_out_commands;  // as of a RestoreOutcome
  std::string next_command;
};

// Is there something of an instant restore in the directory that would be gone on with?
Result<bool> holds_instant_restore(const std::string& directory);

// Up to a mounted skeleton's state on disk: preflight and skeleton, nothing when they are there already.
// `precondition` when what is there is of another restore.
Status prepare_instant(const InstantOptions& options, Reporter& reporter, StopToken& stop);
// From there to the end. `began_us`: when the command began, by the monotonic clock.
Result<InstantOutcome> finish_instant(const InstantOptions& options, int64_t began_us, Reporter& reporter,
                                      StopToken& stop);

}  // namespace lifeboat::ops
