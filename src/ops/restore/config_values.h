// What the configuration of a server that is restored will say, before it is restored: the files of the
// backup, or this host's own where a cluster comes back in its place, includes followed. As the last line of
// a name decides, and postgresql.auto.conf after all of them (ParseConfigFile in
// src/backend/utils/misc/guc-file.l).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ops/restore/options.h"
#include "ops/restore/plan.h"
#include "repo/manifest.h"
#include "repo/repository.h"

namespace lifeboat::ops {

struct ConfigValue {
  std::string value;
  std::string file;    // as it is called on the source host; "": it was asked for
  bool stays = false;  // that file is this host's
};
using ConfigValues = std::map<std::string, ConfigValue, std::less<>>;

// Those of `names` (lower case) that are set anywhere. Files that are not there, or that this process may not
// read, say nothing. Errors: those of the store.
Result<ConfigValues> planned_values(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                                    const RestorePlan& plan, const RestoreOptions& options,
                                    const std::vector<std::string_view>& names);

}  // namespace lifeboat::ops
