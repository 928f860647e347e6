// The runbooks, one function each. Internal to this folder.
#pragma once

#include "ready/runbook/runbook.h"

namespace lifeboat::ready {

Runbook primary_loss(const RunbookFacts& facts);
Runbook archive_failure(const RunbookFacts& facts);
Runbook backup_failure(const RunbookFacts& facts);
Runbook wraparound(const RunbookFacts& facts);
Runbook bloat(const RunbookFacts& facts);
Runbook storage_exhaustion(const RunbookFacts& facts);
Runbook connection_exhaustion(const RunbookFacts& facts);
Runbook data_changed(const RunbookFacts& facts);
Runbook region_lost(const RunbookFacts& facts);

}  // namespace lifeboat::ready
