// What evidence says against signals that look fine: a drill that failed stays the result until one that
// reaches as far has passed, and a dump that failed its drill is no backup.
//
// Signals are read from the newest word on each backup (ops/catalogue/proof.h), which a drill to the end of
// the backup has as well as one through all WAL behind it. Pure.
#pragma once

#include <string>
#include <vector>

#include "ready/report/facts.h"

namespace lifeboat::ready {

// The newest drill that failed and that none after it has made good: to the end of WAL, to a commit or moment
// at or behind the one that was wanted, or to the same target. Null: there is none. Newest first.
const Rehearsal* standing_failure(const std::vector<Rehearsal>& rehearsals);

// drill_result is critical while a failure stands, or the newest whole dump failed; drill_age says where the
// passes have gone that no backup has any more.
void apply_evidence(SignalReport& report, const std::vector<Rehearsal>& rehearsals,
                    const std::vector<LogicalBackup>& dumps);

// drill_result is unknown, unless it is worse: not all drills and dumps could be read.
void apply_unread(SignalReport& report, const Error& problem);

// wal_gaps is critical while WAL that a verification found damaged is what a recovery needs; a warning once
// there is a backup from behind it.
void apply_wal_verdict(SignalReport& report, const WalVerdict& verdict, const repo::Card* newest_backup);

// The newest of whole databases; null: there is none.
const LogicalBackup* newest_whole(const std::vector<LogicalBackup>& dumps);

}  // namespace lifeboat::ready
