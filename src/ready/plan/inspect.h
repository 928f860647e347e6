// Reads what is there now from the server, the repository and other tools, for a plan.
//
// The server is asked through one connection, with time-outs; pg_monitor is enough. What cannot be had is
// absent in the facts and says why: a plan is also made without.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "ops/session.h"
#include "ready/plan/facts.h"

namespace lifeboat::ready {

struct InspectRequest {
  std::optional<ops::RepoLocation> repository;  // unset: none was named
  std::string cluster = "main";
  std::optional<std::string> conninfo;  // unset: the server is not asked
  bool tools = false;
  Timestamp now;
  const StopToken* stop = nullptr;
};

// Errors: cancelled.
Result<PlanFacts> inspect(const InspectRequest& request);

}  // namespace lifeboat::ready
