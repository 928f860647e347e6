#include "app/cli/findings.h"

#include <nlohmann/json.hpp>

#include "app/render.h"
#include "util/strings.h"

namespace lifeboat::app {

namespace {
constexpr int kIndent = 4;

// Statements and commands keep their lines.
std::string indented(const std::string& text) {
  std::string out;
  for (std::string_view line : split(trim(text), '\n')) out += cat(std::string(kIndent, ' '), line, "\n");
  return out;
}
}  // namespace

std::string findings_table(const ops::Findings& findings) {
  Table table({{"result"}, {"check"}, {"found"}});
  for (const ops::Finding& finding : findings) {
    table.add({std::string(to_string(finding.severity)), finding.id, finding.found});
  }
  return table.to_string();
}

std::string findings_help(const ops::Findings& findings) {
  std::string text;
  for (ops::Severity severity : {ops::Severity::critical, ops::Severity::warning}) {
    for (const ops::Finding& finding : findings) {
      if (finding.severity != severity) continue;
      text += cat(text.empty() ? "" : "\n", to_string(severity), ": ", finding.id, ": ", finding.found, "\n");
      if (!finding.cause.empty()) text += wrap(finding.cause, 2);
      if (!finding.fix.empty()) text += "  fix:\n";
      for (const std::string& fix : finding.fix) text += indented(fix);
    }
  }
  return text;
}

nlohmann::ordered_json findings_json(const ops::Findings& findings) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ops::Finding& finding : findings) {
    list.push_back({{"id", finding.id},
                    {"what", finding.what},
                    {"severity", to_string(finding.severity)},
                    {"found", finding.found},
                    {"cause", finding.cause},
                    {"fix", finding.fix}});
  }
  return list;
}

}  // namespace lifeboat::app
