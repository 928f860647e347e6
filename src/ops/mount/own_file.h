// Files of the tree below a mount, which are ours whatever their mode says.
#pragma once

#include <string>

#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

// `path`, relative to the open `directory` (or AT_FDCWD), for reading and writing. One whose mode does not
// let its owner do that has the right for the moment of opening. Not for anything but regular files. Errors:
// not_found, permission (another's file), those of the file system.
Result<Fd> open_own(int directory, const std::string& path);

}  // namespace lifeboat::ops
