// restore --table and --database: the part of the command that goes on after the options were read.
#pragma once

#include "app/invocation.h"
#include "ops/restore/options.h"

namespace lifeboat::app {

// Whether one of them was given.
bool restores_tables(const Invocation& invocation);
// `restore`: directory (of the scratch copy), target and what else a restore needs. `usual`: the database
// that is meant where none is named.
Result<int> restore_tables(const Invocation& invocation, const ops::RestoreOptions& restore,
                           const std::string& usual);

}  // namespace lifeboat::app
