// The registry of checks: what makes a server ready to be backed up, archived and recovered. `doctor` runs
// all of them, `init` those that concern the server's set-up. Every check is a pure function of DoctorFacts
// and says exactly one thing; a check that cannot be made says `skipped` and why.
#pragma once

#include <span>
#include <string_view>

#include "ops/doctor/facts.h"
#include "ops/doctor/finding.h"

namespace lifeboat::ops {

struct Check {
  std::string_view id;
  std::string_view what;
  bool setup = false;  // init makes it too
  // Fills in severity, found, cause and fix.
  void (*look)(const DoctorFacts& facts, Finding& finding) = nullptr;
};

// In the order in which they are shown.
std::span<const Check> checks();

enum class CheckScope : uint8_t { all, setup };
Findings run_checks(const DoctorFacts& facts, CheckScope scope = CheckScope::all);

}  // namespace lifeboat::ops
