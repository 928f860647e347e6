#include "ready/alerts/engine.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kFirstBackOffUs = 15'000'000;
constexpr int64_t kLongestBackOffUs = 600'000'000;
constexpr int64_t kLongestRetryAfterUs = 3'600'000'000;
constexpr double kHour = 3'600;
constexpr size_t kErrorLimit = 500;

bool wants(const Receiver& receiver, const AlertItem& item) {
  auto listed = [](const std::vector<std::string>& list, const std::string& name) {
    return list.empty() || std::ranges::find(list, name) != list.end();
  };
  return !receiver.heartbeats_only && listed(receiver.clusters, item.cluster) &&
         listed(receiver.signals, item.signal);
}

bool is_quiet(const Receiver& receiver, Rank severity, Timestamp now) {
  if (severity == Rank::critical && !receiver.quiet_critical) return false;
  return std::ranges::any_of(receiver.quiet, [&](const QuietPeriod& period) { return period.holds(now); });
}

// Tokens come evenly, `most_per_hour` an hour, and that many can be saved.
double tokens_now(const Receiver& receiver, const ReceiverState& state, Timestamp now) {
  const auto most = static_cast<double>(receiver.most_per_hour);
  if (!state.tokens_at.valid()) return most;
  const double seconds = std::max(0.0, now.seconds_since(state.tokens_at));
  return std::min(most, state.tokens + seconds * most / kHour);
}

// The signal that says why `reading` cannot be read: one that was measured to be down, else the first that
// cannot be read for the same reason. Itself when there is no other.
const Reading& cause_of(const SignalReport& report, const Reading& reading) {
  if (reading.verdict != Verdict::unknown) return reading;
  auto same = [&](const Reading& one) {
    return one.found == reading.found && rank_of(one.verdict) != Rank::fine;
  };
  auto measured = std::ranges::find_if(
      report.readings, [&](const Reading& one) { return one.verdict != Verdict::unknown && same(one); });
  return measured != report.readings.end() ? *measured : *std::ranges::find_if(report.readings, same);
}

std::string told_with(const SignalReport& report, const Reading& cause) {
  std::vector<std::string> ids;
  for (const Reading& one : report.readings)
    if (&one != &cause && &cause_of(report, one) == &cause) ids.emplace_back(one.signal->id);
  return ids.empty() ? "" : cat("; for this reason these cannot be read: ", join(ids, ", "));
}

void sort_for_people(std::vector<AlertItem>& items) {
  std::ranges::stable_sort(items, [](const AlertItem& one, const AlertItem& other) {
    if (one.status != other.status) return one.status == AlertItem::Status::firing;
    return one.severity > other.severity;
  });
}

}  // namespace

std::string AlertItem::key() const {
  return cat("lifeboat/", cluster, "/", signal);
}

std::string_view severity_name(Rank severity) {
  return severity == Rank::critical ? "critical" : "warning";
}

int64_t back_off_us(uint64_t failures, double random) {
  int64_t wait_us = kFirstBackOffUs;
  for (uint64_t i = 1; i < failures && wait_us < kLongestBackOffUs; ++i) wait_us *= 2;
  wait_us = std::min(wait_us, kLongestBackOffUs);
  // Between half of it and all of it.
  return wait_us / 2 + static_cast<int64_t>(random * static_cast<double>(wait_us) / 2);
}

void AlertBook::observe(const SignalReport& report) {
  std::vector<std::string> seen;
  for (const Reading& reading : report.readings) {
    AlertItem now;
    now.cluster = report.cluster;
    now.signal = reading.signal->id;
    const std::string key = now.key();
    const Rank rank = rank_of(reading.verdict);
    seen.push_back(key);
    auto known = alerts_.find(key);
    if (rank == Rank::fine && known == alerts_.end()) continue;
    Alert& alert = alerts_[key];
    const bool begins = rank != Rank::fine && (known == alerts_.end() || alert.item.severity == Rank::fine);
    now.severity = rank;
    now.status = rank == Rank::fine ? AlertItem::Status::resolved : AlertItem::Status::firing;
    now.since = begins ? report.time : alert.item.since;
    if (rank == Rank::fine) now.resolved = alert.item.resolved.valid() ? alert.item.resolved : report.time;
    now.what = reading.signal->what;
    now.value = reading.value ? format_value(*reading.value, reading.signal->unit) : "";
    now.found = reading.verdict == Verdict::unknown ? cat("cannot be read: ", reading.found) : reading.found;
    if (rank != Rank::fine) now.found += told_with(report, reading);
    if (const Reading& cause = cause_of(report, reading); &cause != &reading) now.cause = cause.signal->id;
    now.action = reading.action;
    now.owner = reading.policy.owner;
    alert.item = std::move(now);
  }
  for (auto& [key, alert] : alerts_) {
    if (alert.item.cluster != report.cluster || std::ranges::find(seen, key) != seen.end()) continue;
    alert.item.severity = Rank::fine;
    alert.item.status = AlertItem::Status::resolved;
    alert.item.resolved = report.time;
    alert.item.found = "is not watched any more";
  }
  forget_what_is_over();
}

