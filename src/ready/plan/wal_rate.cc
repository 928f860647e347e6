#include "ready/plan/wal_rate.h"

#include <algorithm>

#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

// Checkpoints of an idle server write some hundred bytes each.
constexpr double kIdleBytes = 64 << 10;

std::string span_text(double seconds) {
  return seconds < 2 * kDay ? seconds_text(seconds) : days_text(seconds / kDay);
}

}  // namespace

WalRate best_wal_rate(const std::vector<WalEvidence>& by_trust) {
  auto best =
      std::ranges::find_if(by_trust, [](const WalEvidence& one) { return one.sure && one.seconds >= kDay; });
  const bool sound = best != by_trust.end();
  if (!sound) best = std::ranges::max_element(by_trust, {}, &WalEvidence::seconds);
  if (best == by_trust.end() || best->seconds <= 0) return {};
  if (best->bytes <= 0 || (!sound && best->bytes < kIdleBytes))
    return {std::nullopt, cat("not measured long enough: ", bytes_text(best->bytes), " in ",
                              span_text(best->seconds), ", by ", best->witness)};
  const double a_day = best->bytes / best->seconds * kDay;
  const std::string how = cat(best->witness, ", the last ", span_text(best->seconds));
  if (sound) return {a_day, how, false};
  return {a_day, cat(how, best->sure ? "" : ", if it has counted all that time"), true};
}

}  // namespace lifeboat::ready
