#include "ops/scratch/libraries.h"

#include <unistd.h>

#include <algorithm>

#include "ops/scratch/isolate.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kLibdir = "$libdir/";
constexpr int64_t kAnswerMs = 10'000;

// $libdir of that installation, as far as it can be told.
std::vector<std::string> library_directories(const pg::PgBin& bin) {
  std::vector<std::string> directories;
  const std::string pg_config = bin.program("pg_config");
  if (access(pg_config.c_str(), X_OK) == 0) {
    RunOptions options;
    options.timeout_ms = kAnswerMs;
    auto answer = run_process({.argv = {pg_config, "--pkglibdir"}}, options);
    if (answer && answer->ok()) directories.emplace_back(trim(answer->out));
  }
  // .../bin → .../lib (Debian, PGDG), .../lib/postgresql, .../lib64/pgsql (others).
  const std::string root = parent_path(bin.directory);
  for (const char* below : {"lib", "lib/postgresql", "lib/pgsql", "lib64", "lib64/postgresql", "lib64/pgsql"})
    directories.push_back(join_path(root, below));
  return directories;
}

bool is_there(std::string name, const std::vector<std::string>& directories) {
  if (!name.ends_with(".so")) name += ".so";
  if (name.starts_with(kLibdir)) {
    name.erase(0, kLibdir.size());
  } else if (name.find('/') != std::string::npos) {
    return access(name.c_str(), R_OK) == 0;
  }
  return std::ranges::any_of(directories, [&](const std::string& directory) {
    return access(join_path(directory, name).c_str(), R_OK) == 0;
  });
}

}  // namespace

PreloadedLibraries look_for_libraries(const std::vector<std::string>& wanted, const pg::PgBin& bin) {
  PreloadedLibraries found;
  if (wanted.empty()) return found;
  const std::vector<std::string> directories = library_directories(bin);
  for (const std::string& library : wanted) {
    if (runs_jobs(library)) {
      found.left_out.push_back(library);
    } else {
      (is_there(library, directories) ? found.loaded : found.missing).push_back(library);
    }
  }
  return found;
}

}  // namespace lifeboat::ops