void AlertBook::forget_what_is_over() {
  std::erase_if(alerts_, [](const auto& entry) {
    return entry.second.item.severity == Rank::fine && entry.second.told.empty();
  });
}

bool AlertBook::told_elsewhere(const Receiver& receiver, const AlertItem& item) const {
  if (item.cause.empty() || item.severity == Rank::fine) return false;
  AlertItem cause;
  cause.cluster = item.cluster;
  cause.signal = item.cause;
  auto known = alerts_.find(cause.key());
  return known != alerts_.end() && known->second.item.severity >= receiver.least &&
         known->second.item.severity != Rank::fine && wants(receiver, known->second.item);
}

std::vector<AlertItem> AlertBook::items_due(const Receiver& receiver, const std::string& cluster,
                                            Timestamp now) const {
  std::vector<AlertItem> items;
  for (const auto& [key, alert] : alerts_) {
    const AlertItem& item = alert.item;
    // What was told of it before stands: the cause hides whether it is over.
    if (item.cluster != cluster || told_elsewhere(receiver, item)) continue;
    auto told = alert.told.find(receiver.name);
    const bool fires =
        item.severity >= receiver.least && item.severity != Rank::fine && wants(receiver, item);
    if (!fires) {
      // Over, or not bad enough any more for this one.
      if (told == alert.told.end() || is_quiet(receiver, told->second.severity, now)) continue;
      AlertItem over = item;
      over.status = AlertItem::Status::resolved;
      over.severity = told->second.severity;
      if (!over.resolved.valid()) over.resolved = now;
      items.push_back(std::move(over));
      continue;
    }
    if (is_quiet(receiver, item.severity, now)) continue;
    if (told == alert.told.end()) {
      if (now.unix_us - item.since.unix_us >= receiver.after_us) items.push_back(item);
      continue;
    }
    const bool changed = told->second.severity != item.severity;
    const bool again = receiver.repeat_us > 0 && now.unix_us - told->second.at.unix_us >= receiver.repeat_us;
    if (changed || again) items.push_back(item);
  }
  sort_for_people(items);
  return items;
}

std::vector<AlertMessage> AlertBook::due(const std::vector<Receiver>& receivers, const std::string& cluster,
                                         Timestamp now) {
  std::vector<AlertMessage> messages;
  for (const Receiver& receiver : receivers) {
    ReceiverState& state = receivers_[receiver.name];
    // A clock that was set back must not silence anybody.
    if (state.next_try.valid() && state.next_try > now &&
        state.next_try.unix_us - now.unix_us <= kLongestRetryAfterUs)
      continue;
    if (receiver.heartbeat_us > 0 && (!state.heartbeat.valid() || state.heartbeat > now ||
                                      now.unix_us - state.heartbeat.unix_us >= receiver.heartbeat_us))
      messages.push_back({AlertMessage::Kind::heartbeat, false, receiver.name, cluster, now, {}});
    std::vector<AlertItem> items = items_due(receiver, cluster, now);
    if (items.empty() || tokens_now(receiver, state, now) < 1) continue;
    messages.push_back({AlertMessage::Kind::alerts, false, receiver.name, cluster, now, std::move(items)});
  }
  return messages;
}

void AlertBook::told(const Receiver& receiver, const AlertMessage& message, Timestamp now) {
  ReceiverState& state = receivers_[receiver.name];
  state.failures = 0;
  state.next_try = {};
  state.last_error.clear();
  ++state.sent;
  if (message.kind == AlertMessage::Kind::heartbeat) {
    state.heartbeat = now;
    return;
  }
  state.delivered = now;
  state.tokens = tokens_now(receiver, state, now) - 1;
  state.tokens_at = now;
  for (const AlertItem& item : message.items) {
    auto alert = alerts_.find(item.key());
    if (alert == alerts_.end()) continue;
    if (item.status == AlertItem::Status::resolved)
      alert->second.told.erase(receiver.name);
    else
      alert->second.told[receiver.name] = {item.severity, now};
  }
  forget_what_is_over();
}

void AlertBook::reached(const std::string& receiver, Timestamp now) {
  receivers_[receiver].delivered = now;
}

