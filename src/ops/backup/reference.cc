#include "ops/backup/reference.h"

#include <algorithm>

#include "ops/catalogue/damage.h"
#include "repo/tombstone.h"
#include "repo/wal_store.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr size_t kHistoryLimit = 1 << 20;

// Empty: it can. Damage that was found since is told in `damaged`.
std::string cannot_be_taken_over(const repo::Card& card, const Proofs& proofs,
                                 const pg::TimelineHistory& history, std::vector<std::string>& damaged) {
  std::string name = cat("the earlier backup ", card.id.text);
  if (card.state == repo::BackupState::damaged) return cat(name, " is damaged");
  if (!history.contains(card.timeline, card.stop_lsn))
    return cat(name, " ended at ", card.stop_lsn.to_string(), " of timeline ", card.timeline.value,
               ", which is not in this server's history");
  auto problem = found_damaged(proofs, card.id);
  if (!problem) return "";
  damaged.push_back(cat("backup ", card.id.text, " failed its last check: ", *problem));
  return cat(name, " failed its last check: ", *problem);
}
}  // namespace

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
  TRY_ASSIGN(Proofs proofs, read_proofs(repo));
  std::ranges::stable_sort(cards, std::ranges::greater(), &repo::Card::started);
  for (repo::Card& card : cards) {
    if (card.state == repo::BackupState::aborted || condemned.condemns(card.id)) continue;
    if (type == BackupType::diff && card.type != BackupType::full) continue;
    std::string why_not = cannot_be_taken_over(card, proofs, history, chosen.damaged);
    if (why_not.empty()) {
      chosen.card = std::move(card);
      chosen.why_none.clear();
      return chosen;
    }
    if (chosen.why_none.empty()) chosen.why_none = std::move(why_not);
  }
  if (chosen.why_none.empty()) chosen.why_none = "there is no earlier backup";
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
