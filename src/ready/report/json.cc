// The report for programs; its schema stands beside the command.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "ready/report/document.h"
#include "ready/signals/report_json.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::ordered_json;

Json number(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}
Json time(Timestamp value) {
  return value.valid() ? Json(value.to_iso()) : Json(nullptr);
}

Json target_json(const Stated& target, const std::optional<double>& value, const std::string& basis) {
  return {{"target_seconds", number(target.value)},
          {"stated_in", target ? Json(target.source) : Json(nullptr)},
          {"delivered_seconds", number(value)},
          {"basis", basis}};
}

Json item_json(const JudgedItem& item) {
  Json missing = Json::array();
  if (item.answer.outcome() == Outcome::fail) {
    for (const Missing& one : item.answer.missing())
      missing.push_back({{"what", one.what}, {"fix", one.fix}});
  }
  return {{"id", item.info->id},
          {"list", to_string(item.info->list)},
          {"what", item.info->what},
          {"result", to_string(item.answer.outcome())},
          {"found", item.answer.says()},
          {"missing", missing},
          {"evidence", item.answer.evidence()}};
}

Json rehearsals_json(const std::vector<Rehearsal>& rehearsals) {
  Json list = Json::array();
  for (const Rehearsal& one : rehearsals) {
    Json phases = Json::object();
    for (const auto& [name, seconds] : one.phases) phases[name] = seconds;
    list.push_back({{"evidence", one.id},
                    {"kind", to_string(one.kind)},
                    {"time", time(one.time)},
                    {"passed", one.passed},
                    {"problems", one.problems},
                    {"backup", one.backup},
                    {"target", one.target},
                    {"rto_seconds", number(one.rto_seconds)},
                    {"rpo_seconds", number(one.rpo_seconds)},
                    {"phases", phases}});
  }
  return list;
}

Json policy_json(const repo::RetentionPolicy& policy) {
  return {{"keep_days", number(policy.keep_days)},
          {"keep_count", policy.keep_count ? Json(*policy.keep_count) : Json(nullptr)}};
}

Json storage_json(const ReportFacts& facts) {
  const StorageCost cost = storage_cost(facts);
  Json stored = nullptr;
  if (facts.stored)
    stored = {{"total_bytes", facts.stored->total()},
              {"backup_bytes", facts.stored->backups},
              {"wal_bytes", facts.stored->wal},
              {"dump_bytes", facts.stored->dumps},
              {"other_bytes", facts.stored->other}};
  auto or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  return {{"stored", stored},
          {"price_per_gb_month", number(facts.settings.price.per_gb_month)},
          {"currency", or_null(cost.currency)},
          {"storage_class", or_null(facts.settings.price.storage_class)},
          {"cost_per_month", number(cost.per_month)},
          {"statements", cost.says}};
}

Json retention_json(const ReportFacts& facts) {
  const repo::RetentionPolicy& policy = facts.settings.retention;
  uint64_t stored = 0;
  for (const repo::Card& card : facts.doctor().repository.backups) stored += card.totals.stored_bytes;
  return {{"pitr_days", number(policy.pitr_days)},
          {"keep_days", number(policy.keep_days)},
          {"keep_count", policy.keep_count ? Json(*policy.keep_count) : Json(nullptr)},
          {"dumps", policy_json(facts.settings.dump_retention)},
          {"compliance_days", number(facts.settings.compliance_days.value)},
          {"stored_bytes", stored}};
}

Json jobs_json(const std::vector<ScheduledJob>& jobs) {
  Json list = Json::array();
  for (const ScheduledJob& job : jobs)
    list.push_back(
        {{"name", job.name}, {"when", job.when}, {"command", job.command}, {"failures", job.failures}});
  return list;
}

Json runbooks_json(const std::vector<WrittenRunbook>& runbooks) {
  Json list = Json::array();
  for (const WrittenRunbook& one : runbooks)
    list.push_back({{"id", one.id},
                    {"path", one.path},
                    {"written", time(one.written)},
                    {"reviewed", time(one.reviewed)},
                    {"reviewer", one.reviewer.empty() ? Json(nullptr) : Json(one.reviewer)}});
  return list;
}

}  // namespace

Json readiness_json(const ReportFacts& facts, const Readiness& readiness) {
  Json items = Json::array();
  Json evidence = Json::object();
  for (const JudgedItem& item : readiness.items) {
    items.push_back(item_json(item));
    for (const std::string& id : item.answer.evidence()) evidence[id] = describe_evidence(facts, id);
  }
  Json gaps = Json::array();
  for (const ReportGap& gap : readiness.gaps)
    gaps.push_back({{"what", gap.what}, {"fix", gap.fix}, {"items", gap.items}});
  const DeliveredNow& now = readiness.delivered;
  return {{"cluster", facts.signals.cluster},
          {"repository", facts.doctor().repository.url},
          {"time", time(facts.now())},
          {"tool_version", facts.tool_version},
          {"verdict", readiness.ready ? "ready" : "not_ready"},
          {"passed", count(readiness.items, Outcome::pass)},
          {"failed", count(readiness.items, Outcome::fail)},
          {"not_applicable", count(readiness.items, Outcome::not_applicable)},
          {"rpo", target_json(facts.settings.rpo, now.rpo_seconds, now.rpo_basis)},
          {"rto", target_json(facts.settings.rto, now.rto_seconds, now.rto_basis)},
          {"items", items},
          {"gaps", gaps},
          {"decision_drafts", decision_drafts(facts, readiness)},
          {"backups", facts.doctor().repository.backups.size()},
          {"newest_backup", facts.newest_backup() ? Json(facts.newest_backup()->id.text) : Json(nullptr)},
          {"retention", retention_json(facts)},
          {"storage", storage_json(facts)},
          {"schedule", jobs_json(facts.settings.jobs)},
          {"rehearsals", rehearsals_json(facts.rehearsals)},
          {"rehearsals_failed", std::ranges::count(facts.rehearsals, false, &Rehearsal::passed)},
          {"runbooks", runbooks_json(facts.runbooks)},
          {"signals", report_json(facts.report)},
          {"evidence", evidence}};
}

}  // namespace lifeboat::ready
