// `plan --ask`: the requirements asked for at the terminal, one question at a time.
#pragma once

#include "ready/plan/requirements.h"
#include "util/result.h"

namespace lifeboat::app {

// Asks again until an answer can be read. Errors: undecided when RPO or RTO is left empty; precondition
// without a terminal; cancelled at the end of input.
Result<ready::Requirements> ask_requirements();

}  // namespace lifeboat::app
