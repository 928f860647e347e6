// How findings of checks are shown; shared by init and doctor.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "ops/doctor/finding.h"

namespace lifeboat::app {

// One line per check: severity, id, what was found.
std::string findings_table(const ops::Findings& findings);
// For each warning and critical finding: what, cause and how to mend it. "" when there is none.
std::string findings_help(const ops::Findings& findings);
nlohmann::ordered_json findings_json(const ops::Findings& findings);

// The schema of one element of findings_json(), for the table of commands.
#define LIFEBOAT_FINDING_SCHEMA                                                                      \
  R"({"type": "object", "required": ["id", "severity", "what", "found", "cause", "fix"], )"          \
  R"("properties": {"id": {"type": "string"}, "what": {"type": "string"}, )"                         \
  R"("severity": {"enum": ["ok", "skipped", "warning", "critical"]}, "found": {"type": "string"}, )" \
  R"("cause": {"type": "string"}, "fix": {"type": "array", "items": {"type": "string"}}}})"

}  // namespace lifeboat::app
