#include "ready/signals/history.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kLimit = 16 << 20;
constexpr int64_t kLastSecond = 253'402'300'799;  // of the year 9999
constexpr int64_t kSecondUs = 1'000'000;
constexpr int64_t kDenseUs = 2 * 3'600 * kSecondUs;
constexpr int64_t kDenseGapUs = 300 * kSecondUs;
constexpr int64_t kSparseGapUs = 3'600 * kSecondUs;
constexpr int64_t kOldestUs = 8 * 86'400 * kSecondUs;
constexpr double kShortestSpan = 3600;  // what a few minutes say of a day is noise
constexpr size_t kFewest = 3;
constexpr double kDay = 86'400;
constexpr double kFullSoon = kDay;
// A slope over less than this is not believed when it says that a disk will be full.
constexpr double kSpanForFull = 3'600;
constexpr double kForecastLimit = 365 * kDay;

std::string part_key(const Reading& reading, const SignalPart& part) {
  return cat(reading.signal->id, ":", part.object);
}

void add_sample(std::vector<Sample>& samples, Sample sample) {
  if (!samples.empty() && sample.time.unix_us < samples.back().time.unix_us + kDenseGapUs) {
    // A clock that was set back begins anew.
    if (sample.time < samples.back().time)
      samples.clear();
    else
      return;
  }
  samples.push_back(sample);
  std::vector<Sample> kept;
  for (const Sample& one : samples) {
    const int64_t age_us = sample.time.unix_us - one.time.unix_us;
    if (age_us > kOldestUs) continue;
    const bool dense = age_us <= kDenseUs;
    if (!kept.empty() && !dense && one.time.unix_us < kept.back().time.unix_us + kSparseGapUs) continue;
    kept.push_back(one);
  }
  samples = std::move(kept);
}

std::vector<Sample> with(const std::vector<Sample>* samples, Sample now) {
  std::vector<Sample> all;
  if (samples != nullptr)
    std::ranges::copy_if(*samples, std::back_inserter(all),
                         [&](const Sample& one) { return one.time < now.time; });
  all.push_back(now);
  return all;
}

// When a rising value reaches `limit`, if it goes on like that.
std::optional<double> reaches(const Trend& trend, double value, double limit) {
  if (!trend.per_day || *trend.per_day <= 0 || value >= limit) return std::nullopt;
  const double seconds = (limit - value) / *trend.per_day * kDay;
  return seconds < kForecastLimit ? std::optional(seconds) : std::nullopt;
}

}  // namespace

void SignalHistory::add(const SignalReport& report) {
  for (const Reading& reading : report.readings) {
    if (reading.value) add_sample(samples_[std::string(reading.signal->id)], {report.time, *reading.value});
    if (reading.signal->object != "path") continue;
    for (const SignalPart& part : reading.parts)
      add_sample(samples_[part_key(reading, part)], {report.time, part.value});
  }
  std::erase_if(samples_, [&](const auto& entry) {
    return entry.second.empty() || report.time.unix_us - entry.second.back().time.unix_us > kOldestUs;
  });
}

void SignalHistory::apply(SignalReport& report) const {
  for (Reading& reading : report.readings) {
    if (!reading.value) continue;
    const Thresholds& thresholds = reading.policy.thresholds;
    reading.trend = trend_of(with(samples(std::string(reading.signal->id)), {report.time, *reading.value}));
    if (reading.signal->worse == Worse::above && thresholds.critical)
      reading.trend.reaches_critical_seconds = reaches(reading.trend, *reading.value, *thresholds.critical);
    if (reading.signal->object != "path") continue;
    for (SignalPart& part : reading.parts) {
      const Trend trend = trend_of(with(samples(part_key(reading, part)), {report.time, part.value}));
      if (trend.span_seconds < kSpanForFull) continue;
      part.full_in_seconds = reaches(trend, part.value, 1);
      if (!part.full_in_seconds || *part.full_in_seconds > kFullSoon) continue;
      part.verdict = worse_of(part.verdict, Verdict::warning);
      reading.verdict = worse_of(reading.verdict, Verdict::warning);
      reading.found += cat("; ", part.object, " will be full in ", format_seconds(*part.full_in_seconds),
                           " when it goes on like this");
    }
  }
}

const std::vector<Sample>* SignalHistory::samples(const std::string& key) const {
  auto found = samples_.find(key);
  return found == samples_.end() ? nullptr : &found->second;
}

Trend trend_of(const std::vector<Sample>& samples) {
  Trend trend;
  if (samples.empty()) return trend;
  trend.span_seconds = samples.back().time.seconds_since(samples.front().time);
  if (samples.size() < kFewest || trend.span_seconds < kShortestSpan) return trend;
  double mean_time = 0;
  double mean_value = 0;
  const auto count = static_cast<double>(samples.size());
  for (const Sample& sample : samples) {
    mean_time += sample.time.seconds_since(samples.front().time) / count;
    mean_value += sample.value / count;
  }
  double above = 0;
  double below = 0;
  for (const Sample& sample : samples) {
    const double time = sample.time.seconds_since(samples.front().time) - mean_time;
    above += time * (sample.value - mean_value);
    below += time * time;
  }
  if (below > 0) trend.per_day = above / below * kDay;
  return trend;
}

std::string SignalHistory::encode() const {
  Json values = Json::object();
  for (const auto& [key, samples] : samples_) {
    Json list = Json::array();
    for (const Sample& sample : samples) list.push_back({sample.time.unix_us / kSecondUs, sample.value});
    values[key] = std::move(list);
  }
  Json json = {{"version", 1}, {"samples", std::move(values)}};
  if (watched.valid()) json["watched"] = watched.unix_us / kSecondUs;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<SignalHistory> SignalHistory::decode(std::string_view object, std::string_view text) {
  try {
    SignalHistory history;
    const Json json = Json::parse(text);
    for (const auto& [key, list] : json.at("samples").items()) {
      std::vector<Sample>& samples = history.samples_[key];
      for (const Json& sample : list) {
        const auto seconds = sample.at(0).get<int64_t>();
        if (seconds < 0 || seconds > kLastSecond)
          return make_error(ErrorKind::damaged, std::string(object), cat("has a sample of second ", seconds));
        samples.push_back({Timestamp::from_seconds(seconds), sample.at(1).get<double>()});
      }
      std::ranges::stable_sort(samples, {}, &Sample::time);
    }
    if (auto watched = json.find("watched"); watched != json.end())
      history.watched = Timestamp::from_seconds(std::clamp<int64_t>(watched->get<int64_t>(), 0, kLastSecond));
    return history;
  } catch (const Json::exception& problem) {
    return make_error(ErrorKind::damaged, std::string(object), "is not a history of signals")
        .with_cause(problem.what());
  }
}

std::string history_path(const std::string& directory, const std::string& cluster) {
  return join_path(directory, cat("signals-", cluster, ".json"));
}

SignalHistory read_history(const std::string& path) {
  auto text = read_text(path, kLimit);
  if (!text) return {};
  auto history = SignalHistory::decode(path, *text);
  return history ? *std::move(history) : SignalHistory();
}

}  // namespace lifeboat::ready
