// Which earlier backup an incremental one stands on, and whether it may (T16, T19, T39).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/names.h"
#include "pg/files/source.h"
#include "pg/format/timeline_history.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

// The history of the server's timeline: its own file, else the repository's. `not_found` when neither is
// there.
Result<pg::TimelineHistory> server_history(pg::FileSource& source, const repo::LineageRepo& repo,
                                           Timeline timeline);

struct Reference {
  std::optional<repo::Card> card;
  std::string why_none;                   // for people, when there is no card
  std::vector<std::string> damaged = {};  // newer ones in which a check found damage, for people
};

// The newest sound backup of the lineage that lies on `history`; of diff the newest full one. Backups that
// are damaged or condemned, and those in which a verification or a drill found damage, are passed over: what
// is taken over of them would be damaged too. Newest by start time (T39).
Result<Reference> choose_reference(const repo::LineageRepo& repo, BackupType type,
                                   const pg::TimelineHistory& history);

// Why `reference` may not be taken over by a backup that starts at `start`; empty: it may. Its end must be a
// past state of this server: before every fork, and not after the start.
std::string cannot_stand_on(const repo::Card& reference, const pg::TimelineHistory& history, Lsn start);

}  // namespace lifeboat::ops
