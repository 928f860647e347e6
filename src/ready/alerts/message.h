// What is written to receivers, by type. Pure.
#pragma once

#include <string>
#include <vector>

#include "ready/alerts/engine.h"

namespace lifeboat::ready {

// "[critical] main: backup_age 60 h 00 min, and 2 more"
std::string subject_of(const AlertMessage& message);
// For people, some lines an alert.
std::string text_of(const AlertMessage& message, const std::string& host);
// The document that webhooks and commands get ("lifeboat/alert/1").
std::string json_of(const AlertMessage& message, const std::string& host);
// Slack's incoming webhooks.
std::string slack_of(const AlertMessage& message, const std::string& host);
// PagerDuty Events v2: one event an alert.
std::vector<std::string> pagerduty_of(const AlertMessage& message, const std::string& host,
                                      const std::string& routing_key);
// A mail (RFC 5322) with CRLF line ends. `id` makes its Message-ID.
std::string mail_of(const AlertMessage& message, const Receiver& receiver, const std::string& host,
                    const std::string& id);

}  // namespace lifeboat::ready
