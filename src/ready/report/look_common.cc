// What several items ask alike.
#include <algorithm>
#include <cstdio>

#include "ops/catalogue/damage.h"
#include "ready/report/looks.h"
#include "ready/report/standing.h"
#include "util/strings.h"

namespace lifeboat::ready {

std::string our(const ReportFacts& facts, std::string_view words, std::string_view more) {
  return ops::our_command(facts.doctor(), words, more);
}

std::string in_config(const ReportFacts& facts, std::string_view line, std::string_view section) {
  const std::string& path = facts.settings.config_path;
  return cat(line, " in [cluster.", facts.signals.cluster, section.empty() ? "" : ".", section, "] of ",
             path.empty() ? "/etc/lifeboat/lifeboat.toml" : path);
}

std::string age(const ReportFacts& facts, Timestamp time) {
  return format_seconds(std::max(0.0, facts.now().seconds_since(time)));
}

void signal_is_watched(const ReportFacts& facts, ItemAnswer& answer, std::string_view id) {
  const Reading* reading = facts.reading(id);
  if (reading == nullptr)
    return answer.lacks(cat("signal ", id, " is turned off"),
                        in_config(facts, "enabled = true", cat("signals.", id)));
  if (reading->verdict == Verdict::unknown)
    return answer.lacks(cat("signal ", id, " cannot be read: ", reading->found), reading->action);
  if (reading->policy.owner.empty())
    return answer.lacks(cat("signal ", id, " has no owner"), in_config(facts, "owner = \"…\""));
  const Thresholds& limits = reading->policy.thresholds;
  auto limit = [&](const std::optional<double>& value) {
    return value ? format_value(*value, reading->signal->unit) : std::string("none");
  };
  answer.shows(
      cat(id, " is ", reading->value ? format_value(*reading->value, reading->signal->unit) : "not counted",
          ", warning at ", limit(limits.warning), ", critical at ", limit(limits.critical), ", owner ",
          reading->policy.owner),
      {cat("signal/", id)});
}

bool is_of_another_server(const ReportFacts& facts, const WrittenRunbook& runbook) {
  const auto ours = facts.doctor().lineage();
  return ours && !runbook.system_id.empty() && runbook.system_id != ours->system_id.to_string();
}

void runbook_is_written(const ReportFacts& facts, ItemAnswer& answer, std::string_view id) {
  const WrittenRunbook* runbook = find_runbook(facts.runbooks, id);
  if (runbook == nullptr)
    return answer.lacks(cat("runbook ", id, " is not written in ", facts.settings.runbook_directory),
                        our(facts, "runbook", cat("--to ", shell_quote(facts.settings.runbook_directory))));
  if (is_of_another_server(facts, *runbook))
    return answer.lacks(cat("runbook ", id, " in ", facts.settings.runbook_directory,
                            " is of another server, system identifier ", runbook->system_id),
                        our(facts, "runbook", "--to DIRECTORY   # of its own, with runbook-dir"));
  answer.shows(cat("runbook ", id, ", written ", runbook->written.to_string()), {cat("runbook/", id)});
}

void drill_is_recent(const ReportFacts& facts, ItemAnswer& answer, double most) {
  const std::string fix = our(facts, "drill");
  if (facts.rehearsals.empty()) return answer.lacks("no recovery was ever rehearsed", fix);
  const Rehearsal& newest = facts.rehearsals.front();
  if (!newest.passed)
    return answer.lacks(cat("the newest ", to_string(newest.kind), " (", newest.time.to_string(),
                            ") failed: ", join(newest.problems, "; ")),
                        fix);
  if (const Rehearsal* failed = standing_failure(facts.rehearsals))
    return answer.lacks(
        cat("the drill of ", failed->time.to_string(), " to ", failed->target,
            " failed, and none that reaches as far has passed since: ", join(failed->problems, "; ")),
        fix);
  // What came back then may be damaged by now.
  for (const auto& [id, proofs] : facts.doctor().repository.proofs.backups) {
    auto damage = ops::found_damaged(facts.doctor().repository.proofs, id);
    if (id.text == newest.backup && damage)
      return answer.lacks(cat("the newest ", to_string(newest.kind), " passed with backup ", newest.backup,
                              ", in which a check has found damage: ", *damage),
                          fix);
  }
  if (facts.now().seconds_since(newest.time) > most)
    return answer.lacks(cat("the newest ", to_string(newest.kind), " that passed is ",
                            age(facts, newest.time), " old, at most ", format_seconds(most), " are allowed"),
                        fix);
  answer.shows(
      cat(to_string(newest.kind), " of backup ", newest.backup, " passed ", age(facts, newest.time), " ago",
          newest.rto_seconds ? cat(", RTO ", format_seconds(*newest.rto_seconds)) : std::string(),
          newest.rpo_seconds ? cat(", RPO ", format_seconds(*newest.rpo_seconds)) : std::string()),
      {cat("evidence/", newest.id)});
}

std::vector<Timestamp> drilled(const ReportFacts& facts) {
  std::vector<Timestamp> times;
  for (const Rehearsal& one : facts.rehearsals) {
    if (one.kind != RehearsalKind::drill) continue;
    double took = 0;  // the record is of its end
    for (const auto& [name, seconds] : one.phases) took += seconds;
    times.push_back(one.time.plus_us(static_cast<int64_t>(-took * 1e6)));
  }
  return times;
}

void runs_by_the_clock(const ReportFacts& facts, ItemAnswer& answer, const ScheduledJob& job,
                       const std::vector<Timestamp>& began, double slack) {
  constexpr double kClocksDiffer = 60;
  const double within = slack + job.jitter_seconds + kClocksDiffer;
  if (job.started.valid() && facts.now().seconds_since(job.started) <= 2 * job.longest_gap_seconds + within)
    return answer.shows(cat("the daemon began ", job.verb, " at ", job.started.to_string()),
                        {cat("schedule/", job.name)});
  for (const Timestamp& time : began) {
    for (const Timestamp& due : job.due) {
      const double late = time.seconds_since(due);
      if (late < -kClocksDiffer || late > within) continue;
      return answer.shows(cat(job.verb, " ran at its time, ", due.to_string()), {cat("schedule/", job.name)});
    }
  }
  answer.lacks(
      cat("that something runs the schedule is not shown: no ", job.verb, " ran at one of its times (\"",
          job.when, "\" UTC) within two intervals"),
      cat(our(facts, "serve", "--status"), "   # or lifeboat schedule systemd, lifeboat schedule cron"));
}

namespace {

// A duration that reads otherwise than the target whenever it is another: "60.0004 s".
std::string told_apart(double value, double target) {
  const std::string text = format_seconds(value);
  if (value == target || text != format_seconds(target)) return text;
  std::string exact;
  for (int digits = 1; digits <= 6; ++digits) {
    char buffer[48];
    std::snprintf(buffer, sizeof buffer, "%.*f s", digits, value);
    exact = buffer;
    char other[48];
    std::snprintf(other, sizeof other, "%.*f s", digits, target);
    if (exact != other) break;
  }
  return exact;
}

void compare(const ReportFacts& facts, ItemAnswer& answer, std::string_view name, const Stated& target,
             const std::optional<double>& value, double error, const std::string& basis,
             const std::vector<std::string>& evidence, const std::string& fix) {
  if (!target)
    return answer.lacks(cat("no ", name, " is stated"),
                        in_config(facts, name == "RPO" ? "rpo = \"…\"" : "rto = \"…\""));
  if (!value) return answer.lacks(cat("delivered ", name, " is not known: ", basis), fix);
  const std::string says = cat("delivered ", name, " ", told_apart(*value, *target.value), " of ",
                               told_apart(*target.value, *value), " (", basis, ")");
  // At the target is over it: storing takes time too.
  if (*value == *target.value)
    return answer.lacks(cat(says, ": all of the target, which leaves nothing for what is not measured"), fix);
  if (*value > *target.value)
    return answer.lacks(cat(says, ": over the target by ", format_seconds(*value - *target.value)), fix);
  if (*value + error > *target.value)
    return answer.lacks(cat(says, ": with its error it reaches across the target"), fix);
  answer.shows(says, evidence);
}

}  // namespace

void delivered_meets_targets(const ReportFacts& facts, ItemAnswer& answer) {
  const DeliveredNow now = delivered(facts);
  compare(facts, answer, "RPO", facts.settings.rpo, now.rpo_seconds, 0, now.rpo_basis, now.evidence,
          "archive_timeout below the RPO, or lifeboat wal receive, which streams");
  compare(facts, answer, "RTO", facts.settings.rto, now.rto_seconds, now.rto_error_seconds, now.rto_basis,
          now.evidence, our(facts, "drill"));
  const Rehearsal* drill = newest_passed(facts.rehearsals);
  if (drill != nullptr && drill->rpo_seconds && facts.settings.rpo &&
      *drill->rpo_seconds > *facts.settings.rpo.value) {
    answer.lacks(cat("the newest drill measured a loss of ", format_seconds(*drill->rpo_seconds),
                     ", the RPO is ", format_seconds(*facts.settings.rpo.value)),
                 our(facts, "wal status"));
  }
}

}  // namespace lifeboat::ready
