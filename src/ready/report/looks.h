// How each item of the readiness report looks at its facts, and what several of them ask alike. Internal to
// this folder.
#pragma once

#include <string>
#include <string_view>

#include "ready/report/item.h"

namespace lifeboat::ready {

inline constexpr double kDaySeconds = 86'400;
inline constexpr double kMonthSeconds = 31 * kDaySeconds;
inline constexpr double kQuarterSeconds = 92 * kDaySeconds;

// --- asked alike. Each adds what it shows or what is missing.
void signal_is_watched(const ReportFacts& facts, ItemAnswer& answer, std::string_view id);
void runbook_is_written(const ReportFacts& facts, ItemAnswer& answer, std::string_view id);
// By the system identifier that the sheet names: two servers may have one cluster name.
bool is_of_another_server(const ReportFacts& facts, const WrittenRunbook& runbook);
// When drills began, and how late one may begin whose job waits for the others of its cluster.
inline constexpr double kDrillSlack = 6 * 3600;
std::vector<Timestamp> drilled(const ReportFacts& facts);
// A drill that passed within `most` seconds.
void drill_is_recent(const ReportFacts& facts, ItemAnswer& answer, double most);
// Something runs it, for a line of the configuration alone runs nothing: the daemon remembers a run, or one
// of `began` lies behind one of the job's times by at most `slack` seconds and its jitter. Servers' clocks
// may differ by a minute.
void runs_by_the_clock(const ReportFacts& facts, ItemAnswer& answer, const ScheduledJob& job,
                       const std::vector<Timestamp>& began, double slack);
void delivered_meets_targets(const ReportFacts& facts, ItemAnswer& answer);
// "--repo … --cluster …" of this cluster after "lifeboat VERB".
std::string our(const ReportFacts& facts, std::string_view words, std::string_view more = "");
// "KEY = VALUE in [cluster.NAME] of FILE"
std::string in_config(const ReportFacts& facts, std::string_view line, std::string_view section = "");
std::string age(const ReportFacts& facts, Timestamp time);

// --- quality checks (look_quality.cc)
void look_at_targets_stated(const ReportFacts& facts, ItemAnswer& answer);
void look_at_pitr_from_wal(const ReportFacts& facts, ItemAnswer& answer);
void look_at_targets_delivered(const ReportFacts& facts, ItemAnswer& answer);
void look_at_drill_automated(const ReportFacts& facts, ItemAnswer& answer);
void look_at_retention_stated(const ReportFacts& facts, ItemAnswer& answer);
void look_at_encryption(const ReportFacts& facts, ItemAnswer& answer);
void look_at_wraparound_watched(const ReportFacts& facts, ItemAnswer& answer);
void look_at_connections_watched(const ReportFacts& facts, ItemAnswer& answer);
void look_at_signals_owned(const ReportFacts& facts, ItemAnswer& answer);
void look_at_runbooks_cover(const ReportFacts& facts, ItemAnswer& answer);
void look_at_topology(const ReportFacts& facts, ItemAnswer& answer);

// --- production checklist (look_production.cc)
void look_at_daily_logical_backup(const ReportFacts& facts, ItemAnswer& answer);
void look_at_weekly_physical_backup(const ReportFacts& facts, ItemAnswer& answer);
void look_at_wal_archiving(const ReportFacts& facts, ItemAnswer& answer);
void look_at_offsite_copy(const ReportFacts& facts, ItemAnswer& answer);
void look_at_age_watched(const ReportFacts& facts, ItemAnswer& answer);
void look_at_monthly_restore_test(const ReportFacts& facts, ItemAnswer& answer);
void look_at_retention_set(const ReportFacts& facts, ItemAnswer& answer);
void look_at_recovery_runbook(const ReportFacts& facts, ItemAnswer& answer);
void look_at_targets_validated(const ReportFacts& facts, ItemAnswer& answer);

// --- definition of done (look_done.cc)
void look_at_strategy(const ReportFacts& facts, ItemAnswer& answer);
void look_at_automated_backups(const ReportFacts& facts, ItemAnswer& answer);
void look_at_encrypted(const ReportFacts& facts, ItemAnswer& answer);
void look_at_automatic_verification(const ReportFacts& facts, ItemAnswer& answer);
void look_at_replication_tested(const ReportFacts& facts, ItemAnswer& answer);
void look_at_pitr_validated(const ReportFacts& facts, ItemAnswer& answer);
void look_at_recovery_documented(const ReportFacts& facts, ItemAnswer& answer);
void look_at_monitoring(const ReportFacts& facts, ItemAnswer& answer);
void look_at_alerts(const ReportFacts& facts, ItemAnswer& answer);
void look_at_runbooks_reviewed(const ReportFacts& facts, ItemAnswer& answer);

}  // namespace lifeboat::ready
