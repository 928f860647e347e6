#include "ops/backup/resume.h"

#include <algorithm>

#include "repo/manifest.h"
#include "repo/tombstone.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr size_t kMostAttempts = 4;

// "20261129T032653Z" of an id.
std::string_view second_of(const BackupId& id) {
  return std::string_view(id.text).substr(0, id.text.find('-'));
}

// An attempt is not worth failing for: without its map it is compared.
Result<WalChanges> changes_since(const ChosenLineage& lineage, const repo::Attempt& attempt,
                                 const Result<pg::TimelineHistory>& history, ServerWal& wal,
                                 const pg::BackupStart& start, Reporter& reporter, StopToken& stop) {
  WalChanges none;
  none.unusable = "the history of the server's timeline is unknown";
  if (!history) return none;
  ChangesRequest request{&lineage, *history, attempt.start_lsn, start.start_lsn, &wal, true};
  auto changes = read_changes(request, reporter, stop);
  if (changes || !repo::is_lost(changes.error())) return changes;
  none.unusable = changes.error().to_string();
  return none;
}

}  // namespace

Result<std::vector<repo::Attempt>> find_attempts(const repo::LineageRepo& repo) {
  TRY_ASSIGN(std::vector<BackupId> ids, repo::list_attempts(repo));
  TRY_ASSIGN(repo::Condemned condemned, repo::read_condemned(repo));
  std::vector<repo::Attempt> attempts;
  // Names order by the second only: all of the newest backup's second are looked at.
  Timestamp newest;
  std::string_view last_second;
  for (auto id = ids.rbegin(); id != ids.rend() && attempts.size() < kMostAttempts; ++id) {
    if (newest.valid() && second_of(*id) != last_second) break;
    if (condemned.condemns(*id)) continue;
    // One that has no card is dead once the lease is ours, or the lease is refused.
    auto card = repo::read_card(repo, *id);
    if (!card && card.error().kind != ErrorKind::not_found) return std::move(card).error();
    if (card && card->state != repo::BackupState::aborted) {
      newest = std::max(newest, card->started);
      last_second = second_of(*id);
      continue;
    }
    auto attempt = repo::read_attempt(repo, *id);
    if (!attempt) {
      // A record that is damaged, or went away, is none.
      if (repo::is_lost(attempt.error())) continue;
      return std::move(attempt).error();
    }
    attempts.push_back(std::move(*attempt));
  }
  // What is older than the newest backup is in it, or has changed since.
  std::erase_if(attempts, [&](const repo::Attempt& attempt) { return attempt.started < newest; });
  return attempts;
}

Result<std::vector<ResumedAttempt>> resume_attempts(const ChosenLineage& lineage,
                                                    const std::vector<repo::Attempt>& attempts,
                                                    const Result<pg::TimelineHistory>& history,
                                                    ServerWal& wal, const pg::ControlFile& control,
                                                    const pg::BackupStart& start, Reporter& reporter,
                                                    StopToken& stop) {
  std::vector<ResumedAttempt> resumed;
  for (const repo::Attempt& attempt : attempts) {
    if (attempt.timeline != start.timeline || attempt.start_lsn > start.start_lsn) continue;
    if (attempt.block_size != control.block_size || attempt.data_checksums != control.checksums()) continue;
    TRY_ASSIGN(repo::AttemptFiles files,
               repo::AttemptFiles::open(lineage.repo, attempt.id, attempt.block_size));
    if (files.blocks() == 0) continue;
    TRY_ASSIGN(WalChanges changes, changes_since(lineage, attempt, history, wal, start, reporter, stop));
    resumed.push_back({attempt, std::move(files), std::move(changes)});
  }
  return resumed;
}

}  // namespace lifeboat::ops
