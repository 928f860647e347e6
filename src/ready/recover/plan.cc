// Before acting: what failed, what will be lost, how it is done, how long it takes, what to tell people.
#include <algorithm>

#include "ops/restore/estimate.h"
#include "ready/recover/record.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

struct FailureName {
  Failure failure;
  std::string_view id;
  std::string_view says;
};
constexpr FailureName kFailures[] = {
    {Failure::primary_lost, "primary-lost", "the primary is lost"},
    {Failure::data_changed, "data-changed", "data was changed or dropped by mistake"},
    {Failure::corruption, "corruption", "files are damaged"},
    {Failure::region_lost, "region-lost", "the whole site is lost"},
};

std::string_view sentence(Failure failure) {
  for (const FailureName& one : kFailures)
    if (one.failure == failure) return one.says;
  return "?";
}

std::string time_or(Timestamp time, std::string_view otherwise) {
  return time.valid() ? time.to_string() : std::string(otherwise);
}

}  // namespace

std::string_view to_string(Failure failure) {
  for (const FailureName& one : kFailures)
    if (one.failure == failure) return one.id;
  return "?";
}

std::optional<Failure> parse_failure(std::string_view text) {
  for (const FailureName& one : kFailures)
    if (one.id == text) return one.failure;
  return std::nullopt;
}

std::string warning_of(const Assessment& assessment) {
  const bool lost = assessment.failure == Failure::primary_lost || assessment.failure == Failure::region_lost;
  if (!lost || !assessment.primary_answers) return "";
  return "the primary answers and takes writes: it is not lost. A second server beside it splits the data in "
         "two (split brain), and what clients write to the old one from now on is not in the new one. Stop "
         "it "
         "and make sure that it stays stopped, or look again at what has failed";
}

ExpectedLoss expected_loss(const Assessment& assessment, const ops::RestorePlan& plan) {
  ExpectedLoss loss;
  const bool aims = plan.asked.kind != pg::TargetKind::latest;
  const bool lost = assessment.failure == Failure::primary_lost || assessment.failure == Failure::region_lost;
  // Of what is lost nobody leaves anything out on purpose: a moment is chosen because no more is to be had.
  loss.chosen = aims && !lost;
  const Timestamp reached = plan.reach.last_commit;
  if (loss.chosen) {
    if (reached.valid() && assessment.last_known_commit.valid())
      loss.seconds = std::max(0.0, assessment.last_known_commit.seconds_since(reached));
    loss.says = cat("everything after ", plan.asked.to_string(), " is left out on purpose");
    if (plan.reach.next_commit.valid())
      loss.says += cat("; the first commit of it is of ", plan.reach.next_commit.to_string());
    loss.says += plan.replace && plan.existing_data && !plan.delta
                     ? "; the state before is kept aside and can be queried"
                     : "; stored WAL still has it";
    return loss;
  }
  if (plan.own_wal_to.valid() && !aims) {
    loss.seconds = 0;
    loss.whole = true;
    loss.says =
        "nothing that was committed, as far as the old directory's own WAL shows, which is stored first and "
        "replayed";
    return loss;
  }
  loss.says = cat("what was committed after ", time_or(reached, "the end of stored WAL"),
                  aims ? cat(": recovery to ", plan.asked.to_string(), " was asked for")
                  : plan.existing_data
                      ? ": that the old directory's own WAL is all there, and the lost server's, is not shown"
                      : ": the lost server's own WAL is not at hand");
  if (reached.valid() && assessment.noticed.valid()) {
    loss.seconds = std::max(0.0, assessment.noticed.seconds_since(reached));
    loss.says += cat(", at most ", format_seconds(*loss.seconds), " of work");
  }
  return loss;
}

void estimate_from(const Rates& rates, ops::RestorePlan& plan) {
  ops::TimeEstimate& estimate = plan.estimate;
  const bool open = !estimate.copy_seconds || (!estimate.replay_seconds && plan.reach.wal_bytes > 0);
  if (!open || rates.basis != RateBasis::drills) return;
  const auto& replay = rates.replay_bytes_per_second;
  if (replay)
    estimate.replay_seconds = static_cast<double>(plan.reach.wal_bytes) / *replay;
  else if (plan.reach.wal_bytes < ops::kLeastReplayed)
    estimate.replay_seconds = rates.fixed_seconds;
  if (rates.restore_bytes_per_second)
    estimate.copy_seconds = static_cast<double>(plan.bytes) / *rates.restore_bytes_per_second;
  const std::string of = cat("rates of ", counted(rates.samples + rates.instant_samples, "drill"),
                             ", the newest of ", rates.newest.to_string());
  estimate.basis = rates.restore_bytes_per_second ? of : cat(estimate.basis, "; the replay: ", of);
}

