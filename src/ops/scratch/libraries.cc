#include "ops/scratch/libraries.h"

#include "ops/restore/libraries.h"
#include "ops/scratch/isolate.h"

namespace lifeboat::ops {

PreloadedLibraries look_for_libraries(const std::vector<std::string>& wanted, const pg::PgBin& bin) {
  PreloadedLibraries found;
  if (wanted.empty()) return found;
  const std::vector<std::string> libdir = library_places(bin).directories;
  for (const std::string& library : wanted) {
    if (runs_jobs(library)) {
      found.left_out.push_back(library);
    } else {
      (library_is_there(library, libdir, libdir) ? found.loaded : found.missing).push_back(library);
    }
  }
  return found;
}

}  // namespace lifeboat::ops
