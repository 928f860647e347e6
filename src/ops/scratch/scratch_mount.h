// A skeleton of the drill's that is mounted for as long as the drill lasts.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "ops/mount/mount.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Serves the mount in a thread. Destroyed, it ends it: nothing may use the directory any more then.
class ScratchMount {
 public:
  // Returns when it is mounted. `directory` holds a finished skeleton; `mounter` and `reporter` are borrowed.
  // Errors: those of serve_mount.
  static Result<std::unique_ptr<ScratchMount>> begin(const std::string& directory, Mounter& mounter, int jobs,
                                                     Reporter& reporter);
  ~ScratchMount();
  ScratchMount(const ScratchMount&) = delete;
  ScratchMount& operator=(const ScratchMount&) = delete;
  // Unmounts and removes what was there.
  Result<ServeOutcome> end();

 private:
  ScratchMount() = default;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool mounted_ = false;                        // guarded by mutex_
  std::optional<Result<ServeOutcome>> served_;  // the same: it has ended
  StopToken stop_;
  std::thread thread_;
};

}  // namespace lifeboat::ops
