// The operator's own questions to what came back: `drill` fails on a wrong answer, `rollback` does not
// promote.
#pragma once

#include <string>
#include <vector>

#include "app/invocation.h"
#include "util/result.h"

namespace lifeboat::app {

extern const OptionGroup kAssertionOptions;  // --sql --sql-database

struct Assertions {
  std::vector<std::string> queries;
  std::string database;  // in which they run
};
// Errors: usage (a database and nothing to run in it).
Result<Assertions> read_assertions(const Invocation& invocation);

}  // namespace lifeboat::app
