// Gates: what a pipeline may ask before it goes on, answered from evidence.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <ranges>

#include "ops/catalogue/catalogue.h"
#include "ops/verify/parts.h"
#include "repo/evidence.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

using verification::kLatestProblems;

constexpr Gate kGates[] = {Gate::backup_verified, Gate::recovery_tested, Gate::rpo_rto_met};

std::string age_text(Timestamp now, Timestamp time) {
  return format_seconds(std::max(0.0, now.seconds_since(time)));
}

// "" when the proof is young enough.
std::string too_old(const BackupProof& proof, const GateLimits& limits, Timestamp now) {
  if (limits.max_age_seconds <= 0 || now.seconds_since(proof.time) <= limits.max_age_seconds) return "";
  return cat("the proof is ", age_text(now, proof.time), " old, at most ",
             format_seconds(limits.max_age_seconds), " are allowed");
}

// The newest verification and the newest drill of a backup both have a say: neither passes over what the
// other found.
bool refuse_failed(const CatalogueEntry& entry, GateVerdict& verdict) {
  const BackupProof* failed = failed_proof(entry.proofs);
  if (failed == nullptr) return false;
  const bool by_verify = entry.proofs.verified && failed == &*entry.proofs.verified;
  verdict.passed = false;
  verdict.backup = entry.card.id;
  verdict.proof = *failed;
  verdict.reason = cat("backup ", entry.card.id.text, " failed its newest ",
                       by_verify ? "verification: " : "drill: ", first_problem(*failed));
  return true;
}

void judge_verified(const CatalogueLineage& lineage, const GateLimits& limits, Timestamp now,
                    GateVerdict& verdict) {
  if (lineage.backups.empty()) {
    verdict.reason = "there is no backup";
    return;
  }
  const CatalogueEntry& newest = lineage.backups.back();
  verdict.backup = newest.card.id;
  if (newest.card.state != repo::BackupState::complete) {
    verdict.reason = "the newest backup is marked damaged";
    return;
  }
  if (refuse_failed(newest, verdict)) return;
  const auto& verified = newest.proofs.verified;
  const auto& drilled = newest.proofs.drilled;
  if (!newest.proofs.good()) {
    verdict.reason = verified
                         ? cat("the newest backup is verified only to level ", to_string(verified->level))
                         : std::string("the newest backup was never verified");
    verdict.proof = verified ? verified : drilled;
    return;
  }
  // The younger of the two proofs that passed.
  verdict.proof =
      !verified || (drilled && drilled->passed && drilled->time > verified->time) ? drilled : verified;
  verdict.reason = too_old(*verdict.proof, limits, now);
  verdict.passed = verdict.reason.empty();
  if (verdict.passed) {
    verdict.reason = cat("verified to level ", to_string(verdict.proof->level), " ",
                         age_text(now, verdict.proof->time), " ago");
  }
}

// The newest drill of the lineage, of whatever backup.
void find_newest_drill(const CatalogueLineage& lineage, GateVerdict& verdict) {
  for (const CatalogueEntry& entry : lineage.backups) {
    const auto& drilled = entry.proofs.drilled;
    if (!drilled || (verdict.proof && drilled->time <= verdict.proof->time)) continue;
    verdict.proof = drilled;
    verdict.backup = entry.card.id;
  }
}

void judge_tested(const CatalogueLineage& lineage, const GateLimits& limits, Timestamp now,
                  GateVerdict& verdict) {
  find_newest_drill(lineage, verdict);
  if (!verdict.proof) {
    verdict.reason = "no recovery was ever rehearsed";
  } else if (!verdict.proof->passed) {
    verdict.reason = "the newest drill failed";
  } else {
    verdict.reason = too_old(*verdict.proof, limits, now);
  }
  verdict.passed = verdict.reason.empty();
  // What was recovered then may be damaged now.
  for (const CatalogueEntry& entry : lineage.backups)
    if (verdict.passed && entry.card.id == verdict.backup) refuse_failed(entry, verdict);
  if (verdict.passed)
    verdict.reason = cat("recovered and checked ", age_text(now, verdict.proof->time), " ago");
}

