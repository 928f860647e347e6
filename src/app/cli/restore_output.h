// What a restore is going to do and did, for people and programs: shared by restore, standby create and
// rollback.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "ops/restore/restore.h"

namespace lifeboat::app {

nlohmann::ordered_json plan_json(const ops::RestorePlan& plan);
nlohmann::ordered_json outcome_json(const ops::RestoreOutcome& outcome);
// Ends with the next command.
std::string outcome_text(const ops::RestoreOutcome& outcome);

}  // namespace lifeboat::app
