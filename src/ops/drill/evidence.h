// The record that a drill leaves in the repository, and what a later drill reads from it.
#pragma once

#include <optional>
#include <string>

#include "ops/drill/drill.h"
#include "ops/drill/row_compare.h"

namespace lifeboat::ops {

// Writes the evidence of a drill that ran to its verdict; returns its id.
Result<std::string> write_drill_evidence(const repo::LineageRepo& repo, const DrillOptions& options,
                                         const DrillOutcome& outcome, const CountedRows& counted);
// Of a drill whose restore failed: the backup was not proven, and why.
Result<std::string> write_failed_drill(const repo::LineageRepo& repo, const DrillOptions& options,
                                       const BackupId& backup, const Error& error);
// The newest drill whose end lies on the history of `timeline` at or before `end` and that counted the tables
// of `scope`.
Result<std::optional<EarlierCounts>> read_earlier_counts(const repo::LineageRepo& repo,
                                                         const WalHistory& history, Timeline timeline,
                                                         Lsn end, const DrillScope& scope);

}  // namespace lifeboat::ops
