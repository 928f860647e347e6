#include "ops/restore/libraries.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "ops/restore/config_values.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kLibdir = "$libdir";
constexpr std::string_view kInLibdir = "$libdir/";
constexpr std::string_view kEveryServerHas = "libpqwalreceiver.so";
constexpr std::string_view kPathSetting = "dynamic_library_path";
constexpr std::string_view kLocal = "local_preload_libraries";
constexpr int64_t kAnswerMs = 10'000;

bool can_be_read(const std::string& path) {
  return access(path.c_str(), R_OK) == 0;
}

bool is_file(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode) && can_be_read(path);
}

// Entries of dynamic_library_path (find_in_path in src/backend/utils/fmgr/dfmgr.c).
std::vector<std::string> search_path(std::string_view value, const std::vector<std::string>& libdir) {
  std::vector<std::string> directories;
  for (std::string_view part : split(value, ':')) {
    if (!part.starts_with(kLibdir)) {
      directories.emplace_back(part);
      continue;
    }
    for (const std::string& directory : libdir)
      directories.push_back(cat(directory, part.substr(kLibdir.size())));
  }
  return directories;
}

// Those of local_preload_libraries are looked for among the plugins (load_libraries in
// src/backend/utils/init/miscinit.c).
std::string name_looked_for(std::string_view setting, const std::string& name) {
  const bool plain = name.find('/') == std::string::npos;
  return setting == kLocal && plain ? cat(kInLibdir, "plugins/", name) : name;
}

std::vector<std::string> places_of(const std::string& name, const LibraryPlaces& libdir,
                                   const std::vector<std::string>& path) {
  if (name.starts_with('/')) return {parent_path(name)};
  std::vector<std::string> places;
  const std::string below = parent_path(name.starts_with(kInLibdir) ? name.substr(kInLibdir.size()) : name);
  for (const std::string& directory : name.starts_with(kInLibdir) ? libdir.directories : path) {
    std::string place = below == "." ? directory : join_path(directory, below);
    // Of the guesses only those that are there mean something to the reader.
    const bool guess = std::ranges::find(libdir.directories, directory) != libdir.directories.end();
    if (guess && !can_be_read(directory)) continue;
    if (std::ranges::find(places, place) == places.end()) places.push_back(std::move(place));
  }
  return places;
}

}  // namespace

std::vector<std::string> library_names(std::string_view value) {
  std::vector<std::string> names;
  for (std::string_view part : split(value, ',')) {
    part = trim(part);
    if (part.size() >= 2 && part.front() == '"' && part.back() == '"') part = part.substr(1, part.size() - 2);
    if (!part.empty()) names.emplace_back(part);
  }
  return names;
}

LibraryPlaces library_places(const pg::PgBin& bin) {
  LibraryPlaces places;
  const std::string pg_config = bin.program("pg_config");
  if (access(pg_config.c_str(), X_OK) == 0) {
    RunOptions options;
    options.timeout_ms = kAnswerMs;
    auto answer = run_process({.argv = {pg_config, "--pkglibdir"}}, options);
    if (answer && answer->ok()) places.directories.emplace_back(trim(answer->out));
  }
  // .../bin → .../lib (Debian, PGDG), .../lib/postgresql, .../lib64/pgsql (others).
  const std::string root = parent_path(bin.directory);
  for (const char* below : {"lib", "lib/postgresql", "lib/pgsql", "lib64", "lib64/postgresql", "lib64/pgsql"})
    places.directories.push_back(join_path(root, below));
  places.certain = std::ranges::any_of(places.directories, [](const std::string& directory) {
    return can_be_read(join_path(directory, kEveryServerHas));
  });
  return places;
}

bool library_is_there(const std::string& name, const std::vector<std::string>& libdir,
                      const std::vector<std::string>& path) {
  auto either = [](const std::string& file) { return is_file(file) || is_file(cat(file, ".so")); };
  const bool in_libdir = name.starts_with(kInLibdir);
  if (!in_libdir && name.find('/') != std::string::npos) return either(name);
  const std::string file = in_libdir ? name.substr(kInLibdir.size()) : name;
  return std::ranges::any_of(in_libdir ? libdir : path, [&](const std::string& directory) {
    return either(join_path(directory, file));
  });
}

Result<std::vector<MissingLibrary>> missing_libraries(const repo::LineageRepo& repo,
                                                      const repo::Manifest& manifest, const RestorePlan& plan,
                                                      const RestoreOptions& options) {
  std::vector<MissingLibrary> missing;
  const std::vector<std::string_view> settings = {"shared_preload_libraries", "session_preload_libraries",
                                                  kLocal};
  std::vector<std::string_view> names = settings;
  names.push_back(kPathSetting);
  if (!plan.pg_bin) return missing;
  TRY_ASSIGN(ConfigValues values, planned_values(repo, manifest, plan, options, names));
  std::optional<LibraryPlaces> libdir;
  std::vector<std::string> path;
  for (std::string_view setting : settings) {
    auto found = values.find(setting);
    if (found == values.end()) continue;
    const ConfigValue& set = found->second;
    for (const std::string& library : library_names(set.value)) {
      if (!libdir) {
        libdir = library_places(*plan.pg_bin);
        auto given = values.find(kPathSetting);
        path = search_path(given == values.end() ? kLibdir : std::string_view(given->second.value),
                           libdir->directories);
      }
      if (!libdir->certain) return missing;
      const std::string name = name_looked_for(setting, library);
      // One relative to the data directory, which is still to be written.
      const bool relative =
          name.find('/') != std::string::npos && !name.starts_with('/') && !name.starts_with(kInLibdir);
      if (relative || library_is_there(name, libdir->directories, path)) continue;
      missing.push_back({library, std::string(setting), set.file, set.stays, places_of(name, *libdir, path)});
    }
  }
  return missing;
}

Error missing_library_error(const MissingLibrary& missing) {
  const std::string where =
      missing.places.empty() ? std::string("any directory") : join(missing.places, ", ");
  const bool shared = missing.setting == "shared_preload_libraries";
  std::string hint = "install the package that has it, or name with --pg-bin an installation that does";
  if (missing.stays) {
    hint += cat(", or take it out of ", missing.setting, " in ", missing.set_in);
  } else {
    hint += cat("; or restore a copy with --to and without --start, whose ", missing.setting,
                " can be changed before it is started");
  }
  return make_error(ErrorKind::precondition, cat("library ", missing.library),
                    cat("is not in ", where, " of this host, and ",
                        shared ? "the restored server would not start without it"
                               : "no session of the restored server would begin without it",
                        ": ", missing.setting, " in ", missing.set_in,
                        missing.stays ? " names it" : " of the backup names it"))
      .with_hint(std::move(hint));
}

}  // namespace lifeboat::ops