RecoverPlan make_recover_plan(Assessment assessment, ops::RollbackPlan steps) {
  RecoverPlan plan;
  plan.loss = expected_loss(assessment, steps.restore);
  plan.in_place = steps.restore.replace;
  const ops::TimeEstimate& estimate = steps.restore.estimate;
  // The copy alone is no answer where the replay was never measured.
  if (estimate.copy_seconds && (estimate.replay_seconds || steps.restore.reach.wal_bytes == 0))
    plan.downtime_seconds = *estimate.copy_seconds + estimate.replay_seconds.value_or(0);
  plan.assessment = std::move(assessment);
  plan.steps = std::move(steps);
  return plan;
}

namespace {

// What people know it by: a chosen time, which the last commit before it may be hours away from; else the
// time of what is left out, or of what comes back.
std::string moment_of(const RecoverPlan& plan) {
  const ops::RestorePlan& restore = plan.steps.restore;
  // What is stored of its WAL is behind what its directory has.
  if (plan.loss.whole) return "the end of what it had written";
  if (plan.loss.chosen && restore.asked.kind == pg::TargetKind::time) return restore.asked.time.to_string();
  if (plan.loss.chosen && restore.reach.next_commit.valid())
    return cat("just before ", restore.reach.next_commit.to_string());
  return time_or(restore.reach.last_commit,
                 plan.loss.chosen ? "the chosen moment" : "the last stored moment");
}

}  // namespace

namespace {

std::string not_known(const ops::TimeEstimate& estimate) {
  if (!estimate.copy_seconds) return cat("not known: ", estimate.basis);
  return cat("not known: the copy takes about ", format_seconds(*estimate.copy_seconds),
             ", and how fast WAL is replayed was never measured (", estimate.basis, ")");
}

}  // namespace

std::string stakeholder_text(const RecoverPlan& plan) {
  const Assessment& what = plan.assessment;
  std::string text = cat("Database cluster ", what.cluster, ": ", sentence(what.failure), " (noticed ",
                         time_or(what.noticed, "at an unknown time"), "). ");
  const std::string moment = moment_of(plan);
  text += plan.in_place ? cat("We bring it back to ", moment, ". It is not available meanwhile")
                        : cat("We make a copy of its state of ", moment, " beside it",
                              what.primary_answers ? "; it stays available" : "");
  text += plan.downtime_seconds
              ? cat("; we expect that to take ", format_seconds(*plan.downtime_seconds), ". ")
              : std::string("; how long that takes is not known. ");
  return text + cat("Data: ", plan.loss.says, ". Next message when it is done, or when this changes.");
}

std::string render_recover_plan(const RecoverPlan& plan) {
  const Assessment& what = plan.assessment;
  const ops::RestorePlan& restore = plan.steps.restore;
  std::string text = cat("what failed      ", sentence(what.failure), ", noticed ",
                         time_or(what.noticed, "at an unknown time"), "\n");
  for (const std::string& fact : what.found) text += cat("                 ", fact, "\n");
  if (const std::string warning = warning_of(what); !warning.empty())
    text += cat("WARNING          ", warning, "\n");
  text += cat("expected loss    ", plan.loss.says, "\n");
  text += cat("method           ", plan.in_place ? "in place of " : "beside it, in ",
              restore.placements.front().final_path, ", backup ", restore.backup.id.text, ", to ",
              restore.asked.to_string(), "\n");
  text += cat("downtime         ",
              !plan.in_place ? std::string(what.primary_answers ? "none: the cluster goes on"
                                                                : "of a copy beside it there is none; the "
                                                                  "cluster itself does not answer")
              : plan.downtime_seconds
                  ? cat("about ", format_seconds(*plan.downtime_seconds), " (", restore.estimate.basis, ")")
                  : not_known(restore.estimate),
              "\n\n");
  return text + cat(ops::render_rollback(plan.steps), "\nto tell people:\n\n", stakeholder_text(plan), "\n");
}

}  // namespace lifeboat::ready
