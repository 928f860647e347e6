// The operator's own questions to what came back: `drill` fails on a wrong answer, `rollback` does not
// promote.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "app/invocation.h"

namespace lifeboat::app {

extern const OptionGroup kAssertionOptions;  // --sql --sql-database

// The queries, and the database in which they run.
std::pair<std::vector<std::string>, std::string> read_assertions(const Invocation& invocation);

}  // namespace lifeboat::app
