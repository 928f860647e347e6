// The steps of make_plan(), in their order; each fills in its part of the plan from those before. Internal to
// this folder.
#pragma once

#include "ready/plan/plan.h"

namespace lifeboat::ready {

inline constexpr double kMinute = 60;
inline constexpr double kHour = 3'600;
inline constexpr double kDay = 24 * kHour;

// What the arithmetic works with: stated and measured volumes brought together.
struct Volumes {
  std::optional<double> size;  // bytes
  std::string size_how;
  std::optional<double> wal_per_day;
  std::string wal_how;
  bool wal_weak = false;    // it may be far from the truth
  std::string wal_unknown;  // why there is none although somebody looked
  std::optional<double> growth_per_day;
  std::string growth_how;
};

struct Planning {
  const Requirements& demands;
  const PlanFacts& facts;
  const Rates& rates;
  Volumes volumes;
  Plan plan;

  void gap(GapWeight weight, std::string id, std::string what, std::string action,
           std::optional<DecisionRecord> decision = std::nullopt);
  // 0 when it was not measured.
  double backup_seconds() const;
  // From the end of a segment to its being stored; assumed where it was not measured.
  double archive_lag_seconds() const;
  bool physical() const {
    return plan.method == Method::archiving || plan.method == Method::streaming ||
           plan.method == Method::synchronous;
  }
  // The setting of the live server; "" when it is not known.
  std::string setting(const std::string& name) const;
};

void settle_volumes(Planning& planning);    // volumes.cc
void settle_profile(Planning& planning);    // method.cc
void choose_method(Planning& planning);     // method.cc
void compute_rpo(Planning& planning);       // rpo.cc
void choose_cadence(Planning& planning);    // rto.cc: and the delivered RTO
void choose_retention(Planning& planning);  // retention.cc
void compute_storage(Planning& planning);   // retention.cc
void look_at_security(Planning& planning);  // security.cc: security, off-site, threats
void list_inventory(Planning& planning);    // inventory.cc
void look_at_server(Planning& planning);    // inventory.cc: version, settings, evidence
void implement(Planning& planning);         // implement.cc: settings, configuration, steps
void check_quality(Planning& planning);     // judge.cc
void judge(Planning& planning);             // judge.cc

// --- words
std::string rate_text(double bytes_per_second);
std::string bytes_text(double bytes);
std::string seconds_text(double seconds);
std::string days_text(double days);         // "30 days"
std::string number_text(double value);      // at most one digit after the point
std::string duration_text(double seconds);  // as the configuration has it: "90s", "5min", "26h"
// met, missed or unknown, from seconds, error and target; `certain` where the error was measured.
TargetVerdict compare(const Delivered& delivered);
double compression_ratio(const Planning& planning);

}  // namespace lifeboat::ready
