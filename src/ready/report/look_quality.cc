// The eleven quality checks.
#include <algorithm>
#include <set>

#include "ops/catalogue/damage.h"
#include "ops/doctor/archived.h"
#include "ready/report/looks.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

// Transaction ids begin to be refused 3 million before 2^31 (PostgreSQL 14 and later; src/backend/access/
// transam/varsup.c), and the failsafe vacuum begins at vacuum_failsafe_age, 1.6 billion by default.
constexpr double kLatestCritical = 1.6e9;

void early_enough(const ReportFacts& facts, ItemAnswer& answer, std::string_view id) {
  const Reading* reading = facts.reading(id);
  if (reading == nullptr) return;  // said by signal_is_watched()
  const auto& critical = reading->policy.thresholds.critical;
  if (!critical || *critical > kLatestCritical)
    answer.lacks(cat("signal ", id, " is critical only at ",
                     critical ? format_value(*critical, reading->signal->unit) : std::string("no value")),
                 in_config(facts, "critical = 1000000000", cat("signals.", id)));
}

// A passphrase beside the one that a file on this host holds.
bool is_carried(const ops::RepositoryFacts& repository) {
  const auto passphrases = std::ranges::count_if(
      repository.key_slots, [](const repo::SlotInfo& slot) { return slot.kind == "passphrase"; });
  return passphrases > (repository.key.kind == repo::KeySourceKind::passphrase_file ? 1 : 0);
}

// A passphrase slot can be carried in a head or a safe; a key file beside the database cannot.
void key_is_elsewhere(const ReportFacts& facts, ItemAnswer& answer) {
  const ops::RepositoryFacts& repository = facts.doctor().repository;
  std::vector<std::string> slots;
  for (const repo::SlotInfo& slot : repository.key_slots) slots.push_back(cat("key-slot/", slot.slot));
  const std::string fix =
      our(facts, "key add", "--new-passphrase-file FILE   # and keep the passphrase away from this host");
  if (slots.size() < 2)
    return answer.lacks("one key alone opens the repository: it is lost with whoever holds it", fix);
  if (!is_carried(repository) && facts.settings.key_escrow.empty())
    return answer.lacks(
        "nothing shows that a key is kept away from this host: there is no passphrase but what a "
        "file here holds",
        cat(fix, "; or say where one is: ", in_config(facts, "key-escrow = \"WHERE\"")));
  if (!facts.settings.key_escrow.empty())
    answer.shows(cat("a key is kept at: ", facts.settings.key_escrow), {"config/key-escrow"});
  answer.shows(cat(slots.size(), " keys open the repository"), slots);
  const std::string& key = repository.key.path;
  if (facts.doctor().data && !key.empty() && key.starts_with(cat(facts.doctor().data->path, "/")))
    answer.lacks(cat(key, " lies in the data directory"),
                 "move it, and name the new place in the configuration");
}

void transit_is_safe(const ReportFacts& facts, ItemAnswer& answer) {
  const std::string& url = facts.doctor().repository.url;
  if (facts.place.distance == Distance::other_host && facts.doctor().repository.directory.empty() &&
      url.starts_with("http://"))
    answer.lacks(cat(url, " is reached without TLS"), "an https:// URL");
  const auto& server = facts.doctor().server;
  if (server && server->connection == pg::Connection::plain)
    return answer.lacks("backups read the server over a network without TLS",
                        "sslmode=verify-full in the connection string, and ssl = on on the server");
  if (server && server->connection == pg::Connection::unknown)
    return answer.lacks("how the server is reached is not known", our(facts, "doctor"));
  if (server)
    answer.shows(cat("the server is reached by ", to_string(server->connection)), {"doctor/server"});
}

}  // namespace

void look_at_targets_stated(const ReportFacts& facts, ItemAnswer& answer) {
  const ReportSettings& settings = facts.settings;
  if (settings.rpo && settings.rto) {
    answer.shows(cat("RPO ", format_seconds(*settings.rpo.value), " (", settings.rpo.source, "), RTO ",
                     format_seconds(*settings.rto.value), " (", settings.rto.source, ")"),
                 {"config/rpo", "config/rto"});
    return;
  }
  if (settings.decision_record_exists) {
    answer.shows(cat("a decision record is open: ", settings.decision_record), {"config/decision-record"});
    return;
  }
  if (!settings.rpo) answer.lacks("no RPO is stated", in_config(facts, "rpo = \"5min\""));
  if (!settings.rto) answer.lacks("no RTO is stated", in_config(facts, "rto = \"15min\""));
}

