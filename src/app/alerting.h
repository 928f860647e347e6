// One check of a cluster: signals are read, the state of alerts is brought up to date under a lock, and what
// is due is sent. The daemon does it at an interval, cron may call it as well; they do not get into each
// other's way.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "app/invocation.h"
#include "ready/alerts/engine.h"
#include "ready/alerts/send.h"
#include "ready/signals/signal.h"

namespace lifeboat::app {

struct SentMessage {
  ready::AlertMessage message;
  std::string receiver;
  std::string error;  // empty: delivered
};

struct AlertCheck {
  ready::SignalReport report;
  std::vector<SentMessage> messages;
  size_t firing = 0;
  size_t waiting = 0;                  // items that are still to be told
  std::vector<std::string> unreached;  // receivers for which something waits because an attempt failed
  nlohmann::ordered_json to_json() const;
  std::vector<ready::Receiver> receivers;
  std::map<std::string, ready::ReceiverState> states;
};

// Errors: those of reading; busy: another check of this cluster runs; those of the state directory. That a
// message could not be delivered is a result.
Result<AlertCheck> check_alerts(const Invocation& invocation);

// Fires and resolves these signals for every receiver that would be told of them. Of the state only that a
// receiver was reached is kept.
std::vector<SentMessage> test_alerts(const Invocation& invocation, const ready::SignalReport& report,
                                     const std::vector<std::string>& ids);

// What each receiver last took, and what it did not, as far as the state directory knows.
std::map<std::string, ready::ReceiverState> known_receivers(const Invocation& invocation);

ready::SendOptions send_options(const Invocation& invocation);

}  // namespace lifeboat::app
