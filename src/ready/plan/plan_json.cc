// backup_plan.json.
#include <cmath>
#include <nlohmann/json.hpp>

#include "ready/plan/plan.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::ordered_json;

// Tenths of seconds, whole bytes: more would be noise.
Json tenths(double value) {
  return std::round(value * 10) / 10;
}
Json tenths(const std::optional<double>& value) {
  return value ? tenths(*value) : Json(nullptr);
}
Json whole(double value) {
  return static_cast<int64_t>(std::llround(value));
}
Json whole(const std::optional<double>& value) {
  return value ? whole(*value) : Json(nullptr);
}
Json cents(const std::optional<double>& value) {
  return value ? Json(std::round(*value * 100) / 100) : Json(nullptr);
}

Json to_json(const Delivered& delivered) {
  Json terms = Json::array();
  for (const Term& term : delivered.terms)
    terms.push_back({{"name", term.name}, {"seconds", tenths(term.seconds)}, {"how", term.how}});
  return {{"target_seconds", delivered.target_seconds},
          {"delivered_seconds", tenths(delivered.seconds)},
          {"error_seconds", tenths(delivered.error_seconds)},
          {"verdict", to_string(delivered.verdict)},
          {"by", delivered.path},
          {"terms", std::move(terms)},
          {"basis", delivered.basis},
          {"not_known", delivered.why},
          {"holds_days", whole(delivered.holds_days)}};
}

Json to_json(const Cadence& cadence) {
  Json considered = Json::array();
  for (const CadenceOption& one : cadence.considered)
    considered.push_back({{"every_seconds", one.every_seconds},
                          {"rto_seconds", tenths(one.seconds)},
                          {"meets", one.meets},
                          {"why", one.why}});
  return {{"every_seconds", cadence.every_seconds},
          {"cron", cadence.cron},
          {"reason", cadence.reason},
          {"considered", std::move(considered)}};
}

Json to_json(const StorageNeed& need) {
  Json items = Json::array();
  for (const StorageItem& item : need.items)
    items.push_back(
        {{"name", item.name}, {"bytes", whole(item.bytes)}, {"at_most", item.at_most}, {"how", item.how}});
  return {{"bytes", whole(need.bytes)},
          {"bytes_in_a_year", whole(need.bytes_in_a_year)},
          {"items", std::move(items)},
          {"cost_per_month", cents(need.cost_per_month)},
          {"minimum_duration_charge_per_month", cents(need.minimum_charge_per_month)},
          {"currency", need.currency},
          {"statements", need.statements}};
}

Json to_json(const Gap& gap) {
  Json json = {{"id", gap.id}, {"weight", to_string(gap.weight)}, {"what", gap.what}, {"action", gap.action}};
  json["decision_record"] = nullptr;
  if (gap.decision)
    json["decision_record"] = {{"title", gap.decision->title},
                               {"status", "proposed"},
                               {"context", gap.decision->context},
                               {"options", gap.decision->options}};
  return json;
}

Json inventory_json(const Plan& plan) {
  Json list = Json::array();
  for (const InventoryItem& item : plan.inventory)
    list.push_back({{"tool", item.tool},
                    {"schedule", item.schedule},
                    {"destination", item.destination},
                    {"archive_success", item.archive_success},
                    {"last_backup", item.last_backup},
                    {"last_verified_restore", item.last_verified_restore},
                    {"retention", item.retention},
                    {"encryption", item.encryption},
                    {"second_copy", item.second_copy}});
  return list;
}

Json implementation_json(const Plan& plan) {
  Json settings = Json::array();
  for (const ServerSetting& one : plan.settings)
    settings.push_back({{"name", one.name},
                        {"value", one.value},
                        {"now", one.now},
                        {"restart", one.restart},
                        {"reason", one.reason}});
  Json configuration = Json::array();
  for (const ConfigLine& line : plan.configuration)
    configuration.push_back({{"section", line.section}, {"key", line.key}, {"toml", line.value}});
  return {
      {"settings", std::move(settings)}, {"configuration", std::move(configuration)}, {"steps", plan.steps}};
}

}  // namespace

std::string plan_json(const Plan& plan) {
  Json methods = Json::array();
  for (const MethodChoice& one : plan.methods)
    methods.push_back({{"requirement", one.requirement}, {"method", one.method}, {"reason", one.reason}});
  Json threats = Json::array();
  for (const Threat& one : plan.threats)
    threats.push_back({{"threat", one.threat}, {"covered", one.covered}, {"answer", one.answer}});
  Json gaps = Json::array();
  for (const Gap& gap : plan.gaps) gaps.push_back(to_json(gap));
  Json quality = Json::array();
  for (size_t i = 0; i < plan.quality.size(); ++i)
    quality.push_back({{"number", i + 1},
                       {"claim", plan.quality[i].claim},
                       {"result", plan.quality[i].result},
                       {"evidence", plan.quality[i].evidence}});
  const RetentionChoice& retention = plan.retention;
  const Json json = {{"schema", kPlanSchema},
                     {"status", to_string(plan.status)},
                     {"reasons", plan.reasons},
                     {"cluster", plan.cluster},
                     {"facts_of", plan.time.to_iso()},
                     {"owner", plan.requirements.owner},
                     {"on_call", plan.requirements.on_call},
                     {"substrate", to_string(plan.requirements.substrate)},
                     {"profile", {{"name", to_string(plan.profile)}, {"reason", plan.profile_reason}}},
                     {"method", to_string(plan.method)},
                     {"methods", std::move(methods)},
                     {"refused", plan.refused},
                     {"rpo", to_json(plan.rpo)},
                     {"rto", to_json(plan.rto)},
                     {"full_speed_seconds", tenths(plan.full_speed_seconds)},
                     {"cadence", to_json(plan.cadence)},
                     {"dump_cron", plan.dump_cron.empty() ? Json(nullptr) : Json(plan.dump_cron)},
                     {"retention",
                      {{"pitr_days", retention.pitr_days ? Json(*retention.pitr_days) : Json(nullptr)},
                       {"keep_days", retention.keep_days},
                       {"dump_days", retention.dump_days ? Json(*retention.dump_days) : Json(nullptr)},
                       {"expires", retention.expires},
                       {"window", retention.window},
                       {"reason", retention.reason}}},
                     {"storage", to_json(plan.storage)},
                     {"security", plan.security},
                     {"threats", std::move(threats)},
                     {"inventory", inventory_json(plan)},
                     {"implementation", implementation_json(plan)},
                     {"gaps", std::move(gaps)},
                     {"quality_checks", std::move(quality)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lifeboat::ready
