// What a recovery leaves behind (R8): before acting, a plan that says what failed, what will be lost, how it
// is done, how long it takes and what to tell people; afterwards the post-mortem record. Verdicts are
// computed from what was measured, never written by hand.
//
// Pure, but for write_recovery_evidence().
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/rollback/rollback.h"
#include "ready/plan/facts.h"
#include "ready/recover/validate.h"
#include "repo/repository.h"

namespace lifeboat::ready {

enum class Failure : uint8_t {
  primary_lost,  // host, disk or server is gone
  data_changed,  // by mistake, since a moment
  corruption,    // files are damaged
  region_lost,   // the host will not come back
};
std::string_view to_string(Failure failure);  // "primary-lost"
std::optional<Failure> parse_failure(std::string_view text);

// What was found before anything was done.
struct Assessment {
  Failure failure = Failure::primary_lost;
  std::string cluster;
  Timestamp began;                 // of the recovery
  Timestamp noticed;               // of the failure, as the operator says, else when the recovery began
  std::vector<std::string> found;  // for people, one fact each
  Timestamp last_known_commit;     // in stored WAL; unknown: not known
  bool primary_answers = false;    // --pg reaches a server that takes writes
};

// Why this may not be the failure that it is taken for, in one sentence or two; empty: nothing says so.
std::string warning_of(const Assessment& assessment);

// What will be gone when the target is reached.
struct ExpectedLoss {
  std::optional<double> seconds;  // nullopt: not known
  bool chosen = false;            // later changes are left out on purpose
  bool whole = false;             // all that was committed is to be replayed
  std::string says;
};
ExpectedLoss expected_loss(const Assessment& assessment, const ops::RestorePlan& plan);

struct RecoverPlan {
  Assessment assessment;
  ops::RollbackPlan steps;
  ExpectedLoss loss;
  std::optional<double> downtime_seconds;  // estimate; nullopt: no rate was ever measured
  bool in_place = true;
};
// Where the newest drill left the time open, from what all of them measured.
void estimate_from(const Rates& rates, ops::RestorePlan& plan);
RecoverPlan make_recover_plan(Assessment assessment, ops::RollbackPlan steps);

// For people; ends with what may be sent to stakeholders.
std::string render_recover_plan(const RecoverPlan& plan);
std::string stakeholder_text(const RecoverPlan& plan);

enum class RecoverVerdict : uint8_t { pass, fail, not_applicable, unknown };
std::string_view to_string(RecoverVerdict verdict);

struct JudgedPoint {
  std::string id;  // "target_reached"
  RecoverVerdict verdict = RecoverVerdict::unknown;
  std::string says;
};

struct PostMortem {
  RecoverPlan plan;
  Timestamp ended;
  std::optional<Error> error;                   // the recovery itself failed
  std::optional<ops::RollbackOutcome> outcome;  // what happened
  std::optional<Validation> validation;         // of the recovered server
  std::optional<double> rpo_target;             // seconds
  std::optional<double> rto_target;
  std::string host;
  std::string tool_version;
};

// What was committed and the recovered server does not have, as time; nullopt: not known.
std::optional<double> measured_loss(const PostMortem& record);
double downtime(const PostMortem& record);  // seconds since it was noticed
std::vector<JudgedPoint> judge(const PostMortem& record);
// It runs, at the target, whole. A target that was missed is late or less, and archiving that fails is the
// next thing to mend: recovered all the same.
bool recovered(const PostMortem& record);
// False only where it is known that its WAL is not kept.
bool archives(const PostMortem& record);
std::string_view headline(const PostMortem& record);  // "RECOVERED", "NOT RECOVERED", …

std::string post_mortem_markdown(const PostMortem& record, std::string_view evidence);
nlohmann::ordered_json post_mortem_json(const PostMortem& record, std::string_view evidence);

// As evidence of kind "recovery" (ready/report/rehearsals.h reads it back); the id. Errors: those of the
// repository: one that is read-only keeps none.
Result<std::string> write_recovery_evidence(const repo::LineageRepo& repo, const PostMortem& record);

}  // namespace lifeboat::ready
