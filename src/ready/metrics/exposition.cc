#include "ready/metrics/exposition.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  std::array<char, 64> digits;
  auto [end, problem] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  return problem == std::errc() ? std::string(digits.data(), end) : "NaN";
}

std::string escaped(std::string_view text, std::string_view special) {
  std::string out;
  for (char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (special.find(c) != std::string_view::npos)
      out += cat("\\", c);
    else
      out += c;
  }
  return out;
}

std::string labels_text(const Labels& labels) {
  if (labels.empty()) return "";
  std::vector<std::string> parts;
  for (const auto& [name, value] : labels) parts.push_back(cat(name, "=\"", escaped(value, "\\\""), "\""));
  return cat("{", join(parts, ","), "}");
}

double status_number(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
    case Verdict::not_applicable:
      return 0;
    case Verdict::warning:
      return 1;
    case Verdict::critical:
      return 2;
    case Verdict::unknown:
      return 3;
  }
  return 3;
}

void add_values(Exposition& exposition, const SignalReport& report, const Reading& reading) {
  const SignalInfo& signal = *reading.signal;
  auto gauge = [&](std::string_view name, std::string_view help, const SignalPart* part, double value) {
    Labels labels = {{"cluster", report.cluster}};
    if (!signal.object.empty()) labels.emplace_back(signal.object, part == nullptr ? "" : part->object);
    exposition.add(name, help, MetricType::gauge, std::move(labels), value);
  };
  const std::string help(signal.what);
  auto add = [&](const SignalPart* part, std::optional<double> value, std::optional<double> bytes) {
    if (value) gauge(signal.metric, help, part, *value);
    if (bytes && signal.id == "storage_used")
      gauge("lifeboat_storage_free_bytes", "free space for unprivileged users", part, *bytes);
    else if (bytes)
      gauge(bytes_metric(signal), cat(help, ", in bytes"), part, *bytes);
  };
  for (const SignalPart& part : reading.parts) {
    add(&part, part.value, part.bytes);
    if (part.full_in_seconds)
      gauge("lifeboat_storage_seconds_to_full",
            "until the file system is full when it goes on filling like lately", &part,
            *part.full_in_seconds);
  }
  if (reading.parts.empty()) add(nullptr, reading.value, reading.bytes);
}

void add_thresholds(Exposition& exposition, const SignalReport& report, const Reading& reading) {
  auto one = [&](std::string_view name, std::string_view help, std::string_view severity,
                 std::optional<double> value) {
    if (value)
      exposition.add(name, help, MetricType::gauge,
                     {{"cluster", report.cluster},
                      {"signal", std::string(reading.signal->id)},
                      {"severity", std::string(severity)}},
                     *value);
  };
  constexpr std::string_view kName = "lifeboat_signal_threshold";
  constexpr std::string_view kHelp = "threshold of the signal's value, in its unit";
  one(kName, kHelp, "warning", reading.policy.thresholds.warning);
  one(kName, kHelp, "critical", reading.policy.thresholds.critical);
  constexpr std::string_view kBytesName = "lifeboat_signal_threshold_bytes";
  constexpr std::string_view kBytesHelp = "threshold of the signal's second measure";
  one(kBytesName, kBytesHelp, "warning", reading.policy.byte_thresholds.warning);
  one(kBytesName, kBytesHelp, "critical", reading.policy.byte_thresholds.critical);
}

}  // namespace

void Exposition::add(std::string_view name, std::string_view help, MetricType type, Labels labels,
                     double value) {
  auto known = std::ranges::find(families_, name, &Family::name);
  if (known == families_.end()) {
    families_.push_back({std::string(name), std::string(help), type, {}});
    known = families_.end() - 1;
  }
  known->samples.emplace_back(std::move(labels), value);
}

std::string Exposition::to_string() const {
  std::string text;
  for (const Family& family : families_) {
    text += cat("# HELP ", family.name, " ", escaped(family.help, "\\"), "\n# TYPE ", family.name, " ",
                family.type == MetricType::counter ? "counter" : "gauge", "\n");
    for (const auto& [labels, value] : family.samples)
      text += cat(family.name, labels_text(labels), " ", number(value), "\n");
  }
  return text;
}

std::string bytes_metric(const SignalInfo& signal) {
  std::string name(signal.metric);
  for (std::string_view unit : {"_seconds", "_change_ratio", "_ratio"}) {
    if (!name.ends_with(unit)) continue;
    name.resize(name.size() - unit.size());
    break;
  }
  return name + "_bytes";
}

void add_report(Exposition& exposition, const SignalReport& report, Freshness freshness) {
  const bool fresh = freshness == Freshness::fresh;
  for (const Reading& reading : report.readings) {
    exposition.add(kStatusMetric, "0 ok or not applicable, 1 warning, 2 critical, 3 unknown",
                   MetricType::gauge,
                   {{"cluster", report.cluster}, {"signal", std::string(reading.signal->id)}},
                   status_number(fresh ? reading.verdict : Verdict::unknown));
  }
  for (const Reading& reading : report.readings) {
    if (fresh) add_values(exposition, report, reading);
    add_thresholds(exposition, report, reading);
  }
  exposition.add(kReadMetric, "when the signals were read", MetricType::gauge, {{"cluster", report.cluster}},
                 static_cast<double>(report.time.unix_us) / 1e6);
  exposition.add("lifeboat_signals_read_duration_seconds", "how long reading the signals took",
                 MetricType::gauge, {{"cluster", report.cluster}}, report.seconds);
}

void add_build(Exposition& exposition, std::string_view version) {
  exposition.add("lifeboat_build_info", "the version that made these metrics", MetricType::gauge,
                 {{"version", std::string(version)}}, 1);
}

}  // namespace lifeboat::ready
