// What has been proven of each backup, from the repository's evidence records.
//
// An evidence record is one JSON document, written by `verify` and `drill`:
//   {"format": 1, "kind": "verify" | "drill", "time_us": …, "host": "…", "tool_version": "…",
//    "backups": [{"id": "20261120T105625Z-4f2a9c", "level": "hashed", "passed": true, "problems": ["…"]}],
//    "rto_seconds": …, "rpo_seconds": …,         drills, where measured
//    "lost_moments": [{"after_us": …, "until_us": …, "segment": "…"}],     verifications that read all WAL
//    …}                                          whatever else the writer wants to keep
// The newest record that names a backup decides for its kind: damage found later takes the verdict back. Only
// a pass that covers less than what is known leaves it as it is. A drill that missed its RTO or RPO target
// has still proven the backup: targets are judged by the gate and by the drill's own exit code, not here.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/names.h"
#include "model/timestamp.h"
#include "repo/repository.h"

namespace lifeboat::ops {

// What a check of a backup covered; each includes those before it (V1).
enum class ProofLevel : uint8_t {
  none,
  present,   // everything it refers to is there
  hashed,    // every byte was read and matches its seal and hash
  wal,       // and the WAL from its start to its stop is stored, whole and continuous
  restored,  // it was restored and recovered
  asserted,  // and the restored server passed its checks
};
std::string_view to_string(ProofLevel level);
std::optional<ProofLevel> parse_proof_level(std::string_view text);

struct BackupProof {
  ProofLevel level = ProofLevel::none;
  bool passed = false;
  Timestamp time;
  std::string evidence;               // id of the record
  std::vector<std::string> problems;  // of a failed one
  // A drill in which only answers to the operator's own SQL were not what they expect: it came back.
  bool by_questions = false;
  std::optional<double> rto_seconds;  // drills
  std::optional<double> rpo_seconds;
  std::optional<double> rto_target_seconds;  // that the drill was given
  std::optional<double> rpo_target_seconds;
};

struct BackupProofs {
  std::optional<BackupProof> verified;  // what records of kind verify say
  std::optional<BackupProof> drilled;   // what records of kind drill say
  // Passed at least at level `wal` and not contradicted since; what verify found, only verify clears. What is
  // not verified is never called good.
  bool good() const;
};

// Moments between two backups that no recovery reaches, as the newest verification of all WAL found them.
struct ProvenLoss {
  Timestamp after;      // the last commit before them that can be reached
  Timestamp until;      // the end of the backup from which recovery goes again
  std::string segment;  // in the way
};

struct Proofs {
  std::map<BackupId, BackupProofs> backups;
  std::vector<ProvenLoss> lost;
  std::vector<Timestamp> verify_times;  // of all records of kind verify, by time
  std::vector<std::string> unreadable;  // evidence ids that could not be read, with the reason
  const BackupProofs* of(const BackupId& id) const;
  std::set<BackupId> verified() const;  // those that are good(); what expiry honours
};
// The failed verification, else the failed drill of a backup; null: none.
const BackupProof* failed_proof(const BackupProofs& proofs);
// Of a failed one, for people; never empty.
std::string first_problem(const BackupProof& failed);
// The first problem of a verification that failed, or of a drill after which no verification passed;
// nullopt: nothing is known against the backup. A drill that failed by the operator's own questions counts:
// somebody has to look.
std::optional<std::string> known_damage(const Proofs& proofs, const BackupId& backup);
Result<Proofs> read_proofs(const repo::LineageRepo& repo);

// The document for `backups`, ready for repo::write_evidence. `more` is JSON text of an object whose members
// are added.
struct ProofRecord {
  std::string kind;  // "verify" or "drill"
  Timestamp time;
  struct Item {
    BackupId id;
    ProofLevel level = ProofLevel::none;
    bool passed = false;
    std::vector<std::string> problems;
    bool by_questions = false;
  };
  std::vector<Item> backups;
  std::optional<std::vector<ProvenLoss>> lost;  // of a verification of all WAL
  std::optional<double> rto_seconds;
  std::optional<double> rpo_seconds;
  std::string more;  // "{}" or empty: nothing
};
std::string encode_proof(const ProofRecord& record);

}  // namespace lifeboat::ops
