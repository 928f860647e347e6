#include "ready/signals/signal.h"

#include <algorithm>
#include <cmath>

#include "ready/signals/facts.h"
#include "ready/signals/reads.h"
#include "util/strings.h"

namespace lifeboat::ready {

std::string_view to_string(Unit unit) {
  switch (unit) {
    case Unit::seconds:
      return "seconds";
    case Unit::ratio:
      return "ratio";
    case Unit::count:
      return "count";
    case Unit::transactions:
      return "transactions";
  }
  return "?";
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::not_applicable:
      return "not_applicable";
    case Verdict::unknown:
      return "unknown";
    case Verdict::warning:
      return "warning";
    case Verdict::critical:
      return "critical";
  }
  return "?";
}

std::optional<Verdict> parse_verdict(std::string_view text) {
  for (Verdict verdict :
       {Verdict::ok, Verdict::not_applicable, Verdict::unknown, Verdict::warning, Verdict::critical}) {
    if (text == to_string(verdict)) return verdict;
  }
  return std::nullopt;
}

std::string_view to_string(ServerRole role) {
  switch (role) {
    case ServerRole::unknown:
      return "unknown";
    case ServerRole::primary:
      return "primary";
    case ServerRole::standby:
      return "standby";
  }
  return "?";
}

Rank rank_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
    case Verdict::not_applicable:
      return Rank::fine;
    case Verdict::unknown:
    case Verdict::warning:
      return Rank::attention;
    case Verdict::critical:
      return Rank::critical;
  }
  return Rank::critical;
}

const SignalInfo* find_signal(std::string_view id) {
  auto found = std::ranges::find(signals(), id, &SignalInfo::id);
  return found == signals().end() ? nullptr : &*found;
}

SignalPolicy SignalSettings::policy(const SignalInfo& signal) const {
  SignalPolicy policy{true, owner, signal.thresholds, signal.byte_thresholds, std::nullopt};
  auto found = overrides.find(std::string(signal.id));
  if (found == overrides.end()) return policy;
  const SignalOverride& more = found->second;
  policy.enabled = more.enabled.value_or(true);
  if (!more.owner.empty()) policy.owner = more.owner;
  auto override_by = [](Thresholds& thresholds, const Thresholds& by) {
    if (by.warning) thresholds.warning = by.warning;
    if (by.critical) thresholds.critical = by.critical;
  };
  override_by(policy.thresholds, more.thresholds);
  override_by(policy.byte_thresholds, more.byte_thresholds);
  policy.standbys = more.standbys;
  return policy;
}

Status SignalSettings::require_owners(std::string_view cluster) const {
  std::vector<std::string> without;
  for (const SignalInfo& signal : signals()) {
    const SignalPolicy mine = policy(signal);
    if (mine.enabled && mine.owner.empty()) without.emplace_back(signal.id);
  }
  if (without.empty()) return {};
  return make_error(ErrorKind::config, cat("cluster ", cluster),
                    without.size() == signals().size()
                        ? std::string("its signals have no owner")
                        : cat("signals without an owner: ", join(without, ", ")))
      .with_hint(cat("set owner = \"who is called\" in [cluster.", cluster, "], or give --owner"));
}

Rank SignalReport::worst() const {
  Rank worst = Rank::fine;
  for (const Reading& reading : readings) worst = std::max(worst, rank_of(reading.verdict));
  return worst;
}

std::vector<std::string> SignalReport::ids(Rank rank) const {
  std::vector<std::string> found;
  for (const Reading& reading : readings) {
    if (rank_of(reading.verdict) == rank) found.emplace_back(reading.signal->id);
  }
  return found;
}

Verdict judge(double value, const Thresholds& thresholds, Worse worse) {
  auto crossed = [&](const std::optional<double>& threshold) {
    return threshold && (worse == Worse::above ? value >= *threshold : value < *threshold);
  };
  if (crossed(thresholds.critical)) return Verdict::critical;
  return crossed(thresholds.warning) ? Verdict::warning : Verdict::ok;
}

Verdict worse_of(Verdict one, Verdict other) {
  return rank_of(other) > rank_of(one) ? other : one;
}

namespace {
// One decimal, and none where it would be 0.
std::string decimal(double value) {
  const auto tenths = static_cast<int64_t>(std::llround(value * 10));
  const std::string sign = tenths < 0 ? "-" : "";
  const int64_t whole = std::abs(tenths) / 10;
  const int64_t rest = std::abs(tenths) % 10;
  return rest == 0 ? cat(sign, whole) : cat(sign, whole, ".", rest);
}
}  // namespace

