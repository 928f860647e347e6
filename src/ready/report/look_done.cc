// The definition of done.
#include <algorithm>

#include "ready/report/looks.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {
constexpr double kHalfYear = 183 * kDaySeconds;
constexpr double kReadAtLeastSeconds = 3600;
constexpr double kHourSeconds = 3600;
}  // namespace

void look_at_strategy(const ReportFacts& facts, ItemAnswer& answer) {
  look_at_targets_stated(facts, answer);
  const repo::Card* newest = facts.newest_backup();
  if (newest == nullptr) return answer.lacks("there is no complete physical backup", our(facts, "backup"));
  answer.shows("physical backups and continuous WAL", {cat("backup/", newest->id.text)});
}

void look_at_automated_backups(const ReportFacts& facts, ItemAnswer& answer) {
  const ScheduledJob* job = facts.job("backup");
  if (job == nullptr)
    return answer.lacks("no backup is scheduled", in_config(facts, "backup = \"15 1 * * *\"", "schedule"));
  if (job->longest_gap_seconds > 7 * kDaySeconds)
    return answer.lacks(cat("backup is scheduled at \"", job->when, "\", more than a week apart"),
                        in_config(facts, "backup = \"15 1 * * *\"", "schedule"));
  if (job->failures > 0)
    return answer.lacks(cat("the scheduled backup failed ", counted(job->failures, "time"), " in a row"),
                        our(facts, "list", "--all"));
  answer.shows(cat("backup at \"", job->when, "\" (UTC)"), {cat("schedule/", job->name)});
  const repo::Card* newest = facts.newest_backup();
  if (newest == nullptr) return answer.lacks("there is no complete backup yet", our(facts, "backup"));
  std::vector<Timestamp> began;
  for (const repo::Card& card : facts.doctor().repository.backups) began.push_back(card.started);
  runs_by_the_clock(facts, answer, *job, began, std::min(kHourSeconds, job->longest_gap_seconds / 4));
}

void look_at_encrypted(const ReportFacts& facts, ItemAnswer& answer) {
  const ops::RepositoryFacts& repository = facts.doctor().repository;
  if (!repository.marker)
    return answer.lacks(cat("the repository was not opened",
                            repository.problem ? cat(": ", repository.problem->to_string()) : std::string()),
                        our(facts, "doctor"));
  if (!repository.marker->encrypted)
    return answer.lacks("the repository is not encrypted",
                        "lifeboat init with --key-file in a new repository: one that is there cannot be "
                        "encrypted afterwards");
  const repo::Card* newest = facts.newest_backup();
  if (newest == nullptr) return answer.lacks("there is no encrypted backup yet", our(facts, "backup"));
  if (!newest->encrypted)
    return answer.lacks(cat("backup ", newest->id.text, " is not encrypted"), our(facts, "backup"));
  answer.shows(cat("backup ", newest->id.text, " is sealed with AES-256-GCM, key ", newest->key_id),
               {cat("backup/", newest->id.text)});
}

namespace {

// The newest verification, when it found a backup broken.
const ops::BackupProof* newest_found_broken(const ops::Proofs& proofs, std::string& backup) {
  const ops::BackupProof* newest = nullptr;
  for (const auto& [id, words] : proofs.backups) {
    if (!words.verified || (newest != nullptr && words.verified->time < newest->time)) continue;
    const bool same_run = newest != nullptr && words.verified->time == newest->time;
    if (same_run && words.verified->passed) continue;
    newest = &*words.verified;
    backup = id.text;
  }
  return newest == nullptr || newest->passed ? nullptr : newest;
}

// A record at or after one of the job's times. It is of the end of a run, and reading a large repository
// takes a day.
std::optional<std::string> verified_by_the_clock(const ReportFacts& facts, const ScheduledJob& job) {
  constexpr double kClocksDiffer = 60;
  const double within = job.longest_gap_seconds / 2 + job.jitter_seconds + kClocksDiffer;
  const std::vector<Timestamp>& times = facts.doctor().repository.proofs.verify_times;
  if (job.started.valid()) {
    const Timestamp from = job.due.empty() ? job.started : job.due.front();
    if (times.empty() || times.back() < from) return std::nullopt;
    return cat("the daemon began verify at ", job.started.to_string(), ", and the newest on record is of ",
               times.back().to_string());
  }
  for (const Timestamp& time : times) {
    for (const Timestamp& due : job.due) {
      const double late = time.seconds_since(due);
      if (late >= -kClocksDiffer && late <= within)
        return cat("a verification of ", time.to_string(), " is on record, behind its time, ",
                   due.to_string());
    }
  }
  return std::nullopt;
}

void verify_runs(const ReportFacts& facts, ItemAnswer& answer, const ScheduledJob& job) {
  const std::string fix =
      cat(our(facts, "serve", "--status"), "   # or lifeboat schedule systemd, lifeboat schedule cron");
  if (job.failures > 0)
    return answer.lacks(cat("the scheduled verify failed ", counted(job.failures, "time"), " in a row"),
                        our(facts, "verify"));
  if (job.known_to_daemon && !job.started.valid())
    return answer.lacks(cat("the daemon knows job ", job.name, " and has never begun it"), fix);
  if (auto says = verified_by_the_clock(facts, job)) return answer.shows(*says, {cat("schedule/", job.name)});
  answer.lacks(job.started.valid()
                   ? cat("the daemon began verify at ", job.started.to_string(),
                         ", and no verification is on record since")
                   : cat("that something runs the schedule is not shown: no verification is on record at one "
                         "of its times (\"",
                         job.when, "\" UTC) within two intervals"),
               fix);
}

}  // namespace

