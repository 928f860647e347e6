#include "ops/backup/reference.h"

#include "repo/tombstone.h"
#include "repo/wal_store.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr size_t kHistoryLimit = 1 << 20;
}

Result<pg::TimelineHistory> server_history(pg::FileSource& source, const repo::LineageRepo& repo,
                                           Timeline timeline) {
  if (timeline.value <= 1) return pg::TimelineHistory::root(timeline);
  std::string name = cat(timeline.to_hex(), ".history");
  TRY_ASSIGN(auto file, source.open(cat("pg_wal/", name)));
  Bytes text(kHistoryLimit);
  if (file) {
    TRY_ASSIGN(size_t size, file->read(0, text));
    text.resize(size);
  } else {
    TRY_ASSIGN(text, repo::WalStore(repo).get_small(*WalFileName::parse(name), kHistoryLimit));
  }
  return pg::TimelineHistory::parse(timeline, as_text(text));
}

Result<Reference> choose_reference(const repo::LineageRepo& repo, BackupType type,
                                   const pg::TimelineHistory& history) {
  Reference chosen;
  TRY_ASSIGN(std::vector<repo::Card> cards, repo::read_cards(repo));
  TRY_ASSIGN(repo::Condemned condemned, repo::read_condemned(repo));
  chosen.why_none = "there is no earlier backup";
  for (repo::Card& card : cards) {
    if (card.state == repo::BackupState::aborted || condemned.condemns(card.id)) continue;
    if (type == BackupType::diff && card.type != BackupType::full) continue;
    if (chosen.card && card.started <= chosen.card->started) continue;
    if (card.state == repo::BackupState::damaged) {
      if (!chosen.card) chosen.why_none = cat("the earlier backup ", card.id.text, " is damaged");
      continue;
    }
    if (!history.contains(card.timeline, card.stop_lsn)) {
      if (!chosen.card) {
        chosen.why_none =
            cat("the earlier backup ", card.id.text, " ended at ", card.stop_lsn.to_string(), " of timeline ",
                card.timeline.value, ", which is not in this server's history");
      }
      continue;
    }
    chosen.card = std::move(card);
  }
  if (chosen.card) chosen.why_none.clear();
  return chosen;
}

std::string cannot_stand_on(const repo::Card& reference, const pg::TimelineHistory& history, Lsn start) {
  std::string name = cat("backup ", reference.id.text);
  if (!history.contains(reference.timeline, reference.stop_lsn)) {
    return cat(name, " ended at ", reference.stop_lsn.to_string(), " of timeline ", reference.timeline.value,
               ", which is not in this server's history");
  }
  if (reference.stop_lsn > start) {
    return cat(name, " ended at ", reference.stop_lsn.to_string(), ", after this one's start at ",
               start.to_string());
  }
  return "";
}

}  // namespace lifeboat::ops