void AlertBook::failed(const Receiver& receiver, std::string_view error, Timestamp now,
                       int64_t retry_after_us, double random) {
  ReceiverState& state = receivers_[receiver.name];
  ++state.failures;
  ++state.failed;
  state.last_error = error.substr(0, kErrorLimit);
  const int64_t asked_us = std::clamp<int64_t>(retry_after_us, 0, kLongestRetryAfterUs);
  state.next_try = now.plus_us(std::max(asked_us, back_off_us(state.failures, random)));
}

size_t AlertBook::firing() const {
  return static_cast<size_t>(std::ranges::count_if(
      alerts_, [](const auto& entry) { return entry.second.item.severity != Rank::fine; }));
}

size_t AlertBook::waiting(const std::vector<Receiver>& receivers, const std::string& cluster,
                          Timestamp now) const {
  size_t waiting = 0;
  for (const Receiver& receiver : receivers) waiting += items_due(receiver, cluster, now).size();
  return waiting;
}

// --- as a file keeps it

std::string AlertBook::encode() const {
  Json alerts = Json::array();
  for (const auto& [key, alert] : alerts_) {
    const AlertItem& item = alert.item;
    Json told = Json::object();
    for (const auto& [name, one] : alert.told)
      told[name] = {{"severity", static_cast<int>(one.severity)}, {"at_us", one.at.unix_us}};
    alerts.push_back({{"cluster", item.cluster},
                      {"signal", item.signal},
                      {"severity", static_cast<int>(item.severity)},
                      {"since_us", item.since.unix_us},
                      {"resolved_us", item.resolved.unix_us},
                      {"what", item.what},
                      {"value", item.value},
                      {"found", item.found},
                      {"action", item.action},
                      {"owner", item.owner},
                      {"cause", item.cause},
                      {"told", std::move(told)}});
  }
  Json receivers = Json::object();
  for (const auto& [name, state] : receivers_) {
    receivers[name] = {{"tokens", state.tokens},
                       {"tokens_at_us", state.tokens_at.unix_us},
                       {"failures", state.failures},
                       {"next_try_us", state.next_try.unix_us},
                       {"heartbeat_us", state.heartbeat.unix_us},
                       {"delivered_us", state.delivered.unix_us},
                       {"sent", state.sent},
                       {"failed", state.failed},
                       {"last_error", state.last_error}};
  }
  return Json{{"version", 1}, {"alerts", std::move(alerts)}, {"receivers", std::move(receivers)}}.dump(
             1, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

namespace {
Rank rank_in(const Json& json) {
  return static_cast<Rank>(std::clamp(json.get<int>(), 0, static_cast<int>(Rank::critical)));
}
}  // namespace

Result<AlertBook> AlertBook::decode(std::string_view object, std::string_view text) {
  try {
    AlertBook book;
    const Json json = Json::parse(text);
    for (const Json& one : json.at("alerts")) {
      Alert alert;
      AlertItem& item = alert.item;
      item.cluster = one.at("cluster").get<std::string>();
      item.signal = one.at("signal").get<std::string>();
      item.severity = rank_in(one.at("severity"));
      item.status = item.severity == Rank::fine ? AlertItem::Status::resolved : AlertItem::Status::firing;
      item.since = {one.at("since_us").get<int64_t>()};
      item.resolved = {one.at("resolved_us").get<int64_t>()};
      item.what = one.at("what").get<std::string>();
      item.value = one.at("value").get<std::string>();
      item.found = one.at("found").get<std::string>();
      item.action = one.at("action").get<std::string>();
      item.owner = one.at("owner").get<std::string>();
      item.cause = one.value("cause", std::string());
      for (const auto& [name, told] : one.at("told").items())
        alert.told[name] = {rank_in(told.at("severity")), {told.at("at_us").get<int64_t>()}};
      book.alerts_[item.key()] = std::move(alert);
    }
    for (const auto& [name, one] : json.at("receivers").items()) {
      ReceiverState& state = book.receivers_[name];
      state.tokens = one.at("tokens").get<double>();
      state.tokens_at = {one.at("tokens_at_us").get<int64_t>()};
      state.failures = one.at("failures").get<uint64_t>();
      state.next_try = {one.at("next_try_us").get<int64_t>()};
      state.heartbeat = {one.at("heartbeat_us").get<int64_t>()};
      state.delivered = {one.value("delivered_us", Timestamp().unix_us)};
      state.sent = one.at("sent").get<uint64_t>();
      state.failed = one.at("failed").get<uint64_t>();
      state.last_error = one.at("last_error").get<std::string>();
    }
    return book;
  } catch (const Json::exception& problem) {
    return make_error(ErrorKind::damaged, std::string(object), "is not the state of alerts")
        .with_cause(problem.what());
  }
}

}  // namespace lifeboat::ready
