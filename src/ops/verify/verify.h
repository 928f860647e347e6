// `lifeboat verify`: reads what is stored, checks that WAL is whole and continuous, records the verdict as
// evidence. No sampling: every byte of every object, unless a backup is named.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/catalogue/proof.h"
#include "ops/session.h"
#include "ops/wal/status.h"
#include "repo/verify.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct VerifyRequest {
  std::optional<std::string> cluster;  // absent: every cluster
  // An id, also of a dump, or "latest", a physical one: this and its WAL only; needs a cluster.
  std::optional<std::string> backup;
  ProofLevel level = ProofLevel::wal;  // present, hashed or wal
  int workers = 1;
  std::string host;
  std::string tool_version;
  Timestamp now;  // zero: the store's clock
  Reporter* reporter = nullptr;
  StopToken* stop = nullptr;
};

struct VerifiedBackup {
  std::string cluster;
  Lineage lineage;
  BackupId id;
  bool dump = false;            // a logical one: no WAL belongs to it
  bool marked_damaged = false;  // its card says that pages were broken at backup time
  ProofLevel level = ProofLevel::none;
  bool passed = false;
  bool inconclusive = false;  // something could not be read, which may be an outage: no evidence is written
  std::vector<std::string> problems;
};

// WAL of one lineage from its newest complete backup to the end of what is stored.
struct WalWindow {
  std::string cluster;
  Lineage lineage;
  std::optional<BackupId> from;
  Timeline timeline;
  Lsn begin;
  Lsn end;  // continuous to here
  std::vector<std::string>
      problems;  // holes, conflicts, broken records: what lies behind them is out of reach
  // Before that backup: what nobody can mend any more, and what retention did not leave. No problem of the
  // verification's verdict; status and doctor tell it until the backups before it are gone. nullopt: damaged
  // WAL, which `problems` has, hides it.
  std::optional<std::vector<LostMoments>> lost;
};

struct VerifySummary {
  repo::VerifyReport report;
  std::vector<VerifiedBackup> backups;
  std::vector<WalWindow> windows;
  std::vector<std::string> evidence;      // ids written
  std::optional<Error> evidence_problem;  // a read-only repository keeps none
  double seconds = 0;
  bool ok() const;
};

// Errors: those of the store when it could not go on, cancelled, not_found. Damage is a value.
Result<VerifySummary> verify(const repo::Repository& repository, const VerifyRequest& request);

// --- gates (V2): yes-or-no questions for pipelines, answered from evidence alone; nothing is read
// -----------
enum class Gate : uint8_t { backup_verified, recovery_tested, rpo_rto_met };
std::string_view to_string(Gate gate);
std::optional<Gate> parse_gate(std::string_view text);

struct GateLimits {
  double max_age_seconds = 0;  // of the proof; 0: no limit
  double rpo_seconds = 5 * 60;
  double rto_seconds = 15 * 60;
};
struct GateVerdict {
  Gate gate = Gate::backup_verified;
  bool passed = false;
  std::string reason;  // what decided
  std::optional<BackupId> backup;
  std::optional<BackupProof> proof;
};
Result<GateVerdict> judge_gate(const repo::Repository& repository, const std::string& cluster, Gate gate,
                               const GateLimits& limits, Timestamp now);

}  // namespace lifeboat::ops
