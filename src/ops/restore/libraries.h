// Libraries that a server loads by itself, and where an installation has them (PR1).
//
// A library that shared_preload_libraries names and this host does not have keeps the server from starting
// (load_file in src/backend/utils/fmgr/dfmgr.c); one of session_preload_libraries or local_preload_libraries
// keeps every session from it. So it is looked for before a server is stopped or a directory replaced.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ops/restore/plan.h"
#include "pg/server/pg_bin.h"
#include "repo/manifest.h"
#include "repo/repository.h"

namespace lifeboat::ops {

// The names in a value of shared_preload_libraries and its like.
std::vector<std::string> library_names(std::string_view value);

// Where an installation has its libraries ($libdir), as far as it can be told: what pg_config beside the
// programs says, and where packages put them.
struct LibraryPlaces {
  std::vector<std::string> directories;
  bool certain = false;  // one of them has a library that every server has
};
LibraryPlaces library_places(const pg::PgBin& bin);

// As PostgreSQL looks for it: NAME in `path`, $libdir/NAME in `libdir`, or /PATH/NAME; with or without .so.
bool library_is_there(const std::string& name, const std::vector<std::string>& libdir,
                      const std::vector<std::string>& path);

// One that the restored server would be without.
struct MissingLibrary {
  std::string library;
  std::string setting;              // that names it
  std::string set_in;               // the file with it, as it is called on the source host
  bool stays = false;               // that file is this host's, and the restored server reads it there
  std::vector<std::string> places;  // where it was looked for
};
// By the configuration that the restored server will have: files of the backup, or of this host where they
// stay. Nothing is missing where PostgreSQL is not on this host, or keeps its libraries where nobody can
// tell. Errors: those of the store.
Result<std::vector<MissingLibrary>> missing_libraries(const repo::LineageRepo& repo,
                                                      const repo::Manifest& manifest, const RestorePlan& plan,
                                                      const RestoreOptions& options);
// precondition.
Error missing_library_error(const MissingLibrary& missing);

}  // namespace lifeboat::ops
