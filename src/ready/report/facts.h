// Everything that the readiness report is judged from, gathered once: what signals and doctor read, evidence,
// and what the caller knows of the configuration. The items (item.h) are pure over it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/catalogue/stored.h"
#include "ops/wal/status.h"
#include "ready/plan/facts.h"
#include "ready/report/rehearsals.h"
#include "ready/runbook/shelf.h"
#include "ready/signals/facts.h"
#include "repo/retention.h"

namespace lifeboat::ready {

// A number that somebody decided, and where that stands: "rpo in [cluster.main] of /etc/…", "--rpo".
struct Stated {
  std::optional<double> value;
  std::string source;
  explicit operator bool() const { return value.has_value(); }
};

// A job that something runs by the clock: the daemon's schedule.
struct ScheduledJob {
  std::string name;
  std::string when;                // a cron expression, UTC
  std::string verb;                // "backup", "drill", "dump create"; "drill --dump" proves no backup
  std::string command;             // "backup --type incr"
  double longest_gap_seconds = 0;  // between two runs
  uint64_t failures = 0;           // in a row
  std::vector<Timestamp> due;      // its times within two such gaps up to now, oldest first
  double jitter_seconds = 0;       // that a run may be later than its time
  Timestamp started;               // the daemon's last run; unset: it remembers none
  bool known_to_daemon = false;    // it remembers the job, begun or not
};

// A logical backup.
struct LogicalBackup {
  std::string id;
  Timestamp time;
  bool whole = true;    // false: of some tables, or of the schema alone
  std::string failure;  // what its newest drill or verification found; "": nothing is known against it
  std::vector<std::string> databases = {};
};

// Who is told of alerts.
struct AlertReceiver {
  std::string name;
  std::string kind;
  bool tells = true;    // not only a sign of life
  Timestamp delivered;  // when it last took an alert; unset: never
  std::string failing;  // why it did not take the last one; "": it did
};

// An item that the operator says does not apply, with the reason.
struct Waiver {
  std::string item;
  std::string reason;
};

// A rehearsal that happened elsewhere and that somebody states: failover is owned by who owns the topology.
struct StatedRehearsal {
  Timestamp time;
  std::string says;  // as stated, "2026-03-10 by the platform team"
};

// What the repository's place costs.
struct StoragePrice {
  std::optional<double> per_gb_month;  // GB = 10^9 bytes
  std::string currency;
  std::string storage_class;  // as the provider calls it
};

// What the configuration and the command line say.
struct ReportSettings {
  std::string config_path;  // "" when there is none
  std::string owner;
  Stated rpo;  // seconds
  Stated rto;
  Stated compliance_days;       // 0: no rule asks for any
  std::string decision_record;  // file of an open decision about targets that are not met; ""
  bool decision_record_exists = false;
  repo::RetentionPolicy retention;
  repo::RetentionPolicy dump_retention;  // empty: dumps never expire
  StoragePrice price;
  bool legal_hold = false;  // nothing expires
  std::string key_escrow;   // where a key is kept away from this host, as stated; "": nowhere
  std::optional<StatedRehearsal> failover;
  std::vector<ScheduledJob> jobs;
  std::vector<AlertReceiver> receivers;
  std::string metrics_endpoint;  // "" : none
  Timestamp signals_read;        // by what watches them; unset: never
  // Of a configured metrics endpoint: why nobody is there to read from; "": somebody is, or it was not
  // looked.
  std::string metrics_problem;
  std::string runbook_directory;
  std::vector<Waiver> waivers;
};

// Where the repository's bytes are, as far as this host can tell.
enum class Distance : uint8_t { same_file_system, same_host, other_host, unknown };
struct RepositoryPlace {
  Distance distance = Distance::unknown;
  std::string says;  // "ext4 on /dev/sdb1, mounted at /srv"
};
// `scheme` and host of the URL decide; of a directory the kind of its file system (nfs, cifs …).
RepositoryPlace place_of(const ops::DoctorFacts& doctor);
// A type of file system, as /proc/self/mountinfo has it, whose bytes are on another host.
bool is_network_file_system(std::string_view type);

struct ReportFacts {
  SignalFacts signals;
  SignalReport report;
  ReportSettings settings;
  std::vector<Rehearsal> rehearsals;       // newest first
  Rates rates;                             // that drills measured
  std::vector<WrittenRunbook> runbooks;    // of settings.runbook_directory
  std::vector<LogicalBackup> dumps;        // complete ones, by time
  std::optional<ops::StoredBytes> stored;  // of the cluster, all of it; unset: could not be listed
  std::optional<std::vector<ops::LostMoments>> lost_moments;  // unset: could not be looked for
  RepositoryPlace place;
  std::string tool_version;

  Timestamp now() const { return signals.now; }
  const ops::DoctorFacts& doctor() const { return signals.doctor; }
  const Reading* reading(std::string_view id) const;       // null: not enabled
  const ops::Finding* finding(std::string_view id) const;  // of doctor
  const ScheduledJob* job(std::string_view verb) const;    // that runs most often with that verb
  const repo::Card* newest_backup() const;                 // complete; null: none
  bool streams_wal() const;                                // a receiver of ours is connected
};

// What is stored, and what that costs by the stated price (RT3).
struct StorageCost {
  std::optional<double> per_month;
  std::string currency;
  std::vector<std::string> says;  // how it was computed, or why it was not
};
StorageCost storage_cost(const ReportFacts& facts);

// What recovery would lose and take now, computed from what was measured (P4).
struct DeliveredNow {
  std::optional<double> rpo_seconds;
  std::string rpo_basis;  // or why there is none
  std::optional<double> rto_seconds;
  double rto_error_seconds = 0;  // that it may be longer
  std::string rto_basis;
  std::vector<std::string> evidence;  // that the numbers rest on
};
DeliveredNow delivered(const ReportFacts& facts);

}  // namespace lifeboat::ready
