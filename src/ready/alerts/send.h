// Delivers messages: HTTP and mail by libcurl (util/transfer.h), commands as processes. Secrets are read from
// their files when they are needed, and appear in no error.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "ready/alerts/engine.h"
#include "util/clock.h"
#include "util/stop.h"

namespace lifeboat::ready {

struct SendOptions {
  std::string host;  // who sends
  Clock* clock = nullptr;
  std::function<double()> random;  // in [0, 1)
  const StopToken* stop = nullptr;
  int attempts = 3;  // within one call, with growing pauses of seconds
};

// What became of a message that could not be delivered.
struct SendFailure {
  Error error;
  int64_t retry_after_us = 0;  // what the receiver asked for
};

// Tries again what may pass (no answer, 408, 425, 429, 5xx), unless the receiver asks for more patience than
// a few seconds: then the next check goes on. nullopt: delivered.
std::optional<SendFailure> send_message(const Receiver& receiver, const AlertMessage& message,
                                        const SendOptions& options);

}  // namespace lifeboat::ready
