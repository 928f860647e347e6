#include "ready/report/drill_history.h"

#include <algorithm>
#include <cmath>

#include "ready/signals/history.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kDay = 86400;
constexpr double kSteady = 0.01;  // of the newest value, a day

double median_of(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

using Member = std::optional<double> Rehearsal::*;

DrillFigure figure_of(const std::vector<Rehearsal>& drills, Member value, Member own_target,
                      std::optional<double> target) {
  DrillFigure figure;
  figure.target = target;
  std::vector<Sample> samples;
  std::vector<double> earlier;
  for (const Rehearsal& drill : drills) {
    if (!figure.target) figure.target = drill.*own_target;
    if (!drill.passed || !(drill.*value)) continue;
    const double seconds = *(drill.*value);
    if (figure.newest) earlier.push_back(seconds);
    if (!figure.newest) figure.newest = seconds;
    figure.slowest = std::max(figure.slowest.value_or(seconds), seconds);
    samples.insert(samples.begin(), {drill.time, seconds});
  }
  figure.measured = samples.size();
  if (!earlier.empty()) figure.median = median_of(std::move(earlier));
  figure.trend = trend_of(samples);
  if (!figure.target) return figure;
  figure.missed = static_cast<size_t>(
      std::ranges::count_if(samples, [&](const Sample& one) { return one.value > *figure.target; }));
  const auto& per_day = figure.trend.per_day;
  if (per_day && *per_day > 0 && figure.newest && *figure.newest < *figure.target)
    figure.trend.reaches_critical_seconds = (*figure.target - *figure.newest) / *per_day * kDay;
  return figure;
}

}  // namespace

DrillHistory judge_drills(std::vector<Rehearsal> drills, std::optional<double> rto,
                          std::optional<double> rpo) {
  DrillHistory history;
  history.drills = std::move(drills);
  history.failed = static_cast<size_t>(std::ranges::count(history.drills, false, &Rehearsal::passed));
  history.rto = figure_of(history.drills, &Rehearsal::rto_seconds, &Rehearsal::rto_target_seconds, rto);
  history.rpo = figure_of(history.drills, &Rehearsal::rpo_seconds, &Rehearsal::rpo_target_seconds, rpo);
  return history;
}

std::string describe_trend(const DrillFigure& figure) {
  if (!figure.trend.per_day)
    return "not known: it takes three drills that passed, the first and last an hour apart";
  const double per_day = *figure.trend.per_day;
  if (std::abs(per_day) < kSteady * figure.newest.value_or(0) || per_day == 0) return "steady";
  std::string text = cat(per_day > 0 ? "rising " : "falling ", format_seconds(std::abs(per_day)), " a day");
  if (figure.trend.reaches_critical_seconds)
    text += cat(", reaches the target in ", format_seconds(*figure.trend.reaches_critical_seconds));
  return text;
}

}  // namespace lifeboat::ready
