// A skeleton of the drill's that is mounted for as long as the drill lasts.
#pragma once

#include <memory>
#include <string>

#include "ops/mount/mount.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Serves the mount in a thread. Destroyed, it ends it: nothing may use the directory any more then. Somebody
// else who does, with a working directory in it, is waited for a while; then the mount is left, with a
// warning, and ends with this process.
class ScratchMount {
 public:
  // Returns when it is mounted. `directory` holds a finished skeleton; `mounter`, `reporter` and `stop`,
  // which cuts that waiting short, are borrowed. Errors: those of serve_mount.
  static Result<std::unique_ptr<ScratchMount>> begin(const std::string& directory, Mounter& mounter, int jobs,
                                                     Reporter& reporter, const StopToken& stop);
  ~ScratchMount();
  ScratchMount(const ScratchMount&) = delete;
  ScratchMount& operator=(const ScratchMount&) = delete;
  // Unmounts and removes what was there; returns how much was brought from the repository, plain.
  Result<uint64_t> end();

 private:
  struct Serving;  // shared with the thread, which goes on with a mount that is left
  ScratchMount(std::string directory, std::shared_ptr<Serving> serving, Reporter& reporter,
               const StopToken& stop);
  bool waits_in_vain();

  std::string directory_;
  std::shared_ptr<Serving> serving_;
  Reporter& reporter_;
  const StopToken& stop_;
};

}  // namespace lifeboat::ops
