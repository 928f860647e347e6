#include "ops/drill/random_target.h"

#include <algorithm>
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

constexpr int kDraws = 10;  // each reads WAL around the moment

bool commits_follow(const ChosenBackup& latest) {
  return latest.reach.last_commit.valid() && latest.reach.last_commit > latest.card.stopped;
}

// Behind `from`, up to `to`.
Timestamp moment_between(Timestamp from, Timestamp to) {
  std::array<uint8_t, 8> random{};
  codec::random_bytes(random);
  const uint64_t span = static_cast<uint64_t>(to.unix_us - from.unix_us);
  return {from.unix_us + 1 + static_cast<int64_t>(load_le<uint64_t>(random.data()) % span)};
}

void aim_at(Timestamp moment, Timeline timeline, RestoreOptions& restore) {
  restore.target.kind = pg::TargetKind::time;
  restore.target.time = moment;
  // Of a moment after a fork there are two states.
  restore.timeline_choice = TimelineChoice::number;
  restore.timeline = timeline;
}

// Where the window begins: the end of the oldest backup against which nothing is known.
Result<Timestamp> begin_of_window(const repo::LineageRepo& repo, const repo::Card& newest) {
  TRY_ASSIGN(Proofs proofs, read_proofs(repo));
  TRY_ASSIGN(std::vector<repo::Card> cards, repo::read_cards(repo));
  TRY_ASSIGN(std::set<BackupId> gone, repo::tombstoned_backups(repo));
  for (const repo::Card& card : cards) {
    const bool usable = card.state == repo::BackupState::complete && !gone.contains(card.id) &&
                        !known_damage(proofs, card.id);
    if (usable) return std::min(card.stopped, newest.stopped);
  }
  return newest.stopped;
}

}  // namespace

Result<std::string> choose_random_target(const RestoreSource& source, RestoreOptions& restore,
                                         Reporter& reporter, StopToken& stop) {
  restore.target = {};
  RestoreOptions look = restore;
  look.reads_wal_later = true;  // to choose a moment, that WAL leads there is enough
  TRY_ASSIGN(const ChosenBackup newest, choose_backup(*source.lineage, look, std::nullopt, reporter, stop));
  const bool knows_end = commits_follow(newest);
  Timestamp end = knows_end ? newest.reach.last_commit : newest.card.stopped;
  Timestamp begin = newest.card.stopped;
  if (!restore.backup) {
    TRY_ASSIGN(begin, begin_of_window(source.repo(), newest.card));
  }
  if (begin >= end)
    return cat("nothing was committed after backup ", newest.card.id.text,
               ", so there is no moment to choose: this recovers to the end of WAL");
  std::string passed_over;
  for (int i = 0; i < kDraws && begin < end; ++i) {
    const Timestamp moment = moment_between(begin, end);
    aim_at(moment, newest.reach.timeline, look);
    auto chosen = choose_backup(*source.lineage, look, std::nullopt, reporter, stop);
    if (chosen) {
      aim_at(moment, newest.reach.timeline, restore);
      return passed_over;
    }
    if (chosen.error().kind != ErrorKind::unreachable) return std::move(chosen).error();
    if (knows_end) {
      passed_over =
          cat("another moment was drawn first, which cannot be reached: ", chosen.error().to_string());
    } else {
      end = moment;  // nothing was committed after it, as a rule
    }
  }
  return cat("no moment between the backups was found that can be reached: this recovers to the end of WAL",
             passed_over.empty() ? "" : "; ", passed_over);
}

}  // namespace lifeboat::ops
