#include "app/config_signals.h"

#include <algorithm>
#include <functional>

#include "app/values.h"
#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using ready::Receiver;
using ready::ReceiverType;

Error at(const ConfigSectionEntries& section, int line, std::string message) {
  return make_error(ErrorKind::config, cat(section.path, ":", line), std::move(message));
}

// What a key may be given, and what happens with it. An empty text back means that it was understood.
using Take = std::function<std::string(const ConfigEntry& entry)>;
struct Key {
  std::string_view name;
  Take take;
};

Status take_all(const ConfigSectionEntries& section, const std::vector<Key>& keys) {
  for (const ConfigEntry& entry : section.entries) {
    auto known = std::ranges::find(keys, entry.key, &Key::name);
    if (known == keys.end()) {
      std::vector<std::string_view> names;
      for (const Key& key : keys) names.push_back(key.name);
      Error error = at(section, entry.line, cat("unknown key '", entry.key, "' in [", section.section, "]"));
      auto near = nearest(entry.key, names);
      if (!near.empty()) return std::move(error).with_hint(cat("did you mean ", near, "?"));
      return std::move(error).with_hint(
          cat("known keys: ", join(std::vector<std::string>(names.begin(), names.end()), " ")));
    }
    std::string problem = known->take(entry);
    if (!problem.empty()) return at(section, entry.line, cat(entry.key, ": ", problem));
  }
  return {};
}

// --- kinds of values

Take text(std::string& into) {
  return [&into](const ConfigEntry& entry) -> std::string {
    if (entry.list || entry.values.front().empty()) return "expected a text";
    into = entry.values.front();
    return "";
  };
}
Take texts(std::vector<std::string>& into) {
  return [&into](const ConfigEntry& entry) -> std::string {
    if (entry.values.empty()) return "expected a text or a list of them";
    into = entry.values;
    return "";
  };
}
Take file(std::string& into) {
  return [&into](const ConfigEntry& entry) -> std::string {
    if (entry.list || !entry.values.front().starts_with('/')) return "expected an absolute path";
    into = entry.values.front();
    return "";
  };
}
Take truth(const std::function<void(bool)>& set) {
  return [set](const ConfigEntry& entry) -> std::string {
    auto value = entry.list ? std::nullopt : parse_bool(entry.values.front());
    if (!value) return "expected true or false";
    set(*value);
    return "";
  };
}
Take duration(int64_t& into, int64_t least) {
  return [&into, least](const ConfigEntry& entry) -> std::string {
    auto value = entry.list ? std::nullopt : parse_duration(entry.values.front());
    if (!value || *value < least) return "expected a time such as 30s, 5min or 4h";
    into = *value;
    return "";
  };
}
Take whole(const std::function<void(int64_t)>& set, int64_t least) {
  return [set, least](const ConfigEntry& entry) -> std::string {
    auto value = entry.list ? std::nullopt : parse_i64(entry.values.front());
    if (!value || *value < least) return cat("expected a whole number, at least ", least);
    set(*value);
    return "";
  };
}

Take actions(std::set<ready::HealAction>& into) {
  return [&into](const ConfigEntry& entry) -> std::string {
    for (const std::string& name : entry.values) {
      auto action = ready::parse_heal_action(name);
      if (action) {
        into.insert(*action);
        continue;
      }
      std::vector<std::string> known;
      for (const ready::HealActionInfo& one : ready::heal_actions()) known.emplace_back(one.name);
      return cat("there is no action '", name, "', known are ", join(known, ", "));
    }
    return "";
  };
}

std::string_view expected_of(ready::Unit unit) {
  switch (unit) {
    case ready::Unit::seconds:
      return "expected a time such as 90s or 26h";
    case ready::Unit::ratio:
      return "expected a share such as 80% or 0.8";
    case ready::Unit::count:
    case ready::Unit::transactions:
      break;
  }
  return "expected a number";
}

std::optional<double> threshold_value(std::string_view text, ready::Unit unit) {
  if (unit == ready::Unit::seconds) {
    if (auto number = parse_decimal(text)) return number;
    auto us = parse_duration(text);
    return us ? std::optional(static_cast<double>(*us) / 1e6) : std::nullopt;
  }
  if (unit == ready::Unit::ratio && text.ends_with('%')) {
    auto percent = parse_decimal(trim(text.substr(0, text.size() - 1)));
    return percent ? std::optional(*percent / 100) : std::nullopt;
  }
  return parse_decimal(text);
}

