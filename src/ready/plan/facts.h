// What is there now and what was measured (P7): the server, the repository, other tools, and rates. Gathered
// once by inspect.h, or read back from backup_facts.json; make_plan() is pure over it.
//
// What is not known is absent. Sizes in bytes, rates in bytes per second, durations in seconds.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/timestamp.h"
#include "pg/client/facts.h"
#include "util/result.h"

namespace lifeboat::ready {

inline constexpr std::string_view kFactsSchema = "lifeboat/backup_facts/1";

struct KnownDatabase {
  std::string name;
  double bytes = 0;
};
struct KnownStandby {
  std::string name;
  std::string sync_state;  // async, sync, quorum, potential
  bool receiver = false;   // stores WAL and replays nothing
};

using pg::Connection;

struct ServerState {
  int version_num = 0;
  std::optional<double> size_bytes;
  std::vector<KnownDatabase> databases;
  std::optional<double> wal_bytes_per_day;
  std::string wal_how;
  bool wal_weak = false;  // extrapolated from less than a day (wal_rate.h)
  std::optional<double> growth_bytes_per_day;
  std::string growth_how;
  bool in_recovery = false;
  bool data_checksums = false;
  std::map<std::string, std::string> settings;  // as pg_settings has them
  std::vector<KnownStandby> standbys;
  uint64_t archived = 0;  // pg_stat_archiver
  uint64_t archive_failures = 0;
  Timestamp last_archived;
  std::optional<double> archive_seconds;  // from a finished segment to its being stored
  Connection connection = Connection::unknown;
};

struct RepositoryState {
  std::string url;
  std::string problem;  // why it could not be read; the rest is then absent
  bool encrypted = false;
  uint64_t key_slots = 0;
  bool on_data_device = false;
  uint64_t backups = 0;  // complete ones
  Timestamp newest_backup;
  Timestamp newest_verified;
  Timestamp drill_passed;
  std::optional<double> backup_seconds;               // of the newest
  std::optional<double> stored_ratio;                 // stored to plain, of a full backup
  std::optional<double> stored_change_bytes_per_day;  // that backups after the first added
  std::optional<double> stored_wal_bytes_per_day;
};

// Another tool that backs this server up, as its own commands and files tell.
struct ToolState {
  std::string name;
  std::string cluster;  // stanza, server
  std::string configuration;
  std::string schedule;
  std::string destination;
  Timestamp last_backup;
  std::string last_result;  // "ok", or what it says
  std::string last_verified_restore;
  std::string retention;
  std::string encryption;
  std::string second_copy;
  std::vector<std::string> notes;
};

enum class RateBasis : uint8_t { none, calibration, drills };
std::string_view to_string(RateBasis basis);

// Absent: not measured. The error is relative: 0.3 means that the truth lies within 30 % of the time.
struct Rates {
  RateBasis basis = RateBasis::none;
  std::optional<double> restore_bytes_per_second;  // plain bytes, to durable files
  std::optional<double> replay_bytes_per_second;   // of WAL
  bool replay_calibrated = false;                  // by a calibration: drills replayed too little to tell
  double fixed_seconds = 0;                        // preflight, configuration, start, promotion, first query
  double checks_seconds = 0;                       // that come before users are let in again
  double relative_error = 0;
  double fixed_error_seconds = 0;  // on top of it: by how much fixed_seconds and instant_seconds differ
  uint64_t samples = 0;
  std::vector<std::string> evidence;      // ids of drills
  Timestamp newest;                       // of them; where backups were drilled, of those
  Timestamp dump_newest;                  // of drills of whole dumps
  std::optional<double> instant_seconds;  // to the first query on a mount, without the replay
  std::optional<double> instant_replay_bytes_per_second;
  uint64_t instant_samples = 0;
  std::optional<double> dump_bytes_per_second;  // of the database, by pg_dump
  std::optional<double> dump_restore_bytes_per_second;
};

struct PlanFacts {
  Timestamp time;  // when all this was read
  Timestamp now;   // when the plan is made; unset: the same. Not in the file
  std::string cluster = "main";
  std::optional<ServerState> server;
  std::string server_problem;  // why there is none; empty: nobody asked
  std::optional<RepositoryState> repository;
  std::vector<ToolState> tools;
  Rates rates;
  std::vector<std::string> jobs;  // of the configuration: "backup: 15 1 * * *: backup"
};

// Errors: config.
Result<PlanFacts> parse_facts(std::string_view text, const std::string& path);
std::string facts_json(const PlanFacts& facts);

}  // namespace lifeboat::ready
