// What a restore is going to do and did, for people and programs: shared by restore, standby create and
// rollback.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "app/render.h"
#include "ops/restore/restore.h"

namespace lifeboat::app {

nlohmann::ordered_json plan_json(const ops::RestorePlan& plan);
nlohmann::ordered_json outcome_json(const ops::RestoreOutcome& outcome);
nlohmann::ordered_json locked_json(const ops::RecoveryResult& recovery);
// The tables that a transaction holds at the target.
void add_locked(Facts& facts, const ops::RecoveryResult& recovery);
// Ends with the next command.
std::string outcome_text(const ops::RestoreOutcome& outcome);
std::string copy_out_text(const std::vector<std::string>& commands);  // "" without any

}  // namespace lifeboat::app
