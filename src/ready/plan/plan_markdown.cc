// backup_plan.md: the same plan for people, read from top to bottom.
#include <algorithm>
#include <string>

#include "ready/plan/steps.h"
#include "ready/plan/storage_class.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

// Texts come from files and servers: a bar ends a cell.
std::string cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out.empty() ? "-" : out;
}

std::string row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& one : cells) line += cat(" ", cell(one), " |");
  return line + "\n";
}

std::string table(const std::vector<std::string>& titles, const std::vector<std::vector<std::string>>& rows) {
  std::string text = "|";
  for (const std::string& title : titles) text += title.empty() ? std::string("  |") : cat(" ", title, " |");
  text += "\n|";
  for (size_t i = 0; i < titles.size(); ++i) text += "---|";
  text += "\n";
  for (const auto& one : rows) text += row(one);
  return text + "\n";
}

std::string bullets(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += cat("- ", line, "\n");
  return text.empty() ? text : text + "\n";
}

std::string delivered_text(const Delivered& delivered) {
  if (!delivered.seconds) return "not known";
  const std::string plus =
      delivered.error_seconds > 0 ? cat(" ± ", seconds_text(delivered.error_seconds)) : "";
  return cat(seconds_text(*delivered.seconds), plus);
}

std::string targets(const Plan& plan) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, one] : {std::pair{"RPO", &plan.rpo}, std::pair{"RTO", &plan.rto}})
    rows.push_back({name, seconds_text(one->target_seconds), delivered_text(*one),
                    std::string(to_string(one->verdict)), one->path});
  return cat("## Targets\n\n", table({"", "target", "delivered", "", "by"}, rows));
}

std::string arithmetic(std::string_view name, const Delivered& one) {
  std::string text = cat("### ", name, "\n\n");
  if (!one.terms.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const Term& term : one.terms)
      rows.push_back({term.name, cat(number_text(term.seconds), " s"), term.how});
    rows.push_back({"sum", cat(number_text(*one.seconds), " s"),
                    cat("± ", number_text(one.error_seconds), " s; target ", number_text(one.target_seconds),
                        " s: ", to_string(one.verdict))});
    text += table({"term", "time", "how"}, rows);
  }
  if (!one.why.empty()) text += cat("Not known: ", one.why, ".\n\n");
  if (!one.basis.empty()) text += cat("Basis: ", one.basis, ".\n\n");
  if (one.holds_days)
    text += cat("Growth leaves the target met for about ", days_text(*one.holds_days), ".\n\n");
  return text;
}

std::string method(const Plan& plan) {
  std::vector<std::vector<std::string>> rows;
  for (const MethodChoice& one : plan.methods) rows.push_back({one.requirement, one.method, one.reason});
  std::string text =
      cat("## Method\n\nProfile ", to_string(plan.profile), " (", plan.profile_reason, "), substrate ",
          to_string(plan.requirements.substrate), ".\n\n", table({"requirement", "method", "why"}, rows));
  if (!plan.refused.empty()) text += cat("Refused:\n\n", bullets(plan.refused));
  return text;
}

std::string cadence(const Plan& plan) {
  std::string text = cat("## Cadence\n\nEvery ", duration_text(plan.cadence.every_seconds), " (`",
                         plan.cadence.cron, "` UTC): ", plan.cadence.reason, ".\n\n");
  std::vector<std::vector<std::string>> rows;
  for (const CadenceOption& one : plan.cadence.considered)
    rows.push_back({duration_text(one.every_seconds), one.seconds ? seconds_text(*one.seconds) : "not known",
                    one.meets ? "yes" : "no", one.why});
  // Nine times why it is not known says no more than once.
  const bool known = std::ranges::any_of(plan.cadence.considered,
                                         [](const CadenceOption& one) { return one.seconds.has_value(); });
  if (known) text += table({"every", "RTO just before the next", "meets", ""}, rows);
  return text;
}

