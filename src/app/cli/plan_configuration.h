// The configuration that implements a plan: which lines it has beside the plan's own, what the file becomes,
// and writing it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "app/invocation.h"
#include "ready/plan/plan.h"

namespace lifeboat::app {

struct NewConfiguration {
  std::vector<std::string> kept;  // jobs of the file that the plan would have otherwise
  std::string path;
  bool exists = false;
  std::string before;
  std::string after;
  mode_t mode = 0644;
  std::vector<ready::ConfigLine> lines;
};

// Reads the file that there is, and writes nothing. Errors: those of reading it.
Result<NewConfiguration> new_configuration(const Invocation& invocation, const ready::Plan& plan);

// Shows the difference, asks, and writes the file whole or not at all. Errors: config (the file would not be
// read again), precondition (no directory), undecided (nobody confirmed it), those of writing.
Status apply_configuration(const Invocation& invocation, const NewConfiguration& made);

}  // namespace lifeboat::app
