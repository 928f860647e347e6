#include "ops/expire/expire.h"

#include "ops/catalogue/damage.h"
#include "util/strings.h"

namespace lifeboat::ops {

Result<PlannedExpiry> plan_expire(const repo::Repository& repository, const std::string& cluster,
                                  std::optional<Lineage> lineage, const ExpireRequest& request,
                                  Expiring what) {
  if (request.grace_us != 0 && request.grace_us <= repo::LeaseTiming().lease_us) {
    return make_error(ErrorKind::config, "--grace",
                      cat("must be longer than a lease, which is ",
                          format_seconds(static_cast<double>(repo::LeaseTiming().lease_us) / 1e6)))
        .with_hint("0 deletes at once, and is safe only when nobody else uses the repository");
  }
  TRY_ASSIGN(ChosenLineage chosen, choose_lineage(repository, cluster, lineage));
  if (what == Expiring::dumps) chosen.repo = chosen.repo.dumps();
  repo::ExpireOptions options;
  options.policy = what == Expiring::dumps ? request.dumps : request.policy;
  options.segment_size = chosen.record.segment_size;
  options.grace_us = request.grace_us;
  options.stop = request.stop;
  // A verdict that cannot be read must not let the newest verified backup go (T41).
  TRY_ASSIGN(Proofs proofs, read_proofs(chosen.repo));
  if (!proofs.unreadable.empty() && !options.policy.empty()) {
    return make_error(ErrorKind::damaged, cat("cluster ", cluster),
                      cat("evidence cannot be read, so it is not known which ",
                          what == Expiring::dumps ? "dumps" : "backups", " are verified; nothing expires"))
        .with_cause(proofs.unreadable.front())
        .with_hint("run lifeboat verify");
  }
  options.verified = proofs.verified();
  options.found_damaged = found_damaged(proofs);
  TRY_ASSIGN(repo::ExpirePlan plan, repo::plan_expiry(chosen.repo, options));
  options.approved.emplace();
  for (const repo::BackupDecision& decision : plan.retention.expire) options.approved->insert(decision.id);
  return PlannedExpiry{std::move(chosen), std::move(options), std::move(plan)};
}

Result<repo::ExpirePlan> carry_out_expire(const PlannedExpiry& planned) {
  return repo::run_expiry(planned.lineage.repo, planned.options);
}

}  // namespace lifeboat::ops
