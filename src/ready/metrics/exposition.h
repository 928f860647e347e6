// Prometheus' text format (version 0.0.4): families with HELP and TYPE, labels escaped.
//
// Names and labels follow promtool's lint, which a test runs: base units in the name, counters end in _total.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ready/signals/signal.h"

namespace lifeboat::ready {

using Labels = std::vector<std::pair<std::string, std::string>>;

enum class MetricType : uint8_t { gauge, counter };

// Samples are given in any order; to_string() groups them by family, in the order in which families came
// first.
class Exposition {
 public:
  void add(std::string_view name, std::string_view help, MetricType type, Labels labels, double value);
  std::string to_string() const;

 private:
  struct Family {
    std::string name;
    std::string help;
    MetricType type;
    std::vector<std::pair<Labels, double>> samples;
  };
  std::vector<Family> families_;
};

// A signal's value, bytes, verdict and thresholds, for each object. `fresh` false: what was read last is too
// old to be believed: no values then, and verdict unknown.
enum class Freshness : uint8_t { fresh, stale };
void add_report(Exposition& exposition, const SignalReport& report, Freshness freshness);
void add_build(Exposition& exposition, std::string_view version);

// lifeboat_signal_status: 0 ok or not applicable, 1 warning, 2 critical, 3 unknown.
inline constexpr std::string_view kStatusMetric = "lifeboat_signal_status";
inline constexpr std::string_view kReadMetric = "lifeboat_signals_read_timestamp_seconds";
// "lifeboat_replication_lag_bytes" of "lifeboat_replication_lag_seconds"
std::string bytes_metric(const SignalInfo& signal);

}  // namespace lifeboat::ready