std::string format_value(double value, Unit unit) {
  switch (unit) {
    case Unit::seconds: {
      constexpr double kDay = 86'400;
      if (std::abs(value) >= 3 * kDay) return cat(decimal(value / kDay), " days");
      return value < 0 ? cat("-", format_seconds(-value)) : format_seconds(value);
    }
    case Unit::ratio:
      return cat(decimal(value * 100), " %");
    case Unit::count:
      return decimal(value);
    case Unit::transactions:
      if (std::abs(value) >= 1e9) return cat(decimal(value / 1e9), " billion");
      if (std::abs(value) >= 1e6) return cat(decimal(value / 1e6), " million");
      return decimal(value);
  }
  return "?";
}

// --- filling in

void unknown(Reading& reading, std::string why) {
  reading.verdict = Verdict::unknown;
  reading.found = std::move(why);
}

void not_applicable(Reading& reading, std::string why) {
  reading.verdict = Verdict::not_applicable;
  reading.found = std::move(why);
}

void measured(Reading& reading, double value, std::string found) {
  reading.value = value;
  reading.verdict = judge(value, reading.policy.thresholds, reading.signal->worse);
  reading.found = std::move(found);
}

void raise_to(Reading& reading, Verdict verdict, std::string_view reason) {
  reading.verdict = worse_of(reading.verdict, verdict);
  if (reason.empty()) return;
  reading.found = reading.found.empty() ? std::string(reason) : cat(reading.found, "; ", reason);
}

void from_parts(Reading& reading, std::string_view found) {
  const SignalPart* worst = nullptr;
  auto is_worse = [&](const SignalPart& part) {
    if (worst == nullptr) return true;
    if (rank_of(part.verdict) != rank_of(worst->verdict))
      return rank_of(part.verdict) > rank_of(worst->verdict);
    return part.value > worst->value;
  };
  for (const SignalPart& part : reading.parts) {
    if (is_worse(part)) worst = &part;
    reading.value = std::max(reading.value.value_or(part.value), part.value);
    if (part.bytes) reading.bytes = std::max(reading.bytes.value_or(0), *part.bytes);
  }
  if (worst == nullptr) return;
  reading.verdict = worst->verdict;
  reading.found = cat(worst->object, ": ", worst->note);
  if (!found.empty()) reading.found += cat("; ", found);
}

bool needs_catalogue(const SignalFacts& facts, Reading& reading) {
  const ops::RepositoryFacts& known = facts.doctor.repository;
  const std::optional<Error>& problem = known.problem ? known.problem : known.catalogue_problem;
  if (problem) {
    unknown(reading, problem->to_string());
    return false;
  }
  auto ours = facts.doctor.lineage();
  const bool registered =
      ours ? std::ranges::find(known.lineages, *ours, &repo::LineageRecord::lineage) != known.lineages.end()
           : !known.lineages.empty();
  if (registered) return true;
  reading.verdict = Verdict::critical;
  reading.found = cat("this server is not registered as cluster ", facts.cluster, " in ", known.url);
  reading.action = "lifeboat init registers it";
  return false;
}

bool needs_server(const SignalFacts& facts, Reading& reading) {
  if (facts.doctor.server) return true;
  unknown(reading, facts.doctor.server_problem ? facts.doctor.server_problem->to_string()
                                               : std::string("the server was not asked"));
  return false;
}

const repo::Card* newest_complete(const SignalFacts& facts) {
  const auto& backups = facts.doctor.repository.backups;
  auto newest = std::find_if(backups.rbegin(), backups.rend(), [](const repo::Card& card) {
    return card.state == repo::BackupState::complete;
  });
  return newest == backups.rend() ? nullptr : &*newest;
}

SignalReport evaluate(const SignalFacts& facts, const SignalSettings& settings) {
  SignalReport report;
  report.cluster = facts.cluster;
  report.repository = facts.doctor.repository.url;
  report.role = facts.role();
  report.time = facts.now;
  for (const SignalInfo& signal : signals()) {
    Reading reading;
    reading.signal = &signal;
    reading.policy = settings.policy(signal);
    if (!reading.policy.enabled) continue;
    reading.time = facts.now;
    reading.action = signal.action;
    signal.read(facts, reading.policy, reading);
    report.readings.push_back(std::move(reading));
  }
  return report;
}

}  // namespace lifeboat::ready
