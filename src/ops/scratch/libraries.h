// Libraries that the source preloads, and which of them a copy on this host can and may load.
#pragma once

#include <string>
#include <vector>

#include "pg/server/pg_bin.h"

namespace lifeboat::ops {

// What the source preloads and what became of it here.
struct PreloadedLibraries {
  std::vector<std::string> loaded;
  std::vector<std::string> left_out;  // they would run jobs
  std::vector<std::string> missing;   // not on this host
};

// As shared_preload_libraries names them: NAME, $libdir/NAME or /PATH/NAME, with or without .so. Looks where
// pg_config beside the programs says, and where packages put libraries.
PreloadedLibraries look_for_libraries(const std::vector<std::string>& wanted, const pg::PgBin& bin);

}  // namespace lifeboat::ops
