// Patterns of relation names, as psql's \d and pg_dump's --table take them.
//
// pg_dump says only that a pattern of --table matched nothing, of --exclude-table not even that, and never
// how much it matched. So a pattern is turned into the regular expressions that pg_dump asks the server for
// (src/fe_utils/string_utils.c, patternToSQLRegex): unquoted letters in lower case, * any characters, ? any
// one, a dot between schema and name, quotes around what is meant as it stands. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "util/result.h"

namespace lifeboat::ops {

struct NamePattern {
  std::optional<std::string> schema;  // a regular expression; none: relations on the search path
  std::string name;
};

// Errors: usage (more than one dot, an open quote).
Result<NamePattern> parse_name_pattern(std::string_view pattern);

}  // namespace lifeboat::ops
