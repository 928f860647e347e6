// --before-drop and --before-xid: the one transaction that they mean becomes the target.
#pragma once

#include <optional>
#include <string>

#include "app/invocation.h"
#include "ops/restore/options.h"
#include "ops/wal/find.h"
#include "util/reporter.h"

namespace lifeboat::app {

extern const OptionGroup kBeforeOptions;  // --before-drop --before-xid
// Was one of them given?
bool has_before(const Invocation& invocation);

// Searches the WAL of what `options` restores, and makes `options` stop just before the one finding. Notes go
// to the invocation's output. Errors: those of find_wal() and only_finding().
Result<ops::WalFinding> stop_before(const Invocation& invocation, ops::FindRequest request,
                                    ops::RestoreOptions& options, Reporter& reporter);

// What was dropped or truncated, as `request` asks, and has nearly the name of its table: "shop.orders"; ""
// when nothing has.
std::string nearly_named(const ops::ChosenLineage& lineage, ops::FindRequest request, Reporter& reporter,
                         StopToken& stop);

// The same by --before-drop or --before-xid; nullopt when neither was given.
Result<std::optional<ops::WalFinding>> stop_before_transaction(const Invocation& invocation,
                                                               ops::RestoreOptions& options,
                                                               Reporter& reporter);

}  // namespace lifeboat::app
