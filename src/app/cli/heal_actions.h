// What heal does: one action, by calling the operation that does it, and then looking whether it helped.
#pragma once

#include <string>
#include <vector>

#include "app/invocation.h"
#include "ops/session.h"
#include "ready/heal/heal.h"
#include "util/reporter.h"

namespace lifeboat::app {

struct HealContext {
  const Invocation& invocation;
  ops::RepoLocation where;
  std::optional<ops::RepoLocation> other;  // that rotate-to names
  const ready::SignalFacts& facts;
  const ready::HealProbe& probe;
};

// Adds to `did` what was done, also when it fails later; the value says what came of it. Errors: what went
// wrong, or that it did not help.
Result<std::string> carry_out(const HealContext& context, const ready::HealFinding& finding,
                              std::vector<std::string>& did, Reporter& reporter);

}  // namespace lifeboat::app
