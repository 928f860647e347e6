#include "ops/dump/pattern.h"

#include <vector>

#include "util/strings.h"

namespace lifeboat::ops {

Result<NamePattern> parse_name_pattern(std::string_view pattern) {
  // "$" is left as a character of names; inside of quotes every special character is.
  constexpr std::string_view kSpecial = "|()[]{}.^$+\\*?";
  std::vector<std::string> parts(1);
  bool quoted = false;
  for (size_t at = 0; at < pattern.size(); ++at) {
    char c = pattern[at];
    if (c == '"') {
      bool doubled = quoted && at + 1 < pattern.size() && pattern[at + 1] == '"';
      if (doubled) {
        parts.back() += '"';
        ++at;
      } else {
        quoted = !quoted;
      }
    } else if (!quoted && c == '.') {
      parts.emplace_back();
    } else if (!quoted && c == '*') {
      parts.back() += ".*";
    } else if (!quoted && c == '?') {
      parts.back() += '.';
    } else if (c == '$' || (quoted && kSpecial.find(c) != std::string_view::npos)) {
      parts.back() += cat("\\", c);
    } else if (!quoted && c == '[' && pattern.substr(at, 2) == "[]") {
      parts.back() += "\\[";  // the name of an array type
    } else {
      parts.back() += quoted ? c : to_lower(std::string_view(&c, 1))[0];
    }
  }
  if (quoted || parts.size() > 2 || parts.back().empty()) {
    return make_error(ErrorKind::usage, std::string(pattern),
                      quoted ? "a quote that does not end" : "not a pattern of [SCHEMA.]TABLE");
  }
  for (std::string& part : parts) part = cat("^(", part, ")$");
  NamePattern parsed;
  parsed.name = parts.back();
  if (parts.size() == 2) parsed.schema = parts.front();
  return parsed;
}

}  // namespace lifeboat::ops
