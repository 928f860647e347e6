#include "ops/doctor/doctor.h"

namespace lifeboat::ops {

Result<Diagnosis> diagnose(const DoctorRequest& request) {
  Diagnosis diagnosis;
  TRY_ASSIGN(diagnosis.facts, gather_facts(request));
  diagnosis.findings = run_checks(diagnosis.facts);
  return diagnosis;
}

}  // namespace lifeboat::ops
