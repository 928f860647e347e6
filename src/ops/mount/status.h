// How far a mount is, for whoever waits for it: a small file in the data directory that the process which
// serves the mount overwrites in place, readable through the mount. Behind the status it has the mount's
// state, which is hidden where it is kept.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ops/mount/state.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

struct MountStatus {
  pid_t pid = 0;         // that serves
  uint64_t brought = 0;  // bytes, of those that the backup had
  uint64_t total = 0;
  bool complete = false;        // every block is there; unmounting finishes the directory
  std::string problem;          // why not everything can be brought
  std::string to_text() const;  // always of the same length
  static std::optional<MountStatus> parse(std::string_view text);
};

// nullopt: there is none, or it is just being written.
std::optional<MountStatus> read_status(const std::string& directory);

// The state of a mount that is served; nullopt: nothing is, or it does not answer.
Result<std::optional<MountState>> read_mounted_state(const std::string& directory);

// Thread rule: one thread.
class StatusFile {
 public:
  // `directory`: below the mount.
  static Result<StatusFile> create(const std::string& directory, const MountState& state);
  Status write(const MountStatus& status);

 private:
  StatusFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Fd fd_;
  std::string path_;
  std::string written_;
};

}  // namespace lifeboat::ops