namespace {

// Moments that were promised, by time, or, where no window is stated, that nobody meant to give up.
bool was_promised(const ReportFacts& facts, const ops::LostMoments& lost) {
  const auto& days = facts.settings.retention.pitr_days;
  return days ? facts.now().seconds_since(lost.until) < *days * kDaySeconds : !lost.expired;
}

void window_is_whole(const ReportFacts& facts, ItemAnswer& answer) {
  if (!facts.lost_moments)
    return answer.lacks("whether every moment of the window can be reached was not looked at",
                        our(facts, "wal status"));
  for (const ops::LostMoments& lost : *facts.lost_moments) {
    if (!was_promised(facts, lost)) continue;
    answer.lacks(cat("no moment between ", lost.after.to_string(), " and ", lost.until.to_string(),
                     " can be recovered: WAL is missing from ", lost.first.to_string()),
                 our(facts, "wal status"));
  }
}

// What doctor warns of then lies before the newest backup: window_is_whole() judges that.
bool is_whole_since_then(const ReportFacts& facts) {
  const auto& wal = facts.doctor().repository.continuity;
  return wal && !wal->missing && !wal->conflict && !wal->left_behind &&
         !ops::known_losses(facts.doctor().repository).empty();
}

}  // namespace

void look_at_pitr_from_wal(const ReportFacts& facts, ItemAnswer& answer) {
  const repo::Card* newest = facts.newest_backup();
  if (newest == nullptr) {
    answer.lacks("there is no complete physical backup", our(facts, "backup"));
  } else if (auto damage = ops::found_damaged(facts.doctor().repository.proofs, newest->id)) {
    answer.lacks(cat("physical backup ", newest->id.text, " is damaged: ", *damage),
                 our(facts, "backup", "--type full"));
  } else {
    answer.shows(cat("physical backup ", newest->id.text, ", ", age(facts, newest->stopped), " old"),
                 {cat("backup/", newest->id.text)});
  }
  const ops::Finding* continuity = facts.finding("wal_continuity");
  const Reading* gaps = facts.reading("wal_gaps");
  if (continuity != nullptr && continuity->severity == ops::Severity::ok && gaps != nullptr &&
      rank_of(gaps->verdict) == Rank::critical) {
    answer.lacks(cat("WAL is not whole: ", gaps->found), gaps->action);
  } else if (continuity != nullptr &&
             (continuity->severity == ops::Severity::ok || is_whole_since_then(facts))) {
    answer.shows(cat("WAL since then: ", continuity->found), {"doctor/wal_continuity"});
  } else {
    answer.lacks(continuity == nullptr ? "continuity of WAL was not looked at"
                                       : cat("WAL is not proven continuous: ", continuity->found),
                 our(facts, "wal status"));
  }
  window_is_whole(facts, answer);
  look_at_wal_archiving(facts, answer);
}

void look_at_targets_delivered(const ReportFacts& facts, ItemAnswer& answer) {
  delivered_meets_targets(facts, answer);
}

void look_at_drill_automated(const ReportFacts& facts, ItemAnswer& answer) {
  const ScheduledJob* job = facts.job("drill");
  if (job == nullptr) {
    answer.lacks("no drill is scheduled",
                 in_config(facts, "drill = [\"0 5 * * 0\", \"--target\", \"latest\"]", "schedule"));
  } else if (job->longest_gap_seconds > kMonthSeconds) {
    answer.lacks(cat("drill is scheduled at \"", job->when, "\", more than a month apart"),
                 in_config(facts, "drill = [\"0 5 * * 0\"]", "schedule"));
  } else {
    answer.shows(cat("drill at \"", job->when, "\" (UTC)"), {cat("schedule/", job->name)});
    runs_by_the_clock(facts, answer, *job, drilled(facts),
                      std::min(kDrillSlack, job->longest_gap_seconds / 4));
  }
  drill_is_recent(facts, answer, kMonthSeconds);
  if (!facts.rehearsals.empty() && facts.rehearsals.front().passed && !facts.rehearsals.front().rto_seconds)
    answer.lacks("the newest drill measured no RTO", our(facts, "drill"));
}

namespace {

// An option of the command wins over what the configuration states. "": none of them keeps less.
std::string keeps_less(std::string_view command, const ReportSettings& settings) {
  const std::vector<std::string_view> words = split(command, ' ');
  for (size_t i = 0; i < words.size(); ++i) {
    const size_t equals = std::min(words[i].find('='), words[i].size());
    const std::string_view option = words[i].substr(0, equals);
    const auto& days = option == "--pitr-days"        ? settings.retention.pitr_days
                       : option == "--keep-days"      ? settings.retention.keep_days
                       : option == "--dump-keep-days" ? settings.dump_retention.keep_days
                                                      : std::optional<double>();
    if (!days) continue;
    const bool apart = equals == words[i].size();
    if (apart && i + 1 == words.size()) continue;
    const std::string_view value = apart ? words[i + 1] : words[i].substr(equals + 1);
    if (auto own = parse_u64(value); own && static_cast<double>(*own) < *days) return cat(option, " ", value);
  }
  return "";
}

}  // namespace

