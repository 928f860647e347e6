// What was proven of a backup or dump, as list and show print it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "ops/catalogue/proof.h"

namespace lifeboat::app {

// null: never
nlohmann::ordered_json proof_json(const std::optional<ops::BackupProof>& proof);
// For a table: the level, "no", or "FAILED".
std::string proof_cell(const std::optional<ops::BackupProof>& proof);
// Both in a sentence: "verified (wal) at …; drilled (asserted) at …".
std::string proofs_text(const ops::BackupProofs& proofs);

}  // namespace lifeboat::app