void look_at_automatic_verification(const ReportFacts& facts, ItemAnswer& answer) {
  const ScheduledJob* job = facts.job("verify");
  if (job == nullptr) job = facts.job("drill");
  if (job == nullptr) {
    answer.lacks("neither verify nor drill is scheduled",
                 in_config(facts, "verify = \"0 4 * * 0\"", "schedule"));
  } else {
    answer.shows(cat(job->verb, " at \"", job->when, "\" (UTC)"), {cat("schedule/", job->name)});
    if (job->verb == "verify")
      verify_runs(facts, answer, *job);
    else
      runs_by_the_clock(facts, answer, *job, drilled(facts),
                        std::min(kDrillSlack, job->longest_gap_seconds / 4));
  }
  const ops::RepositoryFacts& repository = facts.doctor().repository;
  std::string broken;
  if (const ops::BackupProof* failed = newest_found_broken(repository.proofs, broken))
    answer.lacks(cat("the newest verification, of ", failed->time.to_string(), ", found backup ", broken,
                     " broken: ", ops::first_problem(*failed)),
                 our(facts, "backup", "--type full"));
  if (!repository.newest_verified) return answer.lacks("no backup was ever verified", our(facts, "verify"));
  const ops::BackupProofs* proofs = repository.proofs.of(*repository.newest_verified);
  if (proofs == nullptr) return answer.lacks("no backup was ever verified", our(facts, "verify"));
  const auto& proof = proofs->verified && proofs->verified->passed ? proofs->verified : proofs->drilled;
  if (!proof) return answer.lacks("no backup was ever verified", our(facts, "verify"));
  if (facts.now().seconds_since(proof->time) > kMonthSeconds)
    return answer.lacks(cat("the newest verified backup was verified ", age(facts, proof->time), " ago"),
                        our(facts, "verify"));
  answer.shows(
      cat("backup ", repository.newest_verified->text, " verified to level ", to_string(proof->level)),
      {cat("evidence/", proof->evidence)});
}

void look_at_replication_tested(const ReportFacts& facts, ItemAnswer& answer) {
  const Reading* lag = facts.reading("replication_lag");
  if (lag == nullptr)
    return answer.lacks("signal replication_lag is turned off",
                        in_config(facts, "enabled = true", "signals.replication_lag"));
  if (lag->verdict == Verdict::unknown)
    return answer.lacks(cat("replication cannot be looked at: ", lag->found), lag->action);
  if (lag->policy.standbys == 0 && lag->parts.empty())
    return answer.does_not_apply("no standby is meant to be there, and none is");
  if (!lag->policy.standbys)
    return answer.lacks("how many standbys there are meant to be is not stated",
                        in_config(facts, "standbys = 1   # or 0", "signals.replication_lag"));
  if (rank_of(lag->verdict) != Rank::fine)
    return answer.lacks(cat("replication is not well: ", lag->found), lag->action);
  // That bytes stream is seen; that a failover works is for who owns it to rehearse, and to say so.
  const std::string fix = in_config(facts, "failover-rehearsed = \"DATE by WHOM\"");
  const auto& failover = facts.settings.failover;
  if (!failover) return answer.lacks("no rehearsal of a failover is stated", fix);
  if (facts.now().seconds_since(failover->time) > kQuarterSeconds)
    return answer.lacks(
        cat("the failover was rehearsed ", age(facts, failover->time), " ago, every quarter is asked for"),
        fix);
  answer.shows(cat("replication is well, the failover was rehearsed ", failover->says),
               {"config/failover-rehearsed", "signal/replication_lag"});
}

void look_at_pitr_validated(const ReportFacts& facts, ItemAnswer& answer) {
  const Rehearsal* newest = newest_passed(facts.rehearsals, true);
  const std::string fix = our(facts, "drill", "--random-target");
  if (newest == nullptr) return answer.lacks("no recovery to a moment was ever rehearsed", fix);
  if (facts.now().seconds_since(newest->time) > kQuarterSeconds)
    return answer.lacks(
        cat("the newest recovery to a moment was rehearsed ", age(facts, newest->time), " ago"), fix);
  answer.shows(cat("recovered to ", newest->target, ", ", age(facts, newest->time), " ago"),
               {cat("evidence/", newest->id)});
}