Take threshold(std::optional<double>& into, ready::Unit unit) {
  return [&into, unit](const ConfigEntry& entry) -> std::string {
    auto value = entry.list ? std::nullopt : threshold_value(entry.values.front(), unit);
    if (!value || *value < 0) return std::string(expected_of(unit));
    into = value;
    return "";
  };
}
Take byte_threshold(std::optional<double>& into) {
  return [&into](const ConfigEntry& entry) -> std::string {
    auto value = entry.list ? std::nullopt : parse_bytes(entry.values.front());
    if (!value) return "expected an amount such as 10MB";
    into = static_cast<double>(*value);
    return "";
  };
}

bool in_order(const ready::Thresholds& thresholds, ready::Worse worse) {
  if (!thresholds.warning || !thresholds.critical) return true;
  return worse == ready::Worse::above ? *thresholds.warning <= *thresholds.critical
                                      : *thresholds.warning >= *thresholds.critical;
}

// --- receivers

bool has_password(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return false;
  const std::string_view authority = url.substr(scheme + 3, url.substr(scheme + 3).find_first_of("/?#"));
  return authority.find('@') != std::string_view::npos;
}

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> beginnings) {
  return std::ranges::any_of(beginnings, [&](std::string_view one) { return text.starts_with(one); });
}

// What is wrong with a receiver as a whole; empty: nothing.
std::string problem_of(const Receiver& receiver) {
  const bool url = !receiver.url.empty();
  const bool url_file = !receiver.url_file.empty();
  switch (receiver.type) {
    case ReceiverType::webhook:
      if (url == url_file) return "a webhook needs url, or url-file where the URL is a secret";
      break;
    case ReceiverType::slack:
      if (!url_file) return "needs url-file: who knows the URL of a Slack webhook can write there";
      break;
    case ReceiverType::pagerduty:
      if (receiver.key_file.empty()) return "needs key-file, a file with the integration's routing key";
      break;
    case ReceiverType::email:
      if (receiver.server.empty() || receiver.from.empty() || receiver.to.empty())
        return "e-mail needs server, from and to";
      if (receiver.user.empty() != receiver.password_file.empty())
        return "user and password-file belong together";
      if (!receiver.tls && receiver.server.starts_with("smtp://") && !receiver.user.empty())
        return "a password is not sent without TLS";
      break;
    case ReceiverType::command:
      if (receiver.command.empty() || !receiver.command.front().starts_with('/'))
        return "needs command, a list: the absolute path of a program, and its arguments";
      break;
  }
  if (url && !starts_with_any(receiver.url, {"https://", "http://"}))
    return "url: expected https:// or http://";
  if (url && has_password(receiver.url)) return "url: holds a user or password; secrets belong in files";
  if (!receiver.token_file.empty() && url &&
      !starts_with_any(receiver.url, {"https://", "http://127.0.0.1", "http://localhost", "http://[::1]"}))
    return "a token is not sent over http://";
  if (!receiver.server.empty() && !starts_with_any(receiver.server, {"smtp://", "smtps://"}))
    return "server: expected smtps://host or smtp://host";
  if (has_password(receiver.server)) return "server: holds a user or password; secrets belong in files";
  for (const std::string& id : receiver.signals)
    if (ready::find_signal(id) == nullptr) return cat("signals: there is no signal ", id);
  auto crooked = [](const std::string& address) {
    return address.find_first_of("\r\n<>") != std::string::npos || address.find('@') == std::string::npos;
  };
  if (receiver.type == ReceiverType::email &&
      (crooked(receiver.from) || std::ranges::any_of(receiver.to, crooked)))
    return "from and to: expected plain addresses, name@host";
  return "";
}

}  // namespace

