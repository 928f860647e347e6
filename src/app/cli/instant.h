// restore --instant: the part of the command that goes on after the options were read.
#pragma once

#include "app/invocation.h"
#include "ops/restore/options.h"

namespace lifeboat::app {

// `target_given`: by an option; without one an instant restore that is there goes on to its own target.
Result<int> restore_instantly(const Invocation& invocation, const ops::RestoreOptions& restore,
                              bool target_given);

}  // namespace lifeboat::app
