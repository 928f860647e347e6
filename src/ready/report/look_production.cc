// The production checklist.
#include <algorithm>

#include "ready/report/looks.h"
#include "ready/report/standing.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {
constexpr double kDailySlack = 26 * 3'600;
constexpr double kWeek = 7 * kDaySeconds;
constexpr double kLeastWindowDays = 30;
constexpr double kLeastDumpDays = 90;
}  // namespace

// Databases of the server that no sound dump of a day has whole; none where it was not asked for them.
std::vector<std::string> not_dumped(const ReportFacts& facts) {
  std::vector<std::string> left;
  if (!facts.signals.server.ages) return left;
  for (const DatabaseAge& database : facts.signals.server.ages->databases) {
    const std::string& name = database.name;
    if (name == "postgres" || name == "template0" || name == "template1") continue;
    const bool dumped = std::ranges::any_of(facts.dumps, [&](const LogicalBackup& one) {
      return one.whole && one.failure.empty() && facts.now().seconds_since(one.time) <= kDailySlack &&
             std::ranges::find(one.databases, name) != one.databases.end();
    });
    if (!dumped) left.push_back(name);
  }
  return left;
}

void look_at_daily_logical_backup(const ReportFacts& facts, ItemAnswer& answer) {
  if (facts.dumps.empty())
    return answer.lacks("there is no logical backup",
                        cat(our(facts, "dump create"), "   # or, where physical backups are enough: ",
                            in_config(facts, "not-applicable = [\"daily_logical_backup: REASON\"]")));
  const LogicalBackup* whole = newest_whole(facts.dumps);
  if (whole == nullptr)
    return answer.lacks("every logical backup is of some tables, or of the schema alone",
                        our(facts, "dump create"));
  const LogicalBackup& newest = *whole;
  if (!newest.failure.empty())
    return answer.lacks(
        cat("the newest logical backup, ", newest.id, ", failed its last check: ", newest.failure),
        our(facts, "dump create"));
  if (facts.now().seconds_since(newest.time) > kDailySlack)
    return answer.lacks(cat("the newest logical backup of whole databases, ", newest.id, ", is ",
                            age(facts, newest.time), " old"),
                        our(facts, "dump create"));
  if (const std::vector<std::string> left = not_dumped(facts); !left.empty())
    return answer.lacks(cat("in no logical backup of the last day: ", join(left, ", ")),
                        our(facts, "dump create"));
  answer.shows(cat("dump ", newest.id, ", ", age(facts, newest.time), " old"), {cat("backup/", newest.id)});
}

void look_at_weekly_physical_backup(const ReportFacts& facts, ItemAnswer& answer) {
  const repo::Card* newest = facts.newest_backup();
  if (newest == nullptr) return answer.lacks("there is no complete backup", our(facts, "backup"));
  if (facts.now().seconds_since(newest->stopped) > kWeek)
    return answer.lacks(
        cat("the newest backup, ", newest->id.text, ", is ", age(facts, newest->stopped), " old"),
        our(facts, "backup"));
  if (auto problem = ops::known_damage(facts.doctor().repository.proofs, newest->id))
    return answer.lacks(cat("the newest backup, ", newest->id.text, ", failed its last check: ", *problem),
                        our(facts, "backup", "--type full"));
  answer.shows(cat("backup ", newest->id.text, ", ", age(facts, newest->stopped), " old"),
               {cat("backup/", newest->id.text)});
}

void look_at_wal_archiving(const ReportFacts& facts, ItemAnswer& answer) {
  const Reading* off = facts.reading("archive_off");
  if (off == nullptr || off->verdict == Verdict::unknown) {
    answer.lacks(cat("whether WAL is archived is not known", off == nullptr ? "" : cat(": ", off->found)),
                 our(facts, "doctor"));
  } else if (off->verdict == Verdict::not_applicable) {
    answer.shows(cat("WAL: ", off->found), {"signal/archive_off"});
  } else if (rank_of(off->verdict) != Rank::fine) {
    answer.lacks(cat("WAL is not archived: ", off->found), our(facts, "doctor"));
  } else {
    answer.shows(cat("archiving: ", off->found), {"signal/archive_off"});
  }
  const Reading* gaps = facts.reading("wal_gaps");
  if (gaps != nullptr && rank_of(gaps->verdict) == Rank::critical)
    answer.lacks(cat("stored WAL is not whole: ", gaps->found), gaps->action);
  const Reading* lag = facts.reading("wal_archive_lag");
  if (lag == nullptr || lag->verdict == Verdict::unknown) {
    answer.lacks(
        cat("how far the repository is behind is not known", lag == nullptr ? "" : cat(": ", lag->found)),
        our(facts, "wal status"));
  } else if (rank_of(lag->verdict) != Rank::fine) {
    answer.lacks(cat("WAL arrives late: ", lag->found), our(facts, "doctor"));
  } else {
    answer.shows(cat("lag: ", lag->found), {"signal/wal_archive_lag"});
  }
}

