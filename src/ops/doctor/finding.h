// What a check says: the vocabulary that `init` and `doctor` share.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lifeboat::ops {

enum class Severity : uint8_t {
  ok,
  skipped,   // could not be looked at; `found` says why
  warning,   // works now, and will hurt some day
  critical,  // backup, archiving or recovery does not work, or would lose data
};
std::string_view to_string(Severity severity);

struct Finding {
  std::string id;    // stable: "archive_command"
  std::string what;  // what was checked: "archive_command pushes into this repository"
  Severity severity = Severity::ok;
  std::string found;             // what was seen
  std::string cause;             // why it is so, as far as it can be told; empty when ok
  std::vector<std::string> fix;  // commands, SQL statements or settings, in order; empty when ok
};

using Findings = std::vector<Finding>;

size_t count(const Findings& findings, Severity severity);
// The first finding with that id, or null.
const Finding* find(const Findings& findings, std::string_view id);

}  // namespace lifeboat::ops
