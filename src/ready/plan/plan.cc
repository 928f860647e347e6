#include "ready/plan/plan.h"

#include "ready/plan/steps.h"

namespace lifeboat::ready {

Plan make_plan(const Requirements& requirements, const PlanFacts& facts, const Rates& rates) {
  Planning planning{requirements, facts, rates, {}, {}};
  planning.plan.time = facts.time;
  planning.plan.cluster = facts.cluster;
  planning.plan.requirements = requirements;
  settle_volumes(planning);
  settle_profile(planning);
  choose_method(planning);
  compute_rpo(planning);
  choose_cadence(planning);
  choose_retention(planning);
  compute_storage(planning);
  look_at_security(planning);
  list_inventory(planning);
  look_at_server(planning);
  implement(planning);
  check_quality(planning);
  judge(planning);
  return std::move(planning.plan);
}

std::string_view to_string(PlanStatus status) {
  switch (status) {
    case PlanStatus::ready:
      return "ready";
    case PlanStatus::blocked:
      return "blocked";
    case PlanStatus::unproven:
      return "unproven";
  }
  return "";
}

std::string_view to_string(Method method) {
  switch (method) {
    case Method::dumps:
      return "logical dumps";
    case Method::archiving:
      return "physical backups and archived WAL";
    case Method::streaming:
      return "physical backups and streamed WAL";
    case Method::synchronous:
      return "physical backups and synchronously streamed WAL";
    case Method::provider:
      return "the provider's recovery and independent dumps";
  }
  return "";
}

std::string_view to_string(TargetVerdict verdict) {
  switch (verdict) {
    case TargetVerdict::met:
      return "met";
    case TargetVerdict::missed:
      return "missed";
    case TargetVerdict::unknown:
      return "unknown";
  }
  return "";
}

std::string_view to_string(GapWeight weight) {
  switch (weight) {
    case GapWeight::advice:
      return "advice";
    case GapWeight::critical:
      return "critical";
    case GapWeight::blocking:
      return "blocking";
  }
  return "";
}

}  // namespace lifeboat::ready