Result<ready::SignalOverride> read_signal_override(const ready::SignalInfo& signal,
                                                   const ConfigSectionEntries& section) {
  ready::SignalOverride found;
  std::vector<Key> keys = {
      {"enabled", truth([&](bool value) { found.enabled = value; })},
      {"owner", text(found.owner)},
      {"warning", threshold(found.thresholds.warning, signal.unit)},
      {"critical", threshold(found.thresholds.critical, signal.unit)},
  };
  if (signal.byte_thresholds.critical) {
    keys.push_back({"warning-bytes", byte_threshold(found.byte_thresholds.warning)});
    keys.push_back({"critical-bytes", byte_threshold(found.byte_thresholds.critical)});
  }
  if (signal.id == "replication_lag")
    keys.push_back({"standbys", whole([&](int64_t value) { found.standbys = value; }, 0)});
  TRY(take_all(section, keys));
  ready::SignalSettings alone;
  alone.overrides[std::string(signal.id)] = found;
  const ready::SignalPolicy policy = alone.policy(signal);
  if (!in_order(policy.thresholds, signal.worse) || !in_order(policy.byte_thresholds, ready::Worse::above))
    return at(section, section.line,
              cat("[", section.section, "]: the warning threshold lies beyond the critical one"));
  return found;
}

Result<Receiver> read_receiver(const std::string& name, const ConfigSectionEntries& section) {
  Receiver found;
  found.name = name;
  bool has_type = false;
  const std::vector<Key> keys = {
      {"type",
       [&](const ConfigEntry& entry) -> std::string {
         auto type = entry.list ? std::nullopt : ready::parse_receiver_type(entry.values.front());
         if (!type) return "expected webhook, slack, pagerduty, email or command";
         found.type = *type;
         has_type = true;
         return "";
       }},
      {"url", text(found.url)},
      {"url-file", file(found.url_file)},
      {"token-file", file(found.token_file)},
      {"key-file", file(found.key_file)},
      {"server", text(found.server)},
      {"user", text(found.user)},
      {"password-file", file(found.password_file)},
      {"from", text(found.from)},
      {"to", texts(found.to)},
      {"tls", truth([&](bool value) { found.tls = value; })},
      {"ca-file", file(found.ca_file)},
      {"command", texts(found.command)},
      {"timeout", duration(found.timeout_us, 100'000)},
      {"severity",
       [&](const ConfigEntry& entry) -> std::string {
         const std::string least = entry.list ? "" : entry.values.front();
         found.least = least == "critical" ? ready::Rank::critical : ready::Rank::attention;
         found.heartbeats_only = least == "none";
         return least == "warning" || least == "critical" || least == "none"
                    ? ""
                    : "expected warning, critical or none";
       }},
      {"clusters", texts(found.clusters)},
      {"signals", texts(found.signals)},
      {"after", duration(found.after_us, 0)},
      {"repeat", duration(found.repeat_us, 0)},
      {"quiet",
       [&](const ConfigEntry& entry) -> std::string {
         for (const std::string& one : entry.values) {
           auto period = ready::QuietPeriod::parse(one);
           if (!period) return "expected periods of the day in UTC, such as 22:00-06:00";
           found.quiet.push_back(*period);
         }
         return "";
       }},
      {"quiet-critical", truth([&](bool value) { found.quiet_critical = value; })},
      {"most-per-hour", whole([&](int64_t value) { found.most_per_hour = value; }, 1)},
      {"heartbeat", duration(found.heartbeat_us, 1'000'000)},
  };
  TRY(take_all(section, keys));
  if (!has_type) return at(section, section.line, cat("[", section.section, "] has no type"));
  const std::string problem = problem_of(found);
  if (!problem.empty()) return at(section, section.line, cat("[", section.section, "]: ", problem));
  return found;
}

Result<ConfigHeal> read_heal(const ConfigSectionEntries& section) {
  ConfigHeal found;
  found.line = section.line;
  ready::HealPolicy& policy = found.policy;
  const std::vector<Key> keys = {
      {"allow", actions(policy.allowed)},
      {"cooldown", duration(policy.cooldown_us, 0)},
      {"attempts", whole([&](int64_t value) { policy.most_per_day = value; }, 1)},
      {"stuck-after", duration(policy.stuck_us, 1'000'000)},
      {"rotate-to", text(found.rotate_to)},
  };
  TRY(take_all(section, keys));
  if (policy.allowed.contains(ready::HealAction::rotate) && found.rotate_to.empty())
    return at(section, section.line,
              "allow: rotate needs rotate-to, a repository in which the cluster is registered");
  return found;
}

Result<ConfigServe> read_serve(const ConfigSectionEntries& section) {
  ConfigServe found;
  found.line = section.line;
  TRY(take_all(section, {{"metrics", text(found.metrics)}}));
  return found;
}

}  // namespace lifeboat::app
