// Starting a restored directory and watching its recovery.
#pragma once

#include <string>

#include "ops/restore/restore.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

// The configuration file outside the data directory that a replaced cluster is started with; "" when there is
// none, or for a copy beside the original, which has everything inside.
std::string outside_config_file(const RestorePlan& plan, const repo::Manifest& manifest);

// `precondition` when another server has its socket there.
Status check_socket_free(const std::string& directory, int port);

// The cluster's bootstrap superuser, as far as the backup knows it; "": not known.
std::string bootstrap_role(const repo::Manifest& manifest);

// Starts a server whose recovery was watched once more, on the same directory, and leaves it running when it
// answers. Fills in outcome.recovery.
Status start_again(const RestoreSource& source, const RestoreOptions& options, RestoreOutcome& outcome,
                   Reporter& reporter, StopToken& stop);

// How the server on a restored standby is started, which runs on as its configuration says.
Result<pg::LaunchOptions> standby_launch(const RestoreSource& source, const RestoreOptions& options,
                                         RestoreOutcome& outcome, Reporter& reporter, StopToken& stop);

// Do two positions mean the same place in WAL? A record's end at a page's end and the next record's beginning
// behind the page header do.
bool same_wal_position(Lsn a, Lsn b);

}  // namespace lifeboat::ops
