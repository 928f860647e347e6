#include "ops/drill/random_target.h"

#include <array>
#include <set>

#include "codec/codec.h"
#include "repo/manifest.h"
#include "repo/tombstone.h"
#include "util/bytes.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

bool commits_follow(const RestorePlan& latest) {
  return latest.reach.last_commit.valid() && latest.reach.last_commit > latest.backup.stopped;
}

RecoveryTarget moment_of(const RestorePlan& latest) {
  const int64_t from = latest.backup.stopped.unix_us;
  const int64_t to = latest.reach.last_commit.unix_us;
  std::array<uint8_t, 8> random{};
  codec::random_bytes(random);
  RecoveryTarget target;
  target.kind = pg::TargetKind::time;
  target.time = {from + 1 +
                 static_cast<int64_t>(load_le<uint64_t>(random.data()) % static_cast<uint64_t>(to - from))};
  return target;
}

// Newest first.
Result<std::vector<BackupId>> older_backups(const repo::LineageRepo& repo, const BackupId& than) {
  TRY_ASSIGN(std::vector<repo::Card> cards, repo::read_cards(repo));
  TRY_ASSIGN(std::set<BackupId> gone, repo::tombstoned_backups(repo));
  std::vector<BackupId> older;
  for (auto card = cards.rbegin(); card != cards.rend(); ++card)
    if (card->state == repo::BackupState::complete && card->id < than && !gone.contains(card->id))
      older.push_back(card->id);
  return older;
}

}  // namespace

Result<std::string> choose_random_target(const RestoreSource& source, RestoreOptions& restore,
                                         Reporter& reporter, StopToken& stop) {
  restore.target = {};
  TRY_ASSIGN(RestorePlan newest, plan_restore(source, restore, reporter, stop));
  if (commits_follow(newest)) {
    restore.target = moment_of(newest);
    return std::string();
  }
  if (restore.backup)
    return cat("nothing was committed after backup ", newest.backup.id.text,
               ": there is no moment to choose, so this recovers to the end of WAL");
  TRY_ASSIGN(std::vector<BackupId> older, older_backups(source.repo(), newest.backup.id));
  for (const BackupId& id : older) {
    RestoreOptions from = restore;
    from.backup = id;
    auto plan = plan_restore(source, from, reporter, stop);
    if (!plan && plan.error().kind == ErrorKind::cancelled) return std::move(plan).error();
    // What keeps an older backup from the end of WAL is no fault of the newest one, which is rehearsed then.
    if (!plan || !commits_follow(*plan)) continue;
    restore.backup = id;
    restore.target = moment_of(*plan);
    return cat("nothing was committed after backup ", newest.backup.id.text,
               ": the moment is chosen behind backup ", id.text);
  }
  return cat(
      "nothing was committed after any backup from which recovery reaches the end of WAL: there is no "
      "moment to choose, so this recovers to the end");
}

}  // namespace lifeboat::ops
