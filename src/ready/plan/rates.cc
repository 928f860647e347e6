#include "ready/plan/rates.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ranges>

#include "repo/evidence.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostDrills = 10;
constexpr size_t kMostEvidence = 60;
constexpr double kErrorOfOne = 0.3;
constexpr double kSmallestError = 0.05;

double number(const Json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

std::string text(const Json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// What users have to wait for. Counting all rows and reading all pages comes after they are let in.
double checks_before_users(const Json& document) {
  double seconds = 0;
  auto checks = document.find("checks");
  if (checks == document.end() || !checks->is_array()) return 0;
  for (const Json& check : *checks) {
    if (!check.is_object()) continue;
    const std::string id = text(check, "id");
    if (id != "amcheck" && id != "page_checksums" && id != "row_counts") seconds += number(check, "seconds");
  }
  return seconds;
}

struct Samples {
  std::vector<double> restore;
  std::vector<double> replay;
  std::vector<double> fixed;
  std::vector<double> checks;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}
std::optional<double> rate(const std::vector<double>& values) {
  return values.empty() ? std::nullopt : std::optional(median(values));
}

// Too little was replayed, or copied, in too short a time to say anything of a rate.
constexpr double kShortest = 0.05;

void add(const Json& document, const Json& phases, Samples& into, std::string_view medium) {
  const double copy = number(phases, "copy") + number(phases, "sync");
  const double bytes = number(document, "plain_bytes");
  if (medium == "copy" && copy > kShortest && bytes > 0) into.restore.push_back(bytes / copy);
  const double recovery = number(phases, "recovery");
  const double wal = number(document, "wal_bytes");
  const bool tells = recovery > kShortest && wal >= kLeastReplayed;
  if (tells) into.replay.push_back(wal / recovery);
  into.fixed.push_back((tells ? 0 : recovery) + number(phases, "preflight") + number(phases, "configure") +
                       number(phases, "mount") + number(phases, "start") + number(phases, "promote") +
                       number(phases, "first_query"));
  into.checks.push_back(checks_before_users(document));
}

// The largest deviation of the times that the rates stand for, as a share of the median's: at a third of the
// rate it takes three times as long.
double spread(const std::vector<double>& rates) {
  if (rates.size() < 2) return 0;
  const double middle = median(rates);
  double most = 0;
  for (double rate : rates) most = std::max(most, std::abs(middle / rate - 1));
  return most;
}

double deviation(const std::vector<double>& seconds) {
  if (seconds.size() < 2) return 0;
  const double middle = median(seconds);
  double most = 0;
  for (double one : seconds) most = std::max(most, std::abs(one - middle));
  return most;
}

Timestamp time_of(const Json& document) {
  return Timestamp{static_cast<int64_t>(number(document, "time_us"))};
}

// Of one database alone, or of definitions, nobody can tell how long the whole takes.
bool of_everything(const Json& document) {
  auto whole = document.find("whole");
  return whole != document.end() && whole->is_boolean() && whole->get<bool>();
}

bool passed(const Json& document) {
  auto backups = document.find("backups");
  if (backups == document.end() || !backups->is_array() || backups->empty()) return false;
  const Json& first = backups->front();
  if (!first.is_object()) return false;
  auto verdict = first.find("passed");
  return verdict != first.end() && verdict->is_boolean() && verdict->get<bool>();
}

}  // namespace

Rates rates_of_drills(const std::vector<EvidenceText>& newest_first, std::optional<double> database_bytes) {
  Samples full;
  Samples mounted;
  std::vector<double> dumps;
  Rates rates;
  for (const EvidenceText& record : newest_first) {
    const Json document = Json::parse(record.json, nullptr, false);
    if (!document.is_object() || text(document, "kind") != "drill" || !passed(document)) continue;
    if (document.contains("dump")) {
      const double seconds = number(document, "restore_seconds");
      if (seconds <= kShortest || !database_bytes || dumps.size() >= kMostDrills || !of_everything(document))
        continue;
      dumps.push_back(*database_bytes / seconds);
      if (!rates.dump_newest.valid()) rates.dump_newest = time_of(document);
      rates.evidence.push_back(record.id);
      continue;
    }
    auto phases = document.find("phases");
    if (phases == document.end() || !phases->is_object()) continue;
    const std::string said = text(document, "medium");
    const std::string medium = said.empty() ? "copy" : said;
    Samples& samples = medium == "copy" ? full : mounted;
    if (samples.fixed.size() >= kMostDrills) continue;
    add(document, *phases, samples, medium);
    if (!rates.newest.valid()) rates.newest = time_of(document);
    rates.evidence.push_back(record.id);
  }
  if (!rates.newest.valid()) rates.newest = rates.dump_newest;
  rates.dump_restore_bytes_per_second = rate(dumps);
  if (full.fixed.empty() && mounted.fixed.empty() && dumps.empty()) return rates;
  rates.basis = RateBasis::drills;
  rates.samples = full.fixed.size();
  rates.instant_samples = mounted.fixed.size();
  rates.restore_bytes_per_second = rate(full.restore);
  rates.replay_bytes_per_second = rate(full.replay);
  rates.instant_replay_bytes_per_second = rate(mounted.replay);
  // A plain directory replays no slower than a mount.
  if (!rates.replay_bytes_per_second) rates.replay_bytes_per_second = rates.instant_replay_bytes_per_second;
  const Samples& basis = full.fixed.empty() ? mounted : full;
  if (!basis.fixed.empty()) {
    rates.fixed_seconds = median(basis.fixed);
    rates.checks_seconds = median(basis.checks);
  }
  if (!mounted.fixed.empty())
    rates.instant_seconds = std::max(0.0, median(mounted.fixed) - rates.fixed_seconds);
  const size_t samples = std::max({full.fixed.size(), mounted.fixed.size(), dumps.size()});
  rates.relative_error = samples < 2 ? kErrorOfOne
                                     : std::max({kSmallestError, spread(full.restore), spread(full.replay),
                                                 spread(mounted.replay), spread(dumps)});
  rates.fixed_error_seconds = std::max(deviation(full.fixed), deviation(mounted.fixed));
  return rates;
}

Rates measured_rates(const repo::LineageRepo& repo) {
  std::vector<EvidenceText> evidence;
  auto ids = repo::list_evidence(repo);
  if (!ids) return {};
  for (const std::string& id : *ids | std::views::reverse | std::views::take(kMostEvidence))
    if (auto text = repo::read_evidence(repo, id)) evidence.push_back({id, std::move(*text)});
  return rates_of_drills(evidence);
}

void slow_down_by_fetching(Rates& calibrated, std::optional<double> fetched_bytes_per_second) {
  auto& rate = calibrated.restore_bytes_per_second;
  if (!rate || !fetched_bytes_per_second || *rate <= 0 || *fetched_bytes_per_second <= 0) return;
  rate = 1 / (1 / *rate + 1 / *fetched_bytes_per_second);
}

void fill_in(Rates& rates, const Rates& calibrated) {
  if (rates.basis == RateBasis::none) {
    if (calibrated.restore_bytes_per_second || calibrated.replay_bytes_per_second) rates = calibrated;
    return;
  }
  if (rates.replay_bytes_per_second || !calibrated.replay_bytes_per_second) return;
  rates.replay_bytes_per_second = calibrated.replay_bytes_per_second;
  rates.replay_calibrated = true;
}

}  // namespace lifeboat::ready
