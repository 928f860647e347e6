#include "app/scratch.h"

#include "app/location.h"
#include "ops/wal/commands.h"

namespace lifeboat::app {

Result<ops::ScratchOptions> scratch_options(const Invocation& invocation, std::string directory) {
  ops::ScratchOptions scratch;
  TRY_ASSIGN(scratch.location, repo_location(invocation));
  scratch.directory = std::move(directory);
  scratch.mounter = &invocation.mounter();
  TRY_ASSIGN(scratch.program, ops::own_program_path());
  scratch.pg_bin = invocation.pg_bin().value_or("");
  scratch.jobs = invocation.jobs();
  return scratch;
}

}  // namespace lifeboat::app
