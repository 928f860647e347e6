#include "ready/signals/report_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::optional<double>& number) {
  return number ? Json(*number) : Json(nullptr);
}

std::optional<double> number(const Json& json, const char* name) {
  auto found = json.find(name);
  return found == json.end() || !found->is_number() ? std::nullopt : std::optional(found->get<double>());
}

Json reading_json(const Reading& reading) {
  const SignalInfo& signal = *reading.signal;
  Json objects = Json::array();
  for (const SignalPart& part : reading.parts) {
    objects.push_back({{"object", part.object},
                       {"verdict", to_string(part.verdict)},
                       {"value", part.value},
                       {"bytes", or_null(part.bytes)},
                       {"found", part.note},
                       {"full_in_seconds", or_null(part.full_in_seconds)}});
  }
  const Thresholds& thresholds = reading.policy.thresholds;
  const Thresholds& bytes = reading.policy.byte_thresholds;
  return {{"id", signal.id},
          {"what", signal.what},
          {"verdict", to_string(reading.verdict)},
          {"value", or_null(reading.value)},
          {"unit", to_string(signal.unit)},
          {"worse", signal.worse == Worse::above ? "above" : "below"},
          {"warning", or_null(thresholds.warning)},
          {"critical", or_null(thresholds.critical)},
          {"bytes", or_null(reading.bytes)},
          {"warning_bytes", or_null(bytes.warning)},
          {"critical_bytes", or_null(bytes.critical)},
          {"found", reading.found},
          {"action", reading.action},
          {"owner", reading.policy.owner},
          {"source", signal.source},
          {"trend",
           {{"per_day", or_null(reading.trend.per_day)},
            {"span_seconds", reading.trend.span_seconds},
            {"critical_in_seconds", or_null(reading.trend.reaches_critical_seconds)}}},
          {"objects", std::move(objects)}};
}

Reading parse_reading(const Json& json, const SignalInfo& signal, Timestamp time) {
  Reading reading;
  reading.signal = &signal;
  reading.time = time;
  reading.verdict = parse_verdict(json.at("verdict").get<std::string>()).value_or(Verdict::unknown);
  reading.value = number(json, "value");
  reading.bytes = number(json, "bytes");
  reading.found = json.at("found").get<std::string>();
  reading.action = json.at("action").get<std::string>();
  reading.policy.owner = json.at("owner").get<std::string>();
  reading.policy.thresholds = {number(json, "warning"), number(json, "critical")};
  reading.policy.byte_thresholds = {number(json, "warning_bytes"), number(json, "critical_bytes")};
  const Json& trend = json.at("trend");
  reading.trend = {number(trend, "per_day"), trend.at("span_seconds").get<double>(),
                   number(trend, "critical_in_seconds")};
  for (const Json& object : json.at("objects")) {
    SignalPart part;
    part.object = object.at("object").get<std::string>();
    part.value = object.at("value").get<double>();
    part.bytes = number(object, "bytes");
    part.verdict = parse_verdict(object.at("verdict").get<std::string>()).value_or(Verdict::unknown);
    part.note = object.at("found").get<std::string>();
    part.full_in_seconds = number(object, "full_in_seconds");
    reading.parts.push_back(std::move(part));
  }
  return reading;
}

}  // namespace

std::string_view overall(const SignalReport& report) {
  switch (report.worst()) {
    case Rank::fine:
      return "ok";
    case Rank::attention:
      return "warning";
    case Rank::critical:
      return "critical";
  }
  return "?";
}

nlohmann::ordered_json report_json(const SignalReport& report) {
  Json list = Json::array();
  size_t unknown = 0;
  for (const Reading& reading : report.readings) {
    list.push_back(reading_json(reading));
    if (reading.verdict == Verdict::unknown) ++unknown;
  }
  return {{"cluster", report.cluster},
          {"repository", report.repository},
          {"role", to_string(report.role)},
          {"time", report.time.to_iso()},
          {"seconds", report.seconds},
          {"verdict", overall(report)},
          {"critical", report.ids(Rank::critical).size()},
          {"warnings", report.ids(Rank::attention).size()},
          {"unknown", unknown},
          {"signals", std::move(list)}};
}

Result<SignalReport> parse_report(std::string_view text) {
  try {
    const Json json = Json::parse(text);
    SignalReport report;
    report.cluster = json.at("cluster").get<std::string>();
    report.repository = json.at("repository").get<std::string>();
    const auto role = json.at("role").get<std::string>();
    for (ServerRole one : {ServerRole::primary, ServerRole::standby})
      if (role == to_string(one)) report.role = one;
    TRY_ASSIGN(report.time, parse_time(json.at("time").get<std::string>()));
    report.seconds = json.at("seconds").get<double>();
    for (const Json& one : json.at("signals")) {
      const SignalInfo* signal = find_signal(one.at("id").get<std::string>());
      if (signal != nullptr) report.readings.push_back(parse_reading(one, *signal, report.time));
    }
    return report;
  } catch (const Json::exception& problem) {
    return make_error(ErrorKind::damaged, "report of signals", "cannot be understood")
        .with_cause(problem.what());
  }
}

}  // namespace lifeboat::ready
