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

Result<Assertions> read_assertions(const Invocation& invocation) {
  Assertions read{invocation.list("sql"), invocation.value("sql-database")};
  // The operator's programs get it as PGDATABASE.
  const ConfigBlock* block = invocation.config().find(ConfigSection::cluster, invocation.cluster());
  const bool programs = block != nullptr && !block->drill_checks.empty();
  if (read.queries.empty() && !programs && invocation.source("sql-database") == Source::command_line)
    return make_error(ErrorKind::usage, "--sql-database", "there is no --sql QUERY to run in it");
  return read;
}

}  // namespace lifeboat::app
