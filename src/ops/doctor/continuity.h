// Is WAL continuous since the newest complete backup, along the server's timeline?
//
// Names decide, and only those of segments from that backup's start on are listed, on every look: what was
// looked at may be deleted by hand, and another host may push a second content under an old name (T46).
#pragma once

#include <optional>
#include <vector>

#include "model/names.h"
#include "model/wal_name.h"
#include "ops/session.h"
#include "repo/manifest.h"
#include "util/result.h"

namespace lifeboat::ops {

struct ContinuityFacts {
  BackupId backup;
  Timeline timeline;
  Lsn end;                              // continuous to here
  std::optional<SegmentName> missing;   // a later segment is stored, this one is not
  std::optional<SegmentName> conflict;  // stored with two contents
  std::optional<SegmentName> newest;    // newest segment of the timeline that is stored at all
  // The newest complete backup, where the server has left what it was made on: another one is followed here,
  // or this one, because none leads to the server's present.
  std::optional<BackupId> left_behind;
};

// `backups` by time; `servers`: the timeline that the server is on. nullopt: there is no complete backup.
// Errors: those of the store.
Result<std::optional<ContinuityFacts>> follow_wal(const ChosenLineage& lineage,
                                                  const std::vector<repo::Card>& backups,
                                                  std::optional<Timeline> servers);

}  // namespace lifeboat::ops
