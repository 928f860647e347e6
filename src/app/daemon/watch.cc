#include "app/daemon/watch.h"

#include <nlohmann/json.hpp>

#include "ready/signals/report_json.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;
using ready::Exposition;
using ready::MetricType;

// Findings that are older than this many intervals, and a minute, are not believed any more.
constexpr int64_t kBelievedIntervals = 3;
constexpr int64_t kGraceUs = 60'000'000;

}  // namespace

void SignalWatch::ran(const std::string& cluster, const std::string& document, std::string problem,
                      double seconds, int64_t interval_us) {
  std::lock_guard lock(mutex_);
  Known& known = clusters_[cluster];
  known.interval_us = interval_us;
  known.problem = std::move(problem);
  ++known.runs;
  known.seconds += seconds;
  auto report = ready::parse_report(document);
  if (!report) {
    ++known.failures;
    if (known.problem.empty()) known.problem = "the check printed no report";
    return;
  }
  known.report = *std::move(report);
  known.read = true;
  try {
    const Json json = Json::parse(document);
    const Json& alerts = json.at("alerts");
    known.firing = alerts.at("firing").get<double>();
    known.waiting = alerts.at("waiting").get<double>();
    known.receivers.clear();
    for (const Json& one : alerts.at("receivers"))
      known.receivers[one.at("receiver").get<std::string>()] = {one.at("sent").get<double>(),
                                                                one.at("failed_attempts").get<double>(),
                                                                one.at("failures_in_a_row").get<double>()};
  } catch (const Json::exception& exception) {
    known.problem = exception.what();
  }
}

bool SignalWatch::is_stale(const Known& known, Timestamp now) {
  return now.unix_us - known.report.time.unix_us > kBelievedIntervals * known.interval_us + kGraceUs;
}

std::string SignalWatch::problem(Timestamp now) const {
  std::lock_guard lock(mutex_);
  for (const auto& [cluster, known] : clusters_) {
    if (!known.problem.empty()) return cat(cluster, ": ", known.problem);
    if (!known.read || is_stale(known, now)) return cat(cluster, ": its signals are not read");
  }
  return "";
}

void SignalWatch::add_to(Exposition& exposition, Timestamp now) const {
  std::lock_guard lock(mutex_);
  for (const auto& [cluster, known] : clusters_) {
    if (known.read)
      ready::add_report(exposition, known.report,
                        is_stale(known, now) ? ready::Freshness::stale : ready::Freshness::fresh);
    const ready::Labels labels = {{"cluster", cluster}};
    auto counter = [&](std::string_view name, std::string_view help, const ready::Labels& of, double value) {
      exposition.add(name, help, MetricType::counter, of, value);
    };
    auto gauge = [&](std::string_view name, std::string_view help, const ready::Labels& of, double value) {
      exposition.add(name, help, MetricType::gauge, of, value);
    };
    counter("lifeboat_signal_checks_total", "checks of signals that ended", labels, known.runs);
    counter("lifeboat_signal_check_failures_total", "checks that found nothing out", labels, known.failures);
    counter("lifeboat_signal_check_seconds_total", "time that checks took, deliveries included", labels,
            known.seconds);
    gauge("lifeboat_alerts_firing", "alerts that fire", labels, known.firing);
    gauge("lifeboat_alerts_waiting", "alerts and receivers that are still to be told", labels, known.waiting);
    for (const auto& [name, counts] : known.receivers) {
      const ready::Labels of = {{"cluster", cluster}, {"receiver", name}};
      counter("lifeboat_alert_messages_total", "messages that were delivered", of, counts.sent);
      counter("lifeboat_alert_failed_deliveries_total", "deliveries that failed", of, counts.failed_attempts);
      gauge("lifeboat_alert_failures_in_a_row", "deliveries that failed since the last that did not", of,
            counts.failures_in_a_row);
    }
  }
}

}  // namespace lifeboat::app
