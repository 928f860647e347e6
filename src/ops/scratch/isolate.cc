#include "ops/scratch/isolate.h"

#include <algorithm>

#include "ops/restore/start.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kMostSharedBuffers = 256 << 20;

// T32: recovery and the promoted copy need these at least as high as the source had them. Recorded as plain
// numbers.
constexpr const char* kMinimums[] = {"max_connections", "max_worker_processes", "max_wal_senders",
                                     "max_prepared_transactions", "max_locks_per_transaction"};

}  // namespace

std::vector<std::string> preload_libraries(const repo::Manifest& manifest) {
  std::vector<std::string> libraries;
  std::string value = recorded_setting(manifest, "shared_preload_libraries");
  for (std::string_view part : split(value, ',')) {
    part = trim(part);
    if (part.size() >= 2 && part.front() == '"' && part.back() == '"') part = part.substr(1, part.size() - 2);
    if (!part.empty()) libraries.emplace_back(part);
  }
  return libraries;
}

bool runs_jobs(const std::string& library) {
  static const std::vector<std::string> names = {
      "pg_cron",    "pg_partman_bgw", "timescaledb", "pglogical", "bdr",           "spock",     "citus",
      "pg_squeeze", "pgautofailover", "powa",        "pg_net",    "pg_background", "supautils", "pgagent"};
  std::string base = library.substr(library.rfind('/') == std::string::npos ? 0 : library.rfind('/') + 1);
  return std::find(names.begin(), names.end(), base) != names.end();
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
      {"shared_buffers",
       cat(std::min(kMostSharedBuffers, std::max<uint64_t>(input.memory / 8, 16 << 20)) >> 10, "kB")},
      {"default_transaction_read_only", "off"},
      {"logging_collector", "off"},
      {"log_destination", "stderr"},
      {"autovacuum", "off"},
      // Parameters below the source's do not stop a recovery that answers no queries before its end.
      {"hot_standby", "off"},
      {"restart_after_crash", "off"},
  };
  if (input.manifest->card.server_version_num >= 150000) settings.emplace_back("archive_library", "");
  for (const char* name : kMinimums) {
    std::string value = recorded_setting(*input.manifest, name);
    if (!value.empty()) settings.emplace_back(name, value);
  }
  return settings;
}

}  // namespace lifeboat::ops
