// recover: what is to be recovered from what, from the options, and at a terminal by asking for what they
// leave open.
#pragma once

#include <optional>
#include <string>

#include "app/invocation.h"
#include "ops/rollback/rollback.h"
#include "ops/wal/find.h"
#include "ready/recover/record.h"
#include "util/reporter.h"

namespace lifeboat::app {

extern const OptionGroup kRecoverOptions;

struct RecoverWish {
  ready::Failure failure = ready::Failure::primary_lost;
  ops::RollbackRequest request;
  std::optional<ops::WalFinding> found;  // the transaction that is stopped before
};

// A person is there to be asked, and wants to be.
bool may_ask(const Invocation& invocation);

// Errors: usage (no failure is named, data-changed without a moment, no directory), those of finding the
// transaction, cancelled.
Result<RecoverWish> read_wish(const Invocation& invocation, Reporter& reporter);

}  // namespace lifeboat::app
