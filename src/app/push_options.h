// From a resolved command line of `wal push` to what the operation takes, without repository and file.
#pragma once

#include "app/invocation.h"
#include "ops/wal/push.h"
#include "ops/wal/push_ahead.h"

namespace lifeboat::app {

inline ops::WalPushOptions push_options(const Invocation& push) {
  ops::WalPushOptions options;
  options.state_directory = push.value("state-dir");
  options.ahead = static_cast<int>(push.integer("ahead").value_or(ops::default_ahead()));
  options.queue_max_bytes = push.bytes("queue-max");
  return options;
}

}  // namespace lifeboat::app
