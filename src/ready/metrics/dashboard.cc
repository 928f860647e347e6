// The Grafana dashboard: verdicts on top, below them one graph for each signal with its thresholds.
#include <nlohmann/json.hpp>

#include "ready/metrics/exposition.h"
#include "ready/metrics/rules.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kWide = 24;
constexpr int kPanelWidth = 8;
constexpr int kPanelHeight = 8;
constexpr int kStatusHeight = 10;

std::string grafana_unit(Unit unit) {
  switch (unit) {
    case Unit::seconds:
      return "s";
    case Unit::ratio:
      return "percentunit";
    case Unit::count:
    case Unit::transactions:
      break;
  }
  return "short";
}

const Json& datasource() {
  static const Json kSource = {{"type", "prometheus"}, {"uid", "${datasource}"}};
  return kSource;
}

Json target(std::string_view id, std::string expression, std::string legend) {
  return {{"refId", id},
          {"datasource", datasource()},
          {"expr", std::move(expression)},
          {"legendFormat", std::move(legend)}};
}

Json variable(std::string_view name, const Json& more) {
  Json all = {{"name", name}, {"label", name}, {"hide", 0}};
  all.update(more);
  return all;
}

Json status_panel() {
  auto mapped = [](std::string_view text, std::string_view colour) {
    return Json{{"text", text}, {"color", colour}};
  };
  return {
      {"id", 1},
      {"type", "state-timeline"},
      {"title", "Signals"},
      {"datasource", datasource()},
      {"gridPos", {{"x", 0}, {"y", 0}, {"w", kWide}, {"h", kStatusHeight}}},
      {"fieldConfig",
       {{"defaults",
         {{"mappings", Json::array({{{"type", "value"},
                                     {"options",
                                      {{"0", mapped("ok", "green")},
                                       {"1", mapped("warning", "orange")},
                                       {"2", mapped("critical", "red")},
                                       {"3", mapped("unknown", "purple")}}}}})},
          {"custom", {{"fillOpacity", 80}, {"lineWidth", 0}}}}},
        {"overrides", Json::array()}}},
      {"options", {{"mergeValues", true}, {"showValue", "never"}, {"rowHeight", 0.9}}},
      {"targets",
       Json::array({target("A", cat(kStatusMetric, "{cluster=~\"$cluster\"}"), "{{cluster}} {{signal}}")})}};
}

Json signal_panel(const SignalInfo& signal, int index) {
  const std::string where = "{cluster=~\"$cluster\"}";
  const std::string legend =
      signal.object.empty() ? std::string("{{cluster}}") : cat("{{cluster}} {{", signal.object, "}}");
  Json targets = Json::array({target("A", cat(signal.metric, where), legend)});
  for (const auto& [id, severity] : {std::pair("B", "warning"), std::pair("C", "critical")})
    targets.push_back(target(id,
                             cat("lifeboat_signal_threshold{cluster=~\"$cluster\",signal=\"", signal.id,
                                 "\",severity=\"", severity, "\"}"),
                             cat("{{cluster}} ", severity)));
  const int per_row = kWide / kPanelWidth;
  return {{"id", index + 2},
          {"type", "timeseries"},
          {"title", signal.id},
          {"description",
           cat(signal.what, ". Source: ", signal.source, ". When it is not well: ", signal.action)},
          {"datasource", datasource()},
          {"gridPos",
           {{"x", index % per_row * kPanelWidth},
            {"y", kStatusHeight + index / per_row * kPanelHeight},
            {"w", kPanelWidth},
            {"h", kPanelHeight}}},
          {"fieldConfig",
           {{"defaults", {{"unit", grafana_unit(signal.unit)}, {"min", 0}}}, {"overrides", Json::array()}}},
          {"options", {{"legend", {{"displayMode", "list"}, {"placement", "bottom"}}}}},
          {"targets", std::move(targets)}};
}

}  // namespace

std::string grafana_dashboard() {
  Json panels = Json::array({status_panel()});
  int index = 0;
  for (const SignalInfo& signal : signals()) panels.push_back(signal_panel(signal, index++));
  const Json variables =
      Json::array({variable("datasource", {{"type", "datasource"}, {"query", "prometheus"}}),
                   variable("cluster", {{"type", "query"},
                                        {"datasource", datasource()},
                                        {"query", cat("label_values(", kStatusMetric, ", cluster)")},
                                        {"refresh", 2},
                                        {"multi", true},
                                        {"includeAll", true},
                                        {"current", {{"text", "All"}, {"value", "$__all"}}}})});
  const Json dashboard = {{"uid", "lifeboat"},
                          {"title", "Lifeboat: backup and recovery"},
                          {"tags", {"postgresql", "backup"}},
                          {"schemaVersion", 38},
                          {"version", 1},
                          {"editable", true},
                          {"refresh", "1m"},
                          {"time", {{"from", "now-24h"}, {"to", "now"}}},
                          {"timezone", "utc"},
                          {"templating", {{"list", variables}}},
                          {"annotations", {{"list", Json::array()}}},
                          {"panels", std::move(panels)}};
  return dashboard.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lifeboat::ready
