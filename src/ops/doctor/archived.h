// Does what the server believes to be archived lie in the repository? `archive_command = '/bin/true'` says
// "archived" of every segment and no failure is ever counted; only the repository knows better.
//
// The check `archiver` and the signals ask this one function. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/doctor/facts.h"

namespace lifeboat::ops {

struct LostWal {
  SegmentName segment;                // the newest that the server says is archived
  Timestamp archived;                 // when it says so
  std::optional<SegmentName> newest;  // that is stored of its timeline
  std::string slot;                   // of ours that still holds it; empty: nothing does
};

// nullopt: all came, or it cannot be told, or nothing rests on it: a standby does not archive, `wal receive`
// streams, or the newest complete backup is younger than that segment.
std::optional<LostWal> lost_wal(const DoctorFacts& facts);

// Is `wal receive` connected to this server?
bool streams_wal(const DoctorFacts& facts);

// What was archived last came, and by the configuration in use: whatever archive_command runs, it works.
bool archiving_is_proven(const DoctorFacts& facts);

// What the newest verification of all WAL found to be out of reach, as far as a backup from before it is
// there.
std::vector<ProvenLoss> known_losses(const RepositoryFacts& known);
// "no moment after … and before … can be recovered: segment … is in the way (found by verify)"
std::string describe(const ProvenLoss& lost);

// "the server says that … was archived, and the repository does not have it"
std::string describe(const LostWal& lost);

}  // namespace lifeboat::ops
