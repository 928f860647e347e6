// Whose files changed: names for a manifest's change counts, asked of the server.
#pragma once

#include <string>

#include "repo/manifest.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Fills in the names. What the server does not tell (a relation is gone, a database refuses connections)
// stays without one: the paths say enough.
void name_changes(const std::string& conninfo, repo::Manifest& manifest, const StopToken& stop);

}  // namespace lifeboat::ops
