// Stated and measured volumes brought together, and how numbers are written.
#include <algorithm>
#include <cmath>

#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kDifference = 0.25;  // between stated and measured, that is worth a word
constexpr double kAssumedArchiveSeconds = 5;

// The larger of both: a plan that holds for less than there is holds for nothing.
void settle(Planning& planning, std::string_view id, std::string_view name, std::optional<double> stated,
            std::optional<double> measured, const std::string& how, std::optional<double>& value,
            std::string& value_how) {
  if (!stated && !measured) {
    value_how = "neither stated nor measured";
    return;
  }
  if (!measured) {
    value = stated;
    value_how = "stated";
    return;
  }
  if (!stated) {
    value = measured;
    value_how = how.empty() ? "measured" : how;
    return;
  }
  value = std::max(*stated, *measured);
  value_how = *stated >= *measured ? "stated" : how.empty() ? "measured" : how;
  const double larger = std::max(*stated, *measured);
  if (larger > 0 && std::abs(*stated - *measured) / larger > kDifference)
    planning.gap(GapWeight::advice, cat("stated_", id),
                 cat(name, ": ", bytes_text(*stated), " stated, ", bytes_text(*measured),
                     " measured; the larger is planned for"),
                 "correct backup_requirements.json, or find out why the server differs");
}

// No server writes nothing for ever: a measured 0 is one that nobody has measured long enough. And what is
// weak corrects nothing that was stated.
void settle_wal(Planning& planning, const ServerState& server) {
  Volumes& volumes = planning.volumes;
  const auto& stated = planning.demands.wal_bytes_per_day;
  std::optional<double> measured = server.wal_bytes_per_day;
  if (measured && *measured <= 0) measured.reset();
  if (stated && server.wal_weak) measured.reset();
  settle(planning, "wal", "WAL a day", stated, measured, server.wal_how, volumes.wal_per_day,
         volumes.wal_how);
  volumes.wal_weak = server.wal_weak && measured;
  if (volumes.wal_per_day) return;
  volumes.wal_unknown =
      server.wal_bytes_per_day ? cat("not measured long enough: 0 B by ", server.wal_how) : server.wal_how;
}

}  // namespace

void settle_volumes(Planning& planning) {
  const Requirements& demands = planning.demands;
  const ServerState server = planning.facts.server.value_or(ServerState{});
  Volumes& volumes = planning.volumes;
  settle(planning, "size", "size of the cluster", demands.database_size_bytes, server.size_bytes, "measured",
         volumes.size, volumes.size_how);
  settle_wal(planning, server);
  settle(planning, "growth", "growth a day", demands.growth_bytes_per_day, server.growth_bytes_per_day,
         server.growth_how, volumes.growth_per_day, volumes.growth_how);
}

void Planning::gap(GapWeight weight, std::string id, std::string what, std::string action,
                   std::optional<DecisionRecord> decision) {
  plan.gaps.push_back({std::move(id), weight, std::move(what), std::move(action), std::move(decision)});
}

double Planning::backup_seconds() const {
  return facts.repository ? facts.repository->backup_seconds.value_or(0) : 0;
}

double Planning::archive_lag_seconds() const {
  if (facts.server && facts.server->archive_seconds) return *facts.server->archive_seconds;
  return kAssumedArchiveSeconds;
}

std::string Planning::setting(const std::string& name) const {
  if (!facts.server) return "";
  auto found = facts.server->settings.find(name);
  return found == facts.server->settings.end() ? "" : found->second;
}

std::string bytes_text(double bytes) {
  return format_bytes(static_cast<uint64_t>(std::llround(std::max(0.0, bytes))));
}

std::string rate_text(double bytes_per_second) {
  return cat(bytes_text(bytes_per_second), "/s");
}

std::string seconds_text(double seconds) {
  return format_seconds(seconds);
}

std::string number_text(double value) {
  const auto tenths = std::llround(value * 10);
  const std::string whole = std::to_string(tenths / 10);
  return tenths % 10 == 0 ? whole : cat(whole, ".", std::abs(tenths % 10));
}

std::string days_text(double days) {
  return cat(number_text(days), days == 1 ? " day" : " days");
}

std::string duration_text(double seconds) {
  const auto ms = static_cast<int64_t>(std::llround(seconds * 1000));
  if (ms == 0) return "0s";
  constexpr std::pair<int64_t, std::string_view> kUnits[] = {
      {86'400'000, "d"}, {3'600'000, "h"}, {60'000, "min"}, {1000, "s"}};
  for (const auto& [unit, name] : kUnits)
    if (ms >= unit && ms % unit == 0) return cat(ms / unit, name);
  return cat(ms, "ms");
}

TargetVerdict compare(const Delivered& delivered) {
  if (!delivered.seconds) return TargetVerdict::unknown;
  if (*delivered.seconds - delivered.error_seconds > delivered.target_seconds) return TargetVerdict::missed;
  if (*delivered.seconds + delivered.error_seconds <= delivered.target_seconds) return TargetVerdict::met;
  return TargetVerdict::unknown;
}

double compression_ratio(const Planning& planning) {
  const auto& repository = planning.facts.repository;
  return repository && repository->stored_ratio ? *repository->stored_ratio : 1;
}

}  // namespace lifeboat::ready
