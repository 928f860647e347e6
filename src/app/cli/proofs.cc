#include "app/cli/proofs.h"

#include <nlohmann/json.hpp>

#include "app/render.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Json seconds(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

Json proof_json(const std::optional<ops::BackupProof>& proof) {
  if (!proof) return nullptr;
  return {{"passed", proof->passed},
          {"level", to_string(proof->level)},
          {"time", json_time(proof->time)},
          {"evidence", proof->evidence},
          {"rto_seconds", seconds(proof->rto_seconds)},
          {"rpo_seconds", seconds(proof->rpo_seconds)},
          {"problems", proof->problems}};
}

std::string proof_cell(const std::optional<ops::BackupProof>& proof) {
  if (!proof) return "no";
  return proof->passed ? std::string(to_string(proof->level)) : "FAILED";
}

std::string proofs_text(const ops::BackupProofs& proofs) {
  auto say = [](std::string_view what, const std::optional<ops::BackupProof>& proof) {
    if (!proof) return cat("never ", what);
    return cat(what, proof->passed ? cat(" (", to_string(proof->level), ")") : std::string(", FAILED,"),
               " at ", proof->time.to_string());
  };
  return cat(say("verified", proofs.verified), "; ", say("drilled", proofs.drilled));
}

}  // namespace lifeboat::app
