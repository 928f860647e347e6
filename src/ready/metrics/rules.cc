#include "ready/metrics/rules.h"

#include <algorithm>
#include <cctype>
#include <tuple>

#include "ready/metrics/exposition.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr std::string_view kFor = "5m";
constexpr double kStaleSeconds = 900;

// A double-quoted YAML scalar.
std::string yaml(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      out += cat("\\", c);
    else if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out + "\"";
}

std::string number(double value) {
  std::string text = std::to_string(value);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}

struct Rule {
  std::string name;
  std::string expression;
  std::string severity;
  std::string cluster;
  std::string signal;
  std::string owner;
  std::string summary;
  std::string action;
};

std::string rule_text(const Rule& rule) {
  std::string text =
      cat("      - alert: ", rule.name, "\n        expr: ", yaml(rule.expression), "\n        for: ", kFor,
          "\n        labels:\n          severity: ", rule.severity, "\n");
  auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) text += cat("          ", name, ": ", yaml(value), "\n");
  };
  add("cluster", rule.cluster);
  add("signal", rule.signal);
  add("owner", rule.owner);
  text += "        annotations:\n";
  add("summary", rule.summary);
  add("action", rule.action);
  return text;
}

// One measure within [from, to), as PromQL filters it; `to` unset: anything from `from` on. Empty: nothing
// can be there.
std::string within(const std::string& metric, Worse worse, std::optional<double> from,
                   std::optional<double> to) {
  if (!from || from == to) return "";
  const bool above = worse == Worse::above;
  std::string text = cat(metric, above ? " >= " : " < ", number(*from));
  if (to) text += cat(above ? " < " : " >= ", number(*to));
  return text;
}

// Both measures of a signal between two severities.
std::string expression_of(const SignalInfo& signal, const std::string& cluster, const Thresholds& range,
                          const Thresholds& bytes) {
  const std::string where = cat("{cluster=\"", cluster, "\"}");
  std::vector<std::string> parts;
  for (std::string part :
       {within(cat(signal.metric, where), signal.worse, range.warning, range.critical),
        within(cat(bytes_metric(signal), where), Worse::above, bytes.warning, bytes.critical)}) {
    if (!part.empty()) parts.push_back(std::move(part));
  }
  return join(parts, " or ");
}

// One cause, one alert: what cannot be read while the server or the repository is down is told with that.
std::string unless_something_is_down(const ClusterRules& cluster) {
  std::vector<std::string> down;
  for (std::string_view id : {"server_down", "repository_down"}) {
    const SignalInfo& signal = *find_signal(id);
    const SignalPolicy policy = cluster.settings.policy(signal);
    std::string part = expression_of(signal, cluster.cluster, {policy.thresholds.critical, std::nullopt}, {});
    if (policy.enabled && !part.empty()) down.push_back(std::move(part));
  }
  return down.empty() ? "" : cat(" unless on (cluster) (", join(down, " or "), ")");
}

std::string rules_of(const ClusterRules& cluster) {
  std::string text = cat("  - name: lifeboat-", cluster.cluster, "\n    rules:\n");
  const std::string unless_down = unless_something_is_down(cluster);
  for (const SignalInfo& signal : signals()) {
    const SignalPolicy policy = cluster.settings.policy(signal);
    if (!policy.enabled) continue;
    Rule rule;
    rule.name = rule_name(signal);
    rule.cluster = cluster.cluster;
    rule.signal = signal.id;
    rule.owner = policy.owner;
    rule.action = signal.action;
    rule.summary = cat(cluster.cluster, ": ", signal.what, ": {{ $value }}");
    const Thresholds& values = policy.thresholds;
    const Thresholds& bytes = policy.byte_thresholds;
    const std::string warning = expression_of(signal, cluster.cluster, values, bytes);
    const std::string critical = expression_of(signal, cluster.cluster, {values.critical, std::nullopt},
                                               {bytes.critical, std::nullopt});
    for (const auto& [severity, expression] :
         {std::pair("warning", warning), std::pair("critical", critical)}) {
      rule.severity = severity;
      rule.expression = expression;
      if (!expression.empty()) text += rule_text(rule);
    }
    // Verdicts know more than values: an archiver that fails, a drill that never was. What the values say
    // already is not said twice.
    const std::string name = rule.name;
    const std::string any = critical.empty() ? "" : cat(" unless on (cluster) (", critical, ")");
    const std::string any_warning = warning.empty() ? any : cat(any, " unless on (cluster) (", warning, ")");
    for (const auto& [kind, severity, status, what, unless] :
         {std::tuple("Status", "warning", 1, "is a warning", any_warning),
          std::tuple("Status", "critical", 2, "is critical", any),
          std::tuple("Unknown", "warning", 3, "cannot be read", unless_down)}) {
      rule.name = cat(name, kind);
      rule.severity = severity;
      rule.expression = cat(kStatusMetric, "{cluster=\"", cluster.cluster, "\",signal=\"", signal.id,
                            "\"} == ", status, unless);
      rule.summary = cat(cluster.cluster, ": signal ", signal.id, " ", what);
      text += rule_text(rule);
    }
  }
  // As long as the daemon itself is given (app/daemon/watch.cc), and what a reading takes.
  const double stale_seconds = std::max(kStaleSeconds, 3 * cluster.every_seconds + 60);
  Rule stale;
  stale.name = "LifeboatSignalsStale";
  stale.severity = "critical";
  stale.cluster = cluster.cluster;
  stale.owner = cluster.settings.owner;
  stale.expression =
      cat("time() - ", kReadMetric, "{cluster=\"", cluster.cluster, "\"} > ", number(stale_seconds),
          " or absent(", kReadMetric, "{cluster=\"", cluster.cluster, "\"})");
  stale.summary = cat(cluster.cluster, ": nobody reads its signals");
  stale.action =
      "is lifeboat serve running there, or what calls lifeboat metrics? nothing is known until it does";
  return text + rule_text(stale);
}

}  // namespace

std::string rule_name(const SignalInfo& signal) {
  std::string name = "Lifeboat";
  bool upper = true;
  for (char c : signal.id) {
    if (c == '_') {
      upper = true;
      continue;
    }
    name += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return name;
}

std::string prometheus_rules(const std::vector<ClusterRules>& clusters) {
  std::string text =
      "# Made by lifeboat alert rules from the registry of signals and the configuration's "
      "thresholds.\ngroups:\n";
  for (const ClusterRules& cluster : clusters) text += rules_of(cluster);
  return text;
}

}  // namespace lifeboat::ready
