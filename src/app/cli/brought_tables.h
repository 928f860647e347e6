// How tables that were brought to a server are told: the same of a backup and of a dump.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ops/table/bring.h"

namespace lifeboat::app {

nlohmann::ordered_json brought_tables_json(const std::vector<ops::BroughtTable>& tables);
nlohmann::ordered_json cut_ties_json(const std::vector<ops::CutTie>& cut);
std::string brought_tables_text(const std::vector<ops::BroughtTable>& tables);

}  // namespace lifeboat::app
