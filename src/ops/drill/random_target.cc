#include "ops/drill/random_target.h"

#include <array>
#include <set>

#include "codec/codec.h"
#include "ops/catalogue/proof.h"
#include "ops/restore/choose.h"
#include "repo/manifest.h"
#include "repo/tombstone.h"
#include "util/bytes.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr size_t kMostOlder = 20;  // each is followed to the end of WAL

bool commits_follow(const ChosenBackup& latest) {
  return latest.reach.last_commit.valid() && latest.reach.last_commit > latest.card.stopped;
}

void aim_behind(const ChosenBackup& latest, RestoreOptions& restore) {
  const int64_t from = latest.card.stopped.unix_us;
  const int64_t to = latest.reach.last_commit.unix_us;
  std::array<uint8_t, 8> random{};
  codec::random_bytes(random);
  restore.target.kind = pg::TargetKind::time;
  restore.target.time = {
      from + 1 + static_cast<int64_t>(load_le<uint64_t>(random.data()) % static_cast<uint64_t>(to - from))};
  // Of a moment after a fork there are two states.
  restore.timeline_choice = TimelineChoice::number;
  restore.timeline = latest.reach.timeline;
}

// Newest first, without those that something is known against.
Result<std::vector<BackupId>> older_backups(const repo::LineageRepo& repo, const Proofs& proofs,
                                            const BackupId& than) {
  TRY_ASSIGN(std::vector<repo::Card> cards, repo::read_cards(repo));
  TRY_ASSIGN(std::set<BackupId> gone, repo::tombstoned_backups(repo));
  std::vector<BackupId> older;
  for (auto card = cards.rbegin(); card != cards.rend() && older.size() < kMostOlder; ++card) {
    const bool usable = card->state == repo::BackupState::complete && card->id < than &&
                        !gone.contains(card->id) && !known_damage(proofs, card->id);
    if (usable) older.push_back(card->id);
  }
  return older;
}

}  // namespace

Result<std::string> choose_random_target(const RestoreSource& source, RestoreOptions& restore,
                                         Reporter& reporter, StopToken& stop) {
  restore.target = {};
  RestoreOptions look = restore;
  look.reads_wal_later = true;  // to choose a moment, where WAL ends is enough
  TRY_ASSIGN(ChosenBackup newest, choose_backup(*source.lineage, look, std::nullopt, reporter, stop));
  if (commits_follow(newest)) {
    aim_behind(newest, restore);
    return std::string();
  }
  const std::string why = cat("nothing was committed after backup ", newest.card.id.text);
  TRY_ASSIGN(Proofs proofs, read_proofs(source.repo()));
  const BackupProofs* known = proofs.of(newest.card.id);
  const bool proven = known != nullptr && known->drilled && known->drilled->passed;
  if (restore.backup || !proven)
    return cat(why, ", so there is no moment to choose: this recovers to the end of WAL");
  TRY_ASSIGN(std::vector<BackupId> older, older_backups(source.repo(), proofs, newest.card.id));
  for (const BackupId& id : older) {
    look.backup = id;
    auto chosen = choose_backup(*source.lineage, look, std::nullopt, reporter, stop);
    if (!chosen && chosen.error().kind == ErrorKind::cancelled) return std::move(chosen).error();
    // What keeps an older backup from the end of WAL is no fault of the newest one, which is rehearsed then.
    if (!chosen || !commits_follow(*chosen)) continue;
    restore.backup = id;
    aim_behind(*chosen, restore);
    return cat(why, ", which a drill has proven: the moment is chosen behind backup ", id.text);
  }
  return cat(why, " or the ", older.size(), " before it: this recovers to the end of WAL");
}

}  // namespace lifeboat::ops