void look_at_retention_stated(const ReportFacts& facts, ItemAnswer& answer) {
  const ReportSettings& settings = facts.settings;
  const repo::RetentionPolicy& policy = settings.retention;
  if (!policy.pitr_days) {
    answer.lacks("no recovery window is stated", in_config(facts, "pitr-days = 30"));
  } else {
    answer.shows(cat("recovery to any moment of the last ", static_cast<int64_t>(*policy.pitr_days), " days"),
                 {"config/pitr-days"});
  }
  for (const ScheduledJob& job : settings.jobs) {
    const std::string less = job.verb == "expire" ? keeps_less(job.command, settings) : "";
    if (!less.empty())
      answer.lacks(cat("job ", job.name, " has ", less, ", which wins over the retention that is stated"),
                   cat("take ", less, " out of ", in_config(facts, job.name, "schedule")));
  }
  const ScheduledJob* expire = facts.job("expire");
  if (settings.legal_hold) {
    answer.shows("legal hold: nothing expires", {"config/legal-hold"});
  } else if (expire == nullptr) {
    answer.lacks("nothing expires what is over: expire is not scheduled",
                 in_config(facts, "expire = \"45 1 * * *\"", "schedule"));
  } else {
    answer.shows(cat("expire at \"", expire->when, "\" (UTC)"), {cat("schedule/", expire->name)});
  }
  if (!settings.compliance_days)
    return answer.lacks("no compliance minimum is stated",
                        in_config(facts, "compliance-days = 0   # or the days that a rule asks for"));
  const double least = *settings.compliance_days.value;
  if (least == 0) {
    answer.shows("no rule asks for a minimum", {"config/compliance-days"});
    return;
  }
  const double kept = std::max(policy.keep_days.value_or(0), policy.pitr_days.value_or(0));
  if (kept < least)
    return answer.lacks(cat("backups are kept ", static_cast<int64_t>(kept),
                            " days, the compliance minimum is ", static_cast<int64_t>(least)),
                        in_config(facts, cat("keep-days = ", static_cast<int64_t>(least))));
  answer.shows(cat("kept ", static_cast<int64_t>(kept), " days, the compliance minimum is ",
                   static_cast<int64_t>(least)),
               {"config/compliance-days"});
}

void look_at_encryption(const ReportFacts& facts, ItemAnswer& answer) {
  look_at_encrypted(facts, answer);
  if (facts.doctor().repository.marker && facts.doctor().repository.marker->encrypted)
    key_is_elsewhere(facts, answer);
  transit_is_safe(facts, answer);
}

void look_at_wraparound_watched(const ReportFacts& facts, ItemAnswer& answer) {
  for (std::string_view id : {"xid_wraparound", "multixact_wraparound"}) {
    signal_is_watched(facts, answer, id);
    early_enough(facts, answer, id);
  }
  runbook_is_written(facts, answer, "wraparound");
}

void look_at_connections_watched(const ReportFacts& facts, ItemAnswer& answer) {
  signal_is_watched(facts, answer, "connections");
  runbook_is_written(facts, answer, "connections");
}

void look_at_signals_owned(const ReportFacts& facts, ItemAnswer& answer) {
  std::vector<std::string> good;
  for (const Reading& reading : facts.report.readings) {
    const std::string id(reading.signal->id);
    const Thresholds& limits = reading.policy.thresholds;
    if (reading.policy.owner.empty()) {
      answer.lacks(cat("signal ", id, " has no owner"), in_config(facts, "owner = \"…\""));
    } else if (!limits.warning && !limits.critical) {
      answer.lacks(cat("signal ", id, " has no threshold"),
                   in_config(facts, "critical = …", cat("signals.", id)));
    } else if (!reading.signal->action.empty()) {
      good.push_back(cat("signal/", id));
    }
  }
  // What is turned off is watched by nobody.
  for (const SignalInfo& signal : signals()) {
    if (facts.reading(signal.id) == nullptr)
      answer.lacks(cat("signal ", signal.id, " is turned off"),
                   in_config(facts, "enabled = true", cat("signals.", signal.id)));
  }
  if (!good.empty())
    answer.shows(cat(counted(good.size(), "signal"), " with threshold, action and owner"), good);
}

void look_at_runbooks_cover(const ReportFacts& facts, ItemAnswer& answer) {
  for (std::string_view id :
       {"primary-loss", "archive-failure", "backup-failure", "wraparound", "bloat", "storage", "connections"})
    runbook_is_written(facts, answer, id);
}

void look_at_topology(const ReportFacts& facts, ItemAnswer& answer) {
  if (facts.doctor().patroni) {
    answer.shows("Patroni owns topology and failover; nothing here changes them", {"doctor/server"});
    return;
  }
  const Reading* lag = facts.reading("replication_lag");
  const std::string line = in_config(facts, "standbys = 1   # or 0", "signals.replication_lag");
  if (lag == nullptr) return answer.lacks("signal replication_lag is turned off", line);
  if (!lag->policy.standbys)
    return answer.lacks("how many standbys there are meant to be is not stated", line);
  if (lag->verdict == Verdict::unknown)
    return answer.lacks(cat("replication cannot be looked at: ", lag->found), lag->action);
  if (*lag->policy.standbys == 0 && lag->parts.empty())
    return answer.does_not_apply("no standby is meant to be there, and none is");
  if (rank_of(lag->verdict) == Rank::critical)
    return answer.lacks(cat("replication is not well: ", lag->found), lag->action);
  answer.shows(cat("standbys stated: ", *lag->policy.standbys,
                   " stated; failover is owned by whoever owns the cluster, nothing here changes it"),
               {"signal/replication_lag", "config/signals.replication_lag.standbys"});
}

}  // namespace lifeboat::ready