void look_at_recovery_documented(const ReportFacts& facts, ItemAnswer& answer) {
  for (std::string_view id : {"primary-loss", "data-changed", "region-lost"})
    runbook_is_written(facts, answer, id);
}

void look_at_monitoring(const ReportFacts& facts, ItemAnswer& answer) {
  if (facts.settings.metrics_endpoint.empty() && facts.settings.receivers.empty()) {
    answer.lacks(
        "nothing reads the signals at an interval",
        cat("metrics = \"127.0.0.1:9187\" in [serve], or an [alert.NAME] section of ",
            facts.settings.config_path.empty() ? "/etc/lifeboat/lifeboat.toml" : facts.settings.config_path));
  } else if (!facts.settings.metrics_problem.empty()) {
    answer.lacks(cat("metrics are offered at ", facts.settings.metrics_endpoint, ", and ",
                     facts.settings.metrics_problem),
                 "start the daemon: lifeboat serve");
  } else if (!facts.settings.metrics_endpoint.empty()) {
    answer.shows(cat("metrics at ", facts.settings.metrics_endpoint), {"config/serve.metrics"});
  } else {
    answer.shows("signals are read for alerts", {cat("alert/", facts.settings.receivers.front().name)});
  }
  const Timestamp before = facts.settings.signals_read;
  if (!before.valid() || facts.now().seconds_since(before) > kReadAtLeastSeconds)
    answer.lacks(before.valid() ? cat("the signals were last watched ", age(facts, before), " ago")
                                : std::string("nothing watches the signals"),
                 "run lifeboat serve, or lifeboat alert check from cron");
  for (const Reading& reading : facts.report.readings) {
    if (reading.verdict == Verdict::unknown)
      answer.lacks(cat("signal ", reading.signal->id, " cannot be read: ", reading.found), reading.action);
  }
}

void look_at_alerts(const ReportFacts& facts, ItemAnswer& answer) {
  const auto& receivers = facts.settings.receivers;
  if (std::ranges::none_of(receivers, &AlertReceiver::tells))
    return answer.lacks(
        "nobody is told of alerts",
        cat("an [alert.NAME] section of ",
            facts.settings.config_path.empty() ? "/etc/lifeboat/lifeboat.toml" : facts.settings.config_path,
            "; lifeboat alert test shows that it arrives"));
  for (const AlertReceiver& receiver : receivers) {
    if (!receiver.tells) continue;
    if (!receiver.failing.empty()) {
      answer.lacks(cat("receiver ", receiver.name, " cannot be reached: ", receiver.failing),
                   our(facts, "alert test"));
    } else if (!receiver.delivered.valid()) {
      answer.lacks(cat("receiver ", receiver.name, " never took an alert"), our(facts, "alert test"));
    } else if (facts.now().seconds_since(receiver.delivered) > kQuarterSeconds) {
      answer.lacks(
          cat("receiver ", receiver.name, " last took an alert ", age(facts, receiver.delivered), " ago"),
          our(facts, "alert test"));
    } else {
      answer.shows(cat(receiver.name, " took an alert ", age(facts, receiver.delivered), " ago"),
                   {cat("alert/", receiver.name)});
    }
  }
}

void look_at_runbooks_reviewed(const ReportFacts& facts, ItemAnswer& answer) {
  if (facts.runbooks.empty())
    return answer.lacks(cat("no runbook is written in ", facts.settings.runbook_directory),
                        our(facts, "runbook", cat("--to ", shell_quote(facts.settings.runbook_directory))));
  const std::string fix = our(
      facts, "runbook", cat("--to ", shell_quote(facts.settings.runbook_directory), " --reviewed-by NAME"));
  for (const WrittenRunbook& runbook : facts.runbooks) {
    if (is_of_another_server(facts, runbook)) {
      answer.lacks(cat("runbook ", runbook.id, " is of another server"), fix);
    } else if (!runbook.reviewed.valid()) {
      answer.lacks(cat("runbook ", runbook.id, " was reviewed by nobody"), fix);
    } else if (facts.now().seconds_since(runbook.reviewed) > kHalfYear) {
      answer.lacks(cat("runbook ", runbook.id, " was reviewed ", age(facts, runbook.reviewed), " ago"), fix);
    } else {
      answer.shows(cat(runbook.id, " by ", runbook.reviewer, " on ", runbook.reviewed.to_string()),
                   {cat("runbook/", runbook.id)});
    }
  }
}

}  // namespace lifeboat::ready
