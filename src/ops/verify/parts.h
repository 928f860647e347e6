// The parts of a verification. Internal to this folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ops/verify/verify.h"
#include "ops/wal/history.h"
#include "ops/wal/scan.h"
#include "repo/manifest.h"

namespace lifeboat::ops::verification {

// Member of the evidence of a verification that read all WAL: what lies between the newest backup and the end
// of what is stored.
inline constexpr const char* kLatestProblems = "latest_problems";

// Everything that one backup refers to exists: its tree's nodes are read, its frames looked up by size.
// Problems are added to `backup`; an Error means that the check could not go on.
Status check_presence(const repo::LineageRepo& repo, const repo::Card& card, VerifiedBackup& backup);

// Every byte that one backup restores is read and compared with its hash.
Status check_bytes(const repo::LineageRepo& repo, const repo::Card& card, const VerifyRequest& request,
                   VerifiedBackup& backup, repo::VerifyTotals& totals);

// The WAL of one lineage: loaded once, each segment read once.
class WalCheck {
 public:
  static Result<WalCheck> load(const ChosenLineage& lineage);
  // Reads every stored segment of every timeline.
  Status read_all(const VerifyRequest& request);
  // Reads those from the start to the stop of one backup.
  Status read_for(const repo::Card& card, const VerifyRequest& request);

  // Is the WAL from start to stop there and, as far as it was read, whole?
  Status judge_backup(const repo::Card& card, VerifiedBackup& backup) const;
  // From `newest` to the end.
  Status judge_window(const repo::Card& newest, WalWindow& window) const;

 private:
  explicit WalCheck(ChosenLineage lineage, WalHistory history)
      : lineage_(std::move(lineage)), history_(std::move(history)) {}
  Status read_run(Timeline timeline, const SegmentRun& run, const VerifyRequest& request);
  ChosenLineage lineage_;
  WalHistory history_;
  std::vector<WalBreak> breaks_;
};

}  // namespace lifeboat::ops::verification
