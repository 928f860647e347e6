// `lifeboat doctor`: is this cluster being backed up and archived, and could it be recovered? Names cause and
// fix of what is wrong.
#pragma once

#include "ops/doctor/checks.h"
#include "ops/doctor/facts.h"
#include "ops/doctor/finding.h"

namespace lifeboat::ops {

struct Diagnosis {
  DoctorFacts facts;
  Findings findings;
  bool healthy() const { return count(findings, Severity::critical) == 0; }
};

// An Error only when it was stopped; whatever is broken is a finding.
Result<Diagnosis> diagnose(const DoctorRequest& request);

}  // namespace lifeboat::ops
