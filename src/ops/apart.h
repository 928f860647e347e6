// Where nothing of ours may be made: a copy of a cluster in a cluster goes into the next backup with it, and
// in a repository it is taken for what it is not.
#pragma once

#include <string>

#include "util/result.h"

namespace lifeboat::ops {

// `precondition` when `directory`, which need not exist, lies below a data directory or a repository. What
// cannot be looked at is passed over. `directory` is absolute.
Status check_apart_from_others(const std::string& directory);

}  // namespace lifeboat::ops