void look_at_offsite_copy(const ReportFacts& facts, ItemAnswer& answer) {
  const std::string& url = facts.doctor().repository.url;
  if (facts.doctor().repository.problem)
    return answer.lacks(
        cat("the repository was not opened: ", facts.doctor().repository.problem->to_string()),
        our(facts, "doctor"));
  const std::string fix = "a repository on another host or in an object store";
  switch (facts.place.distance) {
    case Distance::other_host:
      answer.shows(cat(url, ": ", facts.place.says), {"config/repo"});
      return;
    case Distance::same_file_system:
      return answer.lacks(cat(url, " is on the disk of the database: ", facts.place.says), fix);
    case Distance::same_host:
      return answer.lacks(cat(url, " is on the database's host: ", facts.place.says), fix);
    case Distance::unknown:
      return answer.lacks(cat("where ", url, " is, is not known: ", facts.place.says), fix);
  }
}

void look_at_age_watched(const ReportFacts& facts, ItemAnswer& answer) {
  constexpr double kLatestWarning = 26 * 3'600;
  signal_is_watched(facts, answer, "backup_age");
  const Reading* reading = facts.reading("backup_age");
  if (reading == nullptr) return;
  const auto& warning = reading->policy.thresholds.warning;
  if (!warning || *warning > kLatestWarning)
    answer.lacks("backup_age warns later than after 26 h",
                 in_config(facts, "warning = \"26h\"", "signals.backup_age"));
  if (rank_of(reading->verdict) == Rank::critical)
    answer.lacks(cat("the newest backup is too old: ", reading->found), our(facts, "backup"));
}

void look_at_monthly_restore_test(const ReportFacts& facts, ItemAnswer& answer) {
  drill_is_recent(facts, answer, kMonthSeconds);
}

void look_at_retention_set(const ReportFacts& facts, ItemAnswer& answer) {
  const repo::RetentionPolicy& policy = facts.settings.retention;
  const double window = policy.pitr_days.value_or(0);
  if (window < kLeastWindowDays) {
    answer.lacks(cat("WAL is kept for ",
                     policy.pitr_days ? cat(static_cast<int64_t>(window), " days") : "no stated time",
                     ", 30 days are asked for"),
                 in_config(facts, "pitr-days = 30"));
  } else {
    answer.shows(cat("WAL for ", static_cast<int64_t>(window), " days"), {"config/pitr-days"});
  }
  if (facts.dumps.empty()) return;
  const repo::RetentionPolicy& dumps = facts.settings.dump_retention;
  const std::optional<double>& kept = dumps.keep_days;
  if (dumps.empty()) {
    answer.shows("dumps do not expire", {cat("backup/", facts.dumps.back().id)});
  } else if (!kept) {
    answer.lacks(
        cat("only the newest ", *dumps.keep_count, " dumps are kept, those of 90 days are asked for"),
        in_config(facts, "dump-keep-days = 90"));
  } else if (*kept < kLeastDumpDays) {
    answer.lacks(cat("dumps are kept ", static_cast<int64_t>(*kept), " days, 90 are asked for"),
                 in_config(facts, "dump-keep-days = 90"));
  } else {
    answer.shows(cat("dumps for ", static_cast<int64_t>(*kept), " days"), {"config/dump-keep-days"});
  }
}

void look_at_recovery_runbook(const ReportFacts& facts, ItemAnswer& answer) {
  runbook_is_written(facts, answer, "primary-loss");
}

void look_at_targets_validated(const ReportFacts& facts, ItemAnswer& answer) {
  delivered_meets_targets(facts, answer);
  drill_is_recent(facts, answer, kMonthSeconds);
}

}  // namespace lifeboat::ready
