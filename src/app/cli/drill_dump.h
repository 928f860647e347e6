// drill --dump: the part of the command that rehearses a logical backup, and what both kinds of drill say
// alike.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "app/invocation.h"
#include "ops/drill/drill.h"

namespace lifeboat::app {

// `directory`: where the throw-away server is made.
Result<int> drill_dump(const Invocation& invocation, const std::string& directory);

// The checks of a drill in its JSON document.
nlohmann::ordered_json checks_json(std::span<const ops::DrillCheck> checks);

}  // namespace lifeboat::app
