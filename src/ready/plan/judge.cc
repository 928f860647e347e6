// The quality checks (RK3) and the verdict.
#include <algorithm>

#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

bool has_gap(const Plan& plan, std::string_view id) {
  return std::ranges::any_of(plan.gaps, [&](const Gap& gap) { return gap.id == id; });
}

std::string_view result_of(TargetVerdict rpo, TargetVerdict rto) {
  if (rpo == TargetVerdict::missed || rto == TargetVerdict::missed) return "fail";
  return rpo == TargetVerdict::met && rto == TargetVerdict::met ? "pass" : "open";
}

std::string delivered_text(std::string_view name, const Delivered& delivered) {
  return cat(name, " ", delivered.seconds ? seconds_text(*delivered.seconds) : std::string("unknown"),
             " against ", seconds_text(delivered.target_seconds));
}

// Which evidence of the RPO is missing, and what gives it.
std::string rpo_reason(const Plan& plan) {
  const Delivered& rpo = plan.rpo;
  std::string text = cat("RPO: ");
  if (!rpo.why.empty()) {
    text += rpo.why;
  } else {
    text +=
        cat(rpo.path, " delivers ", rpo.seconds ? seconds_text(*rpo.seconds) : std::string("an unknown time"),
            " ± ", seconds_text(rpo.error_seconds), ", which reaches across the target of ",
            seconds_text(rpo.target_seconds));
  }
  switch (plan.method) {
    case Method::dumps:
    case Method::provider:
      return cat(text, "; needed: lifeboat dump create, which measures it, then plan again");
    case Method::archiving:
      return cat(text,
                 "; needed: lifeboat plan --inspect while WAL is archived, which measures how long "
                 "storing takes");
    case Method::streaming:
    case Method::synchronous:
      break;
  }
  return cat(text,
             "; needed: an RPO that leaves room for the network, or one of 0, which streams synchronously");
}

void check_targets(Planning& planning) {
  Plan& plan = planning.plan;
  const std::string& source = plan.requirements.targets_source;
  plan.quality.push_back({"RPO and RTO come from a stated source, or a decision record is open",
                          source.empty() ? "open" : "pass",
                          source.empty() ? "decision record targets_source" : source});
  const bool dumps_only = plan.method == Method::dumps;
  plan.quality.push_back(
      {"point-in-time recovery rests on a physical backup and continuous WAL, never on dumps",
       plan.method == Method::provider ? "open" : "pass",
       dumps_only                        ? "none is promised"
       : plan.method == Method::provider ? "the provider's, as stated"
                                         : std::string(to_string(plan.method))});
  const bool drilled = planning.rates.basis == RateBasis::drills;
  const std::string_view result = result_of(plan.rpo.verdict, plan.rto.verdict);
  plan.quality.push_back({"delivered RPO and RTO are computed and compared, with drill evidence",
                          result == "pass" && !drilled ? "open" : std::string(result),
                          cat(delivered_text("RPO", plan.rpo), ", ", delivered_text("RTO", plan.rto),
                              plan.rto.basis.empty() ? std::string() : cat("; ", plan.rto.basis))});
}

void check_operation(Planning& planning) {
  Plan& plan = planning.plan;
  plan.quality.push_back(
      {"an automated, scheduled drill into isolation measures the RTO", "pass", "job drill, weekly"});
  plan.quality.push_back({"retention states the window, how things expire, and the compliance minimum",
                          has_gap(plan, "compliance_minimum") ? "fail" : "pass",
                          cat(plan.retention.window, "; ", plan.retention.reason)});
  const bool read = planning.facts.repository && planning.facts.repository->problem.empty();
  // A socket of this host shows nothing of the connections of others.
  const bool tls = planning.facts.server &&
                   (planning.facts.server->connection == Connection::tls || planning.setting("ssl") == "on");
  plan.quality.push_back(
      {"encrypted at rest and in transit, and a restore needs no secret that lives only on the recovered "
       "system",
       has_gap(plan, "encryption") || has_gap(plan, "key_custody") || has_gap(plan, "transit") ? "fail"
       : read && tls                                                                           ? "pass"
                                                                                               : "open",
       read ? join(plan.security, "; ") : std::string("no repository was read")});
  plan.quality.push_back(
      {"transaction-id and multixact age are watched well before the emergency, with a runbook", "pass",
       "signals xid_wraparound, multixact_wraparound: warning at 500 million, critical at 1 billion"});
  plan.quality.push_back(
      {"connection saturation is watched, with a runbook", "pass", "signal connections: 80 % and 90 %"});
  plan.quality.push_back(
      {"every signal has threshold, action and owner", "pass",
       cat("owner ", plan.requirements.owner,
           plan.requirements.on_call.empty() ? "" : cat(", on call ", plan.requirements.on_call))});
  plan.quality.push_back(
      {"runbooks cover restore, archive failure, wraparound, bloat, storage and connections", "open",
       "lifeboat runbook --to DIR writes them, and lifeboat report tells whether they are written and read"});
  plan.quality.push_back({"replication topology and failover are taken from where they are owned", "pass",
                          "none is designed here"});
}

}  // namespace

void check_quality(Planning& planning) {
  check_targets(planning);
  check_operation(planning);
}

void judge(Planning& planning) {
  Plan& plan = planning.plan;
  // What blocks comes first, then what is critical.
  std::ranges::stable_sort(plan.gaps, std::ranges::greater(), &Gap::weight);
  auto reasons = [&](GapWeight weight) {
    for (const Gap& gap : plan.gaps)
      if (gap.weight == weight)
        plan.reasons.push_back(weight == GapWeight::critical ? cat(gap.what, "; needed: ", gap.action)
                                                             : gap.what);
    return !plan.reasons.empty();
  };
  if (reasons(GapWeight::blocking)) {
    plan.status = PlanStatus::blocked;
    return;
  }
  plan.status = PlanStatus::unproven;
  if (plan.rpo.verdict != TargetVerdict::met) plan.reasons.push_back(rpo_reason(plan));
  if (reasons(GapWeight::critical)) return;
  plan.status = PlanStatus::ready;
  plan.reasons.emplace_back(
      "delivered RPO and RTO, with their error, are within the targets by the evidence of drills");
}

}  // namespace lifeboat::ready
