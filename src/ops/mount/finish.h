// The end of a mount: a plain directory, or nothing.
//
// Steps are in an order in which a crash leaves either a mount that can be mounted again or a directory that
// is finished: the settings that only a mount needs are taken out, tablespaces get their names, everything is
// made durable, pg_control gets its name (T04), and what is ours goes last, the `state` before all else of
// it.
#pragma once

#include "ops/mount/state.h"

namespace lifeboat::ops {

// Every block is in the directory, and nothing is mounted. Errors: those of the file system; after one the
// mount can be mounted again, or the same call goes on.
Status finish_mount(const MountState& state);

// What stays of a mount when that was cut off at its last steps; nothing when nothing does.
Status forget_mount(const std::string& directory);

// Settings that a server on a mount has in postgresql.auto.conf and one on a plain directory does not need,
// with the value that a mount wants (mount-only settings, by major).
std::vector<std::pair<std::string, std::string>> mount_settings(int major);

}  // namespace lifeboat::ops
