// Who is told of alerts, and how: the sections [alert.NAME] of the configuration file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ready/signals/signal.h"

namespace lifeboat::ready {

enum class ReceiverType : uint8_t { webhook, slack, pagerduty, email, command };
std::string_view to_string(ReceiverType type);
std::optional<ReceiverType> parse_receiver_type(std::string_view text);

// "22:00-06:00": minutes of the day in UTC, `from` to before `to`; over midnight when `to` is less.
struct QuietPeriod {
  int from_minute = 0;
  int to_minute = 0;
  static std::optional<QuietPeriod> parse(std::string_view text);
  bool holds(Timestamp now) const;
};

// Nothing secret stands in it: secrets are in files, read when something is sent.
struct Receiver {
  std::string name;
  ReceiverType type = ReceiverType::webhook;
  std::string url;         // of webhook and pagerduty
  std::string url_file;    // whose first line is the URL, for those that are secrets themselves (slack)
  std::string token_file;  // webhook: sent as a bearer token
  std::string key_file;    // pagerduty: the routing key
  std::string server;      // email: smtps://host[:465] or smtp://host[:587]
  std::string user;
  std::string password_file;
  std::string from;
  std::vector<std::string> to;
  bool tls = true;      // of smtp://: STARTTLS or nothing is sent
  std::string ca_file;  // instead of the system's certificates
  std::vector<std::string> command;
  int64_t timeout_us = 15'000'000;

  // What it is told.
  Rank least = Rank::attention;  // of firing alerts; with `heartbeats_only` none
  bool heartbeats_only = false;
  std::vector<std::string> clusters;            // empty: all
  std::vector<std::string> signals;             // empty: all
  int64_t after_us = 0;                         // an alert must have fired that long
  int64_t repeat_us = 4ll * 3'600 * 1'000'000;  // while it goes on firing; 0: once
  std::vector<QuietPeriod> quiet;               // warnings wait until it is over, criticals do not
  bool quiet_critical = false;                  // criticals wait as well
  int64_t most_per_hour = 60;                   // messages; what is over it waits, and comes together
  int64_t heartbeat_us = 0;                     // a sign of life that often; 0: none
};

}  // namespace lifeboat::ready
