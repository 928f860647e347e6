// Serving a mount: from a skeleton on disk to a directory that PostgreSQL works in, and back.
//
//   skeleton (skeleton.h) → serve_mount: lease, mount, answer the kernel, bring the rest if asked → unmount
//   → with everything brought: finish, a plain directory with nothing of ours; or: removed; or: as it is, to
//   be mounted again
//
// Below the mount nothing can be started: pg_control and the tablespaces' version directories have other
// names there until finish (shown_names.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "ops/mount/mounter.h"
#include "ops/mount/state.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct ServeOptions {
  std::string directory;  // absolute, without symbolic links
  Mounter* mounter = nullptr;
  Patience patience;
  int jobs = 2;          // threads that bring the rest
  uint64_t rate = 0;     // of bringing the rest, bytes per second; 0: no limit
  bool hydrate = false;  // also when the mount was made without
  // When it can be used; called once.
  std::function<void(const MountState&)> mounted;
  // When every block is there; called once.
  std::function<void()> complete;
  // Once requested, a mount that is to end and that somebody still uses is left. `left` is called with what
  // was fetched when it is, or cannot be unmounted; the call returns when somebody has unmounted it.
  const StopToken* leave = nullptr;
  std::function<void(uint64_t fetched_bytes)> left;
};

enum class MountEnd : uint8_t {
  unmounted,  // as it is; the same command mounts it again
  finished,   // a plain directory
  removed,    // a throw-away one
};

struct ServeOutcome {
  MountEnd end = MountEnd::unmounted;
  MountState state;
  uint64_t fetched_bytes = 0;
  uint64_t fetches = 0;
};

// Mounts and serves until `stop` is requested and nobody uses it any more, or until somebody unmounts it. A
// mount whose process was killed is taken away first. Errors: not_found (no mount there), busy (served by
// somebody), precondition (a server still uses the dead mount), unsupported, those of the repository.
Result<ServeOutcome> serve_mount(const ServeOptions& options, Reporter& reporter, StopToken& stop);

// What is mounted or was: nullopt when `directory` holds no mount; a live one is an error (busy).
Result<std::optional<MountState>> look_at_mount(const std::string& directory, Mounter& mounter);

// Whether `directory` is mounted by a process that has ended. Does not ask it for a file.
bool mount_is_dead(const std::string& directory);

// Removes what an unmounted mount left: all its trees' content.
Status remove_mount(MountState state);

}  // namespace lifeboat::ops