void judge_targets(const CatalogueLineage& lineage, const GateLimits& limits, Timestamp now,
                   GateVerdict& verdict) {
  judge_tested(lineage, limits, now, verdict);
  if (!verdict.passed) return;
  const BackupProof& drill = *verdict.proof;
  auto describe = [](std::string_view name, const std::optional<double>& measured, double target) {
    return cat(name, " ", measured ? format_seconds(*measured) : std::string("not measured"), " of at most ",
               format_seconds(target));
  };
  verdict.passed = drill.rpo_seconds && drill.rto_seconds && *drill.rpo_seconds <= limits.rpo_seconds &&
                   *drill.rto_seconds <= limits.rto_seconds;
  verdict.reason = cat(describe("RPO", drill.rpo_seconds, limits.rpo_seconds), ", ",
                       describe("RTO", drill.rto_seconds, limits.rto_seconds));
}

// What the newest word on it, of a verification of all WAL or of a drill that recovered to the end, has in
// the way of the latest state; "": nothing.
Result<std::string> in_the_way_of_latest(const repo::LineageRepo& repo) {
  TRY_ASSIGN(auto ids, repo::list_evidence(repo));
  for (const std::string& id : ids | std::views::reverse) {
    auto text = repo::read_evidence(repo, id);
    const nlohmann::json record = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json();
    if (!record.is_object()) continue;  // the catalogue has told that it cannot be read
    if (record.contains(kLatestProblems)) {
      const nlohmann::json& problems = record[kLatestProblems];
      if (!problems.is_array() || problems.empty()) return std::string();
      return problems.front().is_string() ? problems.front().get<std::string>() : problems.front().dump();
    }
    // A drill that passed has these two.
    if (record.value("target", nlohmann::json()) == "latest" && record.contains("end_lsn"))
      return std::string();
  }
  return std::string();
}

Status refuse_unreachable(const repo::LineageRepo& repo, GateVerdict& verdict) {
  if (!verdict.passed) return {};
  TRY_ASSIGN(std::string problem, in_the_way_of_latest(repo));
  if (problem.empty()) return {};
  verdict.passed = false;
  verdict.reason = cat("the latest state cannot be reached: ", problem);
  return {};
}

}  // namespace

std::string_view to_string(Gate gate) {
  switch (gate) {
    case Gate::backup_verified:
      return "backup_verified";
    case Gate::recovery_tested:
      return "recovery_tested";
    case Gate::rpo_rto_met:
      return "rpo_rto_met";
  }
  return "?";
}

std::optional<Gate> parse_gate(std::string_view text) {
  for (Gate gate : kGates) {
    if (text == to_string(gate)) return gate;
  }
  return std::nullopt;
}

Result<GateVerdict> judge_gate(const repo::Repository& repository, const std::string& cluster, Gate gate,
                               const GateLimits& limits, Timestamp now) {
  TRY_ASSIGN(Catalogue catalogue, read_catalogue(repository, cluster, ListAttempts::hide));
  const CatalogueLineage& lineage = catalogue.lineages.back();
  GateVerdict verdict;
  verdict.gate = gate;
  switch (gate) {
    case Gate::backup_verified:
      judge_verified(lineage, limits, now, verdict);
      break;
    case Gate::recovery_tested:
      judge_tested(lineage, limits, now, verdict);
      break;
    case Gate::rpo_rto_met:
      judge_targets(lineage, limits, now, verdict);
      break;
  }
  TRY(refuse_unreachable(repo::LineageRepo(repository, cluster, lineage.record.lineage), verdict));
  // What cannot be read may be the very record that says no.
  if (!lineage.problems.empty()) {
    verdict.passed = false;
    verdict.reason = cat("some records cannot be read: ", lineage.problems.front().to_string());
  }
  return verdict;
}

}  // namespace lifeboat::ops
