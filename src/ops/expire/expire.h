// `lifeboat expire`: retention by count, days and PITR window, planned first, carried out after consent.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/session.h"
#include "repo/collect.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct ExpireRequest {
  repo::RetentionPolicy policy;
  repo::RetentionPolicy dumps;  // of logical backups: count and days
  int64_t grace_us = 60ll * 60 * 1'000'000;
  StopToken* stop = nullptr;
};

struct PlannedExpiry {
  ChosenLineage lineage;
  repo::ExpireOptions options;  // with what the plan showed as `approved`
  repo::ExpirePlan plan;
};

enum class Expiring : uint8_t { backups, dumps };

// Reads only. Acts within the newest lineage, or the one asked for.
Result<PlannedExpiry> plan_expire(const repo::Repository& repository, const std::string& cluster,
                                  std::optional<Lineage> lineage, const ExpireRequest& request,
                                  Expiring what = Expiring::backups);
// Carries out what was shown: nothing is condemned that the plan did not name.
Result<repo::ExpirePlan> carry_out_expire(const PlannedExpiry& planned);

}  // namespace lifeboat::ops
