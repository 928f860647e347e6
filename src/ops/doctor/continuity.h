// Is WAL continuous since the newest complete backup, along the server's timeline?
//
// Names decide, and only those of segments from that backup's start on are listed. Who asks every minute
// hands over what the last look found: then only what came since is listed, because stored objects do not
// change and expiry never takes what the newest backup needs. What was looked at may still be damaged or
// deleted by hand, and another host may push a second content under an old name (T46), so everything since
// the backup is listed again when the last whole look is older than kWholeLookSeconds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/names.h"
#include "model/timestamp.h"
#include "model/wal_name.h"
#include "ops/session.h"
#include "repo/manifest.h"
#include "util/result.h"

namespace lifeboat::ops {

inline constexpr double kWholeLookSeconds = 6 * 3600;

// What an earlier look found, for the next one.
struct KnownContinuity {
  std::string repository;  // its URL
  Lineage lineage;
  BackupId backup;
  Timeline timeline;
  Lsn end;               // continuous to here
  Timestamp whole_look;  // when everything since the backup was listed
};

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
  KnownContinuity known;  // for the next look
};

// `backups` by time; `servers`: the timeline that the server is on. `now` decides whether what is known is
// too old. nullopt: there is no complete backup. Errors: those of the store.
Result<std::optional<ContinuityFacts>> follow_wal(const ChosenLineage& lineage,
                                                  const std::vector<repo::Card>& backups,
                                                  std::optional<Timeline> servers, Timestamp now,
                                                  const std::optional<KnownContinuity>& known);

}  // namespace lifeboat::ops
