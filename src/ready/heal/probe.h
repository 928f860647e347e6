// What healing has to know and signals do not read: processes of the archiver, the daemon, the receiver's
// slot, a standby and its primary, the spool of fetched WAL, checksum failures. Cheap, and changes nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/heal/process.h"
#include "ops/heal/standby.h"
#include "ops/wal/prefetcher.h"
#include "ready/signals/facts.h"

namespace lifeboat::ready {

// The daemon at its local socket, as the caller found it.
enum class DaemonState : uint8_t { absent, answers, silent };
struct DaemonProbe {
  DaemonState state = DaemonState::absent;
  std::string socket;
  std::optional<ops::ProcessFacts> process;  // that listens; of a silent one
  // Its wal receive of this cluster: "running", "waiting", or empty where it has none.
  std::string receiver;
  double receiver_seconds = 0;  // that it has been so
  std::string receiver_error;   // of its last end
};

// A slot that has to be there, because a receiver of ours is configured.
struct WantedSlot {
  std::string name;
  std::string because;  // "[cluster.main.serve] receive"
};

struct SpoolFacts {
  std::string directory;
  std::optional<ops::DiskFacts> disk;
  std::vector<ops::AbandonedSpool> abandoned;
  uint64_t bytes() const;
};

struct HealProbe {
  std::vector<ops::ProcessFacts> archiver_commands;
  DaemonProbe daemon;
  std::optional<WantedSlot> wanted_slot;
  double slot_idle_seconds = 0;  // that nobody was seen connected to it, while a receiver of it runs
  std::vector<SpoolFacts> spools;
  std::optional<ops::StandbyFacts> standby;  // where the server is one
  std::string standby_problem;               // why it could not be looked at
  std::string service;                       // of ours that this process belongs to (systemd); "": none
  bool gap_in_pg_wal = false;                // the segment that is missing in the repository lies in pg_wal
};

struct ProbeRequest {
  ops::RepoLocation where;
  std::string conninfo;
  std::string primary;              // of a standby; "": as it has it
  std::vector<std::string> spools;  // directories
  DaemonProbe daemon;               // found by the caller
  std::optional<WantedSlot> wanted_slot;
  int64_t stuck_us = 0;  // HealPolicy::stuck_us: a receiver that runs for that long may be stuck
  const StopToken* stop = nullptr;
};

// How long an idle slot is watched for a receiver that runs to come back to it, at most.
inline constexpr int64_t kLongestWatchUs = 60'000'000;

// Errors: cancelled. What cannot be had is absent.
Result<HealProbe> probe_heal(const ProbeRequest& request, const SignalFacts& facts);

}  // namespace lifeboat::ready
