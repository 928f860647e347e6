// What was rehearsed, from the repository's evidence: drills with what they measured, and recoveries that
// were real. Newest first. proof.h says what a record looks like and which of them prove a backup; here is
// what they say of time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/timestamp.h"
#include "ops/session.h"
#include "repo/repository.h"
#include "util/result.h"

namespace lifeboat::ready {

enum class RehearsalKind : uint8_t { drill, recovery };
std::string_view to_string(RehearsalKind kind);

struct Rehearsal {
  std::string id;  // of the record
  RehearsalKind kind = RehearsalKind::drill;
  Timestamp time;
  bool passed = false;
  std::vector<std::string> problems;  // of one that failed
  std::string backup;
  std::string target;          // "time 2026-11-20 10:56:25+00", "latest"
  bool point_in_time = false;  // recovered to a moment, not to the end of WAL
  Timestamp last_commit;       // that it recovered; unset: not recorded
  std::string medium;          // "copy", "mount"; "" when it was not recorded
  std::string host;
  std::optional<double> rto_seconds;
  std::optional<double> rpo_seconds;
  std::optional<double> rto_target_seconds;  // that the drill was given
  std::optional<double> rpo_target_seconds;
  std::string rpo_how;
  double plain_bytes = 0;                              // of the backup
  double wal_bytes = 0;                                // that were replayed
  std::vector<std::pair<std::string, double>> phases;  // seconds
};

// The newest `most` drills and recoveries, or of one kind. A record that cannot be read is left out:
// read_proofs() says so.
Result<std::vector<Rehearsal>> read_rehearsals(const repo::LineageRepo& repo, size_t most = 50,
                                               std::optional<RehearsalKind> only = std::nullopt);

// What the newest verification that read all WAL since the newest backup found in its content.
struct WalVerdict {
  Timestamp time;
  std::vector<std::string> problems;
};
// nullopt: there was none, or what it left cannot be read.
std::optional<WalVerdict> read_wal_verdict(const repo::LineageRepo& repo);
std::optional<WalVerdict> parse_wal_verdict(std::string_view text);

// Of `lineage`, else of the newest one of the cluster; none where the repository cannot be read.
std::vector<Rehearsal> rehearsals_of(const ops::RepoLocation& where, std::optional<Lineage> lineage);

// nullopt for evidence of something else, and for what is no such record.
std::optional<Rehearsal> parse_rehearsal(std::string_view id, std::string_view text);

// The newest that passed, or null; with `point_in_time` only those that recovered to a moment.
const Rehearsal* newest_passed(const std::vector<Rehearsal>& rehearsals, bool point_in_time = false);

}  // namespace lifeboat::ready
