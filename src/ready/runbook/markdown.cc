#include "ready/runbook/runbook.h"
#include "ready/runbook/shelf.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr size_t kWidth = 100;

// "PREFIX text", wrapped, with the lines after the first indented as far as the prefix is long.
std::string wrapped(std::string_view prefix, std::string_view text) {
  const std::string indent(prefix.size(), ' ');
  std::string out(prefix);
  size_t column = prefix.size();
  for (std::string_view word : split(text, ' ')) {
    if (column > prefix.size() && column + 1 + word.size() > kWidth) {
      out += cat("\n", indent);
      column = indent.size();
    } else if (column > prefix.size()) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

std::string steps(std::string_view title, const std::vector<RunbookStep>& list) {
  std::string text = cat("\n## ", title, "\n\n");
  int number = 1;
  for (const RunbookStep& step : list) {
    text += wrapped(cat(number++, ". "), step.says);
    if (!step.commands.empty()) text += "\n";
    for (const RunbookCommand& command : step.commands) text += cat("       ", command.line, "\n");
    if (!step.commands.empty()) text += "\n";
  }
  return text;
}

std::string bullets(std::string_view title, const std::vector<std::string>& list) {
  std::string text = cat("\n## ", title, "\n\n");
  for (const std::string& one : list) text += wrapped("- ", one);
  return text;
}

std::string known(const std::string& text) {
  return text.empty() ? "not known" : text;
}

std::string place(const RunbookFacts& facts) {
  std::string text = "\n## The cluster\n\n";
  text += cat("- Host ", known(facts.host), ", PostgreSQL ",
              facts.major == 0 ? "not known" : cat(facts.major), ", port ", known(facts.port), ", user ",
              facts.os_user, ", system identifier ", known(facts.system_id), "\n");
  text += cat("- Data directory ", known(facts.pgdata), "\n");
  for (const std::string& space : facts.tablespaces) text += cat("- Tablespace ", space, "\n");
  text += cat("- Repository ", facts.us.where.url, " (", known(facts.repository_place), ")\n");
  for (const std::string& key : facts.keys) text += cat("- Key: ", key, "\n");
  const std::string_view none = facts.repository_problem.empty() ? "none" : "not known";
  text += cat("- Newest backup ", facts.newest_backup.empty() ? none : facts.newest_backup,
              ", newest verified ", facts.newest_verified.empty() ? none : facts.newest_verified, "\n");
  text += cat("- Targets: RPO ", facts.rpo_target ? format_seconds(*facts.rpo_target) : "not stated",
              ", RTO ", facts.rto_target ? format_seconds(*facts.rto_target) : "not stated", "\n");
  text += cat("- These facts are from ", known(facts.from), "\n");
  return text;
}

}  // namespace

std::string runbook_markdown(const RunbookFacts& facts, const Runbook& runbook, const Review& review) {
  std::string text = cat("# Runbook ", runbook.id, ": ", runbook.title, "\n\n", kClusterLine, facts.cluster,
                         "\n\n", kWrittenLine, facts.written.to_string(), "\n\n", kReviewedLine,
                         review.by.empty() ? "by nobody yet" : cat(review.at.to_string(), " by ", review.by),
                         "\n\n", "Call: ", facts.owner.empty() ? "nobody is named" : facts.owner, "\n\n");
  text += wrapped("", cat("Minutes: ", runbook.minutes));
  text += bullets("Symptoms", runbook.symptoms);
  text += steps("First diagnostic", runbook.diagnostic);
  text += steps("Safe first action", runbook.action);
  text += steps("Afterwards", runbook.afterwards);
  text += bullets("Never", runbook.never);
  text += place(facts);
  return text;
}

}  // namespace lifeboat::ready
