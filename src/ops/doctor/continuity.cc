#include "ops/doctor/continuity.h"

#include <algorithm>

#include "ops/wal/history.h"
#include "pg/format/timeline_history.h"
#include "repo/wal_store.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

// The server's timeline where it descends from the backup, else the newest one that does.
Timeline choose_target(const WalHistory& history, const repo::Card& backup, std::optional<Timeline> servers) {
  const std::vector<Timeline> timelines = history.descendants(backup.timeline, backup.stop_lsn);
  if (servers && std::ranges::find(timelines, *servers) != timelines.end()) return *servers;
  return timelines.empty() ? backup.timeline : timelines.back();
}

using NewestFirst = std::vector<repo::Card>::const_reverse_iterator;

// The newest complete backup from `from` on that the server's own history passes through; `end`: none is.
NewestFirst in_history(NewestFirst from, NewestFirst end, const pg::TimelineHistory& servers) {
  return std::find_if(from, end, [&](const repo::Card& card) {
    return card.state == repo::BackupState::complete && servers.contains(card.timeline, card.stop_lsn);
  });
}

}  // namespace

Result<std::optional<ContinuityFacts>> follow_wal(const ChosenLineage& lineage,
                                                  const std::vector<repo::Card>& backups,
                                                  std::optional<Timeline> servers) {
  auto newest = std::find_if(backups.rbegin(), backups.rend(), [](const repo::Card& card) {
    return card.state == repo::BackupState::complete;
  });
  if (newest == backups.rend()) return std::optional<ContinuityFacts>();
  std::optional<BackupId> left_behind;
  std::optional<pg::TimelineHistory> own;
  if (servers) {
    TRY_ASSIGN(own, stored_history(repo::WalStore(lineage.repo), *servers));
  }
  if (own) {
    const auto followed = in_history(newest, backups.rend(), *own);
    if (followed != newest) left_behind = newest->id;
    if (followed != backups.rend()) newest = followed;
  }
  TRY_ASSIGN(WalHistory history, WalHistory::load(lineage, newest->start_lsn));
  const Timeline target = choose_target(history, *newest, servers);
  ContinuityFacts continuity;
  continuity.backup = newest->id;
  continuity.left_behind = left_behind;
  continuity.timeline = target;
  TRY_ASSIGN(continuity.newest, repo::WalStore(lineage.repo).newest_segment(target));
  const StoredTimeline* stored = history.find(target);
  if (stored == nullptr || !stored->history) {
    continuity.missing =
        SegmentName::containing(newest->timeline, newest->start_lsn, lineage.record.segment_size);
    return std::optional(continuity);
  }
  WalPath path = history.path(target, newest->start_lsn);
  continuity.end = path.end;
  continuity.missing = path.missing;
  continuity.conflict = path.conflict;
  return std::optional(continuity);
}

}  // namespace lifeboat::ops
