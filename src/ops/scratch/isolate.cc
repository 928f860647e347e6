#include "ops/scratch/isolate.h"

#include <algorithm>

#include "ops/restore/libraries.h"
#include "ops/restore/replay_check.h"
#include "ops/restore/start.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kSharedBuffers = 256 << 20;

// T32: recovery and the promoted copy need these at least as high as the source had them. Recorded as plain
// numbers.
constexpr const char* kMinimums[] = {"max_connections", "max_worker_processes", "max_wal_senders",
                                     "max_prepared_transactions", "max_locks_per_transaction"};

// A page that replay pushes out is written through the mount and read from there again: what WAL changes
// stays in memory, as far as that goes.
uint64_t shared_buffers(const IsolationInput& input) {
  const uint64_t wanted = kSharedBuffers + kBuffersForWal * input.replayed;
  return std::min(wanted, std::max<uint64_t>(input.memory / kBuffersShare, 16 << 20));
}

}  // namespace

RecoveryMinimums granted_minimums(const IsolationInput& input) {
  RecoveryMinimums granted = input.minimums;
  for (const char* name : kMinimums) {
    if (auto recorded = parse_i64(recorded_setting(*input.manifest, name)))
      raise(granted, {{name, static_cast<int32_t>(*recorded)}});
  }
  return granted;
}

std::vector<std::string> preload_libraries(const repo::Manifest& manifest) {
  return library_names(recorded_setting(manifest, "shared_preload_libraries"));
}

bool runs_jobs(const std::string& library) {
  static const std::vector<std::string_view> names = {
      "pg_cron",        "pg_partman_bgw",  "timescaledb",     "pglogical",         "bdr",
      "pgactive",       "spock",           "citus",           "pg_squeeze",        "pgautofailover",
      "powa",           "pg_net",          "pg_background",   "supautils",         "pgagent",
      "bgw_replstatus", "repmgr",          "pg_task",         "pg_failover_slots", "pg_later",
      "vectorize",      "pg_scheduler",    "pgpro_scheduler", "dbms_job",          "pg_duckdb",
      "pg_tle",         "pgauditlogtofile"};
  std::string_view base = library;
  base.remove_prefix(base.rfind('/') + 1);  // of none: npos + 1
  if (base.ends_with(".so")) base.remove_suffix(3);
  if (base.starts_with("timescaledb-")) return true;  // of one version
  return std::ranges::find(names, base) != names.end();
}

Settings session_settings(int version_num) {
  Settings settings = {{"default_transaction_read_only", "off"},
                       {"statement_timeout", "0"},
                       {"lock_timeout", "0"},
                       {"idle_in_transaction_session_timeout", "0"},
                       // Damage is to be seen.
                       {"zero_damaged_pages", "off"},
                       {"ignore_checksum_failure", "off"},
                       // T33: these may be stored for a database or role as well.
                       {"session_preload_libraries", ""},
                       {"local_preload_libraries", ""}};
  if (version_num >= 140000) settings.emplace_back("idle_session_timeout", "0");
  if (version_num >= 170000) settings.emplace_back("transaction_timeout", "0");
  return settings;
}

Settings isolation_settings(const IsolationInput& input) {
  Settings settings = {
      // Nobody reaches it but through its own socket, and it reaches nobody (T33).
      {"listen_addresses", ""},
      {"hba_file", input.hba_file},
      {"ident_file", input.ident_file},
      {"archive_mode", "off"},
      {"archive_command", ""},
      {"primary_conninfo", ""},
      {"primary_slot_name", ""},
      {"synchronous_standby_names", ""},
      {"max_logical_replication_workers", "0"},
      {"shared_preload_libraries", join(input.libraries, ", ")},
      {"session_preload_libraries", ""},
      {"local_preload_libraries", ""},
      {"external_pid_file", ""},
      {"cluster_name", "lifeboat drill"},
      // It fits this host (T44).
      {"ssl", "off"},
      {"huge_pages", "off"},
      {"shared_buffers", cat(shared_buffers(input) >> 10, "kB")},
      {"default_transaction_read_only", "off"},
      {"logging_collector", "off"},
      {"update_process_title", "on"},  // which tells what is replayed
      {"wal_recycle", "off"},          // names of later segments are given by whoever puts them there
      {"log_destination", "stderr"},
      {"autovacuum", "off"},
      {"autovacuum_freeze_max_age", "2000000000"},  // which it is not off for
      // Parameters below the source's do not stop a recovery that answers no queries before its end.
      {"hot_standby", "off"},
      {"restart_after_crash", "off"},
  };
  if (input.manifest->card.server_version_num >= 150000) {
    settings.emplace_back("archive_library", "");
    settings.emplace_back("wal_decode_buffer_size", "512kB");  // it says which segment is replayed
  }
  for (const auto& [name, value] : granted_minimums(input)) settings.emplace_back(name, cat(value));
  return settings;
}

}  // namespace lifeboat::ops