std::string retention(const Plan& plan) {
  std::string text = cat("## Retention\n\nWindow: ", plan.retention.window, " (", plan.retention.reason,
                         ").\n\n", "## Storage and cost\n\n");
  std::vector<std::vector<std::string>> rows;
  for (const StorageItem& item : plan.storage.items)
    rows.push_back({item.name, cat(item.at_most ? "≤ " : "", bytes_text(item.bytes)), item.how});
  if (plan.storage.bytes)
    rows.push_back({"sum", bytes_text(*plan.storage.bytes), "when retention is in balance"});
  if (plan.storage.bytes_in_a_year)
    rows.push_back(
        {"in a year", bytes_text(*plan.storage.bytes_in_a_year), "with the growth stated or measured"});
  if (!rows.empty()) text += table({"", "bytes", "how"}, rows);
  std::vector<std::string> lines = plan.storage.statements;
  if (plan.storage.cost_per_month)
    lines.push_back(cat("a month: ", money_text(*plan.storage.cost_per_month, plan.storage.currency)));
  if (plan.storage.minimum_charge_per_month)
    lines.push_back(cat("for what is deleted before the minimum, a month: ",
                        money_text(*plan.storage.minimum_charge_per_month, plan.storage.currency)));
  return text + bullets(lines);
}

std::string security(const Plan& plan) {
  std::vector<std::vector<std::string>> rows;
  for (const Threat& one : plan.threats) rows.push_back({one.threat, one.covered, one.answer});
  return cat("## Security and copies\n\n", bullets(plan.security), "## Threats\n\n",
             table({"threat", "covered", "what answers it"}, rows));
}

std::string inventory(const Plan& plan) {
  if (plan.inventory.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (const InventoryItem& one : plan.inventory)
    rows.push_back({one.tool, one.schedule, one.destination, one.archive_success, one.last_backup,
                    one.last_verified_restore, one.retention, one.encryption, one.second_copy});
  return cat("## What is there now\n\n",
             table({"tool", "schedule", "destination", "archiving", "last backup", "last verified restore",
                    "retention", "encryption", "second copy"},
                   rows));
}

std::string configuration(const Plan& plan) {
  if (!plan.configuration_text.empty()) return plan.configuration_text;
  std::string text;
  std::string section;
  for (const ConfigLine& line : plan.configuration) {
    if (line.section != section) text += cat(section.empty() ? "" : "\n", "[", line.section, "]\n");
    section = line.section;
    text += cat(line.key, " = ", line.value, "\n");
  }
  return text;
}

std::string implementation(const Plan& plan) {
  std::string text = "## Implementation\n\n";
  for (size_t i = 0; i < plan.steps.size(); ++i) text += cat(i + 1, ". ", plan.steps[i], "\n");
  text += "\n";
  if (!plan.settings.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const ServerSetting& one : plan.settings)
      rows.push_back({one.name, one.now, one.value, one.restart ? "yes" : "no", one.reason});
    text += table({"setting", "now", "planned", "restart", "why"}, rows);
  }
  return cat(text, "```toml\n", configuration(plan), "```\n\n");
}

std::string gaps(const Plan& plan) {
  if (plan.gaps.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (const Gap& gap : plan.gaps) rows.push_back({std::string(to_string(gap.weight)), gap.what, gap.action});
  std::string text = cat("## Gaps\n\n", table({"weight", "what", "action"}, rows));
  for (const Gap& gap : plan.gaps) {
    if (!gap.decision) continue;
    text +=
        cat("### Decision record (proposed): ", gap.decision->title, "\n\nContext: ", gap.decision->context,
            "\n\nTo be decided by ", plan.requirements.owner, ":\n\n", bullets(gap.decision->options));
  }
  return text;
}

std::string quality(const Plan& plan) {
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < plan.quality.size(); ++i)
    rows.push_back(
        {std::to_string(i + 1), plan.quality[i].claim, plan.quality[i].result, plan.quality[i].evidence});
  return cat("## Quality checks\n\n", table({"", "claim", "result", "evidence"}, rows));
}

}  // namespace

std::string plan_markdown(const Plan& plan) {
  const Requirements& demands = plan.requirements;
  std::string text = cat("# Backup plan of cluster ", plan.cluster, ": ", to_string(plan.status), "\n\n",
                         bullets(plan.reasons), "Owner: ", demands.owner,
                         demands.on_call.empty() ? "" : cat("; on call: ", demands.on_call), ". Facts of ",
                         plan.time.to_string(), ".\n\n");
  text += targets(plan) + method(plan) + "## Arithmetic\n\n" + arithmetic("RPO", plan.rpo) +
          arithmetic("RTO", plan.rto);
  text += cadence(plan) + retention(plan) + security(plan) + inventory(plan) + implementation(plan) +
          gaps(plan) + quality(plan);
  while (text.ends_with("\n\n")) text.pop_back();
  return text;
}

}  // namespace lifeboat::ready
