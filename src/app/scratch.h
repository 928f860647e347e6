// A backup as a throw-away server: what every command that makes one hands over alike.
#pragma once

#include <string>

#include "app/invocation.h"
#include "ops/scratch/scratch.h"

namespace lifeboat::app {

// Repository, directory, who mounts, this program, --pg-bin and --jobs; which backup and which moment is the
// caller's. Errors: usage (no repository).
Result<ops::ScratchOptions> scratch_options(const Invocation& invocation, std::string directory);

}  // namespace lifeboat::app
