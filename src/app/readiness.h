// From a resolved command line to the facts of readiness: what `report`, `runbook` and `recover` share.
#pragma once

#include "app/command.h"
#include "app/invocation.h"
#include "ready/report/facts.h"

namespace lifeboat::app {

// --rpo, --rto and the other things that only people can state.
extern const OptionGroup kStatedOptions;
// --runbook-dir
extern const OptionGroup kRunbookPlaceOptions;

// Reads server, disks, repository, evidence and configuration. Whatever cannot be had is said in the facts.
// The command has kSignalOptions, kStatedOptions, kRetentionOptions and kRunbookPlaceOptions. Errors: usage,
// config, cancelled.
Result<ready::ReportFacts> read_readiness(const Invocation& invocation);

}  // namespace lifeboat::app
