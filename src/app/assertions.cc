#include "app/assertions.h"

namespace lifeboat::app {
namespace {

constexpr Option kAssertions[] = {
    {.name = "sql",
     .kind = ValueKind::text,
     .placeholder = "QUERY",
     .help = "an assertion about what came back: must return one row whose first column is true",
     .repeatable = true},
    {.name = "sql-database",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "database in which assertions run",
     .default_text = "postgres"},
};

}  // namespace

constinit const OptionGroup kAssertionOptions = {"Assertions", kAssertions};

std::pair<std::vector<std::string>, std::string> read_assertions(const Invocation& invocation) {
  return {invocation.list("sql"), invocation.value("sql-database")};
}

}  // namespace lifeboat::app
