#include "app/plan_ask.h"

#include <functional>

#include "app/terminal.h"
#include "app/values.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

// An empty answer is `empty`, when there may be one.
Result<std::string> ask(std::string_view question, const std::function<bool(const std::string&)>& good,
                        std::string_view expected) {
  while (true) {
    TRY_ASSIGN(std::string answer, ask_line(cat(question, ": ")));
    answer = trim(answer);
    if (good(answer)) return answer;
    TRY(tell_terminal(cat("expected ", expected, "\n")));
  }
}

bool is_duration(const std::string& text) {
  return parse_duration(text).has_value();
}
bool is_size_or_empty(const std::string& text) {
  return text.empty() || parse_bytes(text).has_value();
}

Result<std::optional<double>> ask_size(std::string_view question) {
  TRY_ASSIGN(std::string answer, ask(question, is_size_or_empty, "a size such as 200GB, or nothing"));
  if (answer.empty()) return std::optional<double>();
  return std::optional(static_cast<double>(*parse_bytes(answer)));
}

Result<std::optional<double>> ask_days(std::string_view question) {
  TRY_ASSIGN(std::string answer,
             ask(
                 question, [](const std::string& text) { return text.empty() || parse_u64(text); },
                 "days, or nothing"));
  if (answer.empty()) return std::optional<double>();
  return std::optional(static_cast<double>(*parse_u64(answer)));
}

Result<double> ask_target(std::string_view question, std::string_view name) {
  TRY_ASSIGN(std::string answer,
             ask(
                 question, [](const std::string& text) { return text.empty() || is_duration(text); },
                 "a time such as 5min"));
  if (answer.empty())
    return make_error(ErrorKind::undecided, "", cat(name, " is not stated"))
        .with_hint("only the owner of the data can decide it; no plan is made without it");
  return static_cast<double>(*parse_duration(answer)) / 1e6;
}

}  // namespace

Result<ready::Requirements> ask_requirements() {
  ready::Requirements found;
  TRY_ASSIGN(found.rpo_seconds, ask_target("RPO: how much may be lost (5min; 0 for nothing)", "RPO"));
  TRY_ASSIGN(found.rto_seconds, ask_target("RTO: how long may recovery take (15min)", "RTO"));
  TRY_ASSIGN(found.targets_source, ask(
                                       "Who decided that, and where is it written (may be empty)",
                                       [](const std::string&) { return true; }, ""));
  TRY_ASSIGN(std::string substrate, ask(
                                        "Substrate: self-managed, managed or operator",
                                        [](const std::string& text) {
                                          return text == "self-managed" || text == "managed" ||
                                                 text == "operator";
                                        },
                                        "self-managed, managed or operator"));
  found.substrate = substrate == "managed"    ? ready::Substrate::managed
                    : substrate == "operator" ? ready::Substrate::operated
                                              : ready::Substrate::self_managed;
  TRY_ASSIGN(found.owner, ask(
                              "Owner: who answers for the recovery",
                              [](const std::string& text) { return !text.empty(); }, "a name or an address"));
  TRY_ASSIGN(found.on_call,
             ask("Who is on call (may be empty)", [](const std::string&) { return true; }, ""));
  TRY_ASSIGN(found.database_size_bytes, ask_size("Size of the cluster (empty: read from the server)"));
  TRY_ASSIGN(found.wal_bytes_per_day, ask_size("WAL a day (empty: read from the server)"));
  TRY_ASSIGN(found.growth_bytes_per_day, ask_size("Growth a day (empty: read from the backups)"));
  TRY_ASSIGN(found.retention_days, ask_days("Days of point-in-time recovery (empty: 30)"));
  TRY_ASSIGN(found.compliance_days, ask_days("Days prescribed by law or contract (empty: none)"));
  TRY_ASSIGN(found.storage.url,
             ask("Repository URL (may be empty)", [](const std::string&) { return true; }, ""));
  TRY_ASSIGN(found.storage.second_copy,
             ask("URL of a second copy (may be empty)", [](const std::string&) { return true; }, ""));
  found.recovery_levels = {"cluster"};
  return found;
}

}  // namespace lifeboat::app
