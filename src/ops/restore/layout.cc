#include "ops/restore/layout.h"

#include <unistd.h>

#include <algorithm>

#include "ops/apart.h"
#include "ops/mount/state.h"
#include "ops/restore/config_text.h"
#include "ops/restore/marker.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kAllocation = 4096;

std::optional<Oid> tablespace_of(std::string_view path) {
  constexpr std::string_view kPrefix = "pg_tblspc/";
  if (!path.starts_with(kPrefix)) return std::nullopt;
  path.remove_prefix(kPrefix.size());
  auto oid = parse_u64(path.substr(0, path.find('/')));
  if (!oid || *oid > UINT32_MAX) return std::nullopt;
  return static_cast<Oid>(*oid);
}

bool same_or_below(std::string_view path, std::string_view directory) {
  return path == directory ||
         (path.size() > directory.size() && path.starts_with(directory) && path[directory.size()] == '/');
}

// The nearest directory above (or at) `path` that exists.
std::string existing_above(std::string path) {
  while (path != "/" && path != ".") {
    auto there = path_exists(path);
    if (there && *there) return path;
    path = parent_path(path);
  }
  return path;
}

Status check_can_create(const std::string& path) {
  std::string above = existing_above(path);
  if (access(above.c_str(), W_OK | X_OK) == 0) return {};
  int err = errno;
  return errno_error(err, path, cat("create below ", above))
      .with_hint(cat("make ", path, " as an empty directory that this user owns, or choose another place"));
}

class Placer {
 public:
  Placer(const repo::Manifest& manifest, const TreeSurvey& survey, const RestoreOptions& options,
         std::string suffix)
      : manifest_(manifest), survey_(survey), options_(options), suffix_(std::move(suffix)) {}

  Result<std::vector<Placement>> run() {
    TRY(place_data_directory());
    TRY(read_mappings());
    for (const repo::TablespaceInfo& tablespace : manifest_.tablespaces) {
      if (!tablespace.in_place) TRY(place_tablespace(tablespace));
    }
    if (!blocked_.empty()) return blocked_error();
    TRY(check_apart());
    return std::move(placements_);
  }

 private:
  Status place_data_directory() {
    const std::string& directory = options_.directory;
    if (!directory.starts_with('/') || directory == "/") {
      return make_error(ErrorKind::usage, directory, "is not an absolute path of a directory");
    }
    TRY(check_apart_from_others(directory));
    Placement place;
    place.recorded = manifest_.data_directory;
    place.final_path = directory;
    place.staging_path = directory;
    place.bytes = survey_.data_directory.allocated;
    place.files = survey_.data_directory.files;
    TRY_ASSIGN(DirectoryLook look, look_at_directory(directory));
    if (look.overwrites() && !options_.delta) look.state = DirectoryState::occupied;
    switch (look.state) {
      case DirectoryState::absent:
        TRY(check_can_create(directory));
        if (options_.replace && !options_.delta) go_on_with_exchange(place);
        break;
      case DirectoryState::empty:
      case DirectoryState::incomplete:
        TRY(check_writable(directory));
        place.overwrites = options_.delta && look.state == DirectoryState::incomplete;
        break;
      case DirectoryState::occupied:
        if (options_.delta) {
          TRY(refuse_mount(directory));
          TRY(check_writable(directory));
          place.overwrites = true;
        } else if (options_.replace) {
          stage_replacement(place);
        } else {
          return occupied_error(directory, look);
        }
    }
    placements_.push_back(std::move(place));
    return {};
  }

  static constexpr std::string_view kElsewhere =
      "give a new or empty directory with --to, or --replace with --pgdata to keep what is there aside";

  static Status refuse_mount(const std::string& directory) {
    auto mount = path_exists(state_path(directory));
    if (!mount || !*mount) return {};
    return make_error(ErrorKind::precondition, directory, "holds a mount that is not mounted now")
        .with_hint(cat("to go on with it: lifeboat mount ", shell_quote(directory),
                       "; to be rid of it remove the directory; otherwise ", kElsewhere));
  }

  static Error occupied_error(const std::string& directory, const DirectoryLook& look) {
    if (Status mount = refuse_mount(directory); !mount) return std::move(mount).error();
    if (look.marker && !look.marker->overwrites.empty() && !look.finished) {
      return make_error(ErrorKind::precondition, directory, "holds an unfinished restore --delta")
          .with_hint("the same command with --delta goes on");
    }
    if (!look.finished) {
      return make_error(ErrorKind::precondition, directory, cat("is not empty, it holds ", look.found))
          .with_hint(std::string(kElsewhere));
    }
    return make_error(ErrorKind::precondition, directory,
                      cat("is not empty, it holds a finished restore of backup ", look.marker->backup.text))
        .with_hint(
            cat("it can be started; ", kMarkerName, " was left and may be removed; otherwise ", kElsewhere));
  }

  // Beside the old directory on the same file system when it can be renamed; inside it when it is a mount
  // point or its parent may not be written.
  void stage_replacement(Placement& place) const {
    const std::string& directory = place.final_path;
    place.moves_contents =
        is_mount_point(directory) || access(parent_path(directory).c_str(), W_OK | X_OK) != 0;
    place.staging_path =
        cat(place.moves_contents ? staging_inside(directory) : staging_beside(directory), suffix_);
    place.kept_as = cat(place.moves_contents ? kept_inside(directory) : kept_beside(directory), suffix_);
  }

  // The exchange of an earlier call ended after the old directory was moved aside: what is kept of it is kept
  // there, as its marker says. What earlier restores have kept is another state.
  void go_on_with_exchange(Placement& place) {
    const std::string prefix = staging_beside(place.final_path);
    auto entries = list_dir(parent_path(place.final_path));
    if (!entries) return;
    for (const DirEntry& entry : *entries) {
      const std::string path = join_path(parent_path(place.final_path), entry.name);
      if (!path.starts_with(prefix)) continue;
      auto look = look_at_directory(path);
      if (!look || !look->marker || look->marker->replaces != place.final_path) continue;
      auto there = path_exists(look->marker->kept_as);
      if (!look->marker->kept_as.empty() && there && *there) kept_earlier_ = look->marker->kept_as;
    }
    if (kept_earlier_.empty()) return;
    place.staging_path = cat(staging_beside(place.final_path), suffix_);
    place.kept_as = kept_earlier_;
  }

  std::string kept_suffix() const {
    if (kept_earlier_.empty()) return suffix_;
    return kept_earlier_.substr(kept_beside(placements_.front().final_path).size());
  }

  // What lies in a tablespace after such an end is the old cluster's, or a finished part of the new one.
  bool was_kept(const Placement& place) const {
    if (kept_earlier_.empty()) return false;
    auto target = read_link(cat(kept_earlier_, "/pg_tblspc/", place.tablespace));
    return target && (*target == place.final_path || target->starts_with(kept_inside(place.final_path)));
  }

  Status check_writable(const std::string& directory) const {
    if (access(directory.c_str(), W_OK | X_OK) == 0) return {};
    return errno_error(errno, directory, "write into");
  }

  Status read_mappings() {
    for (const auto& [from, to] : options_.tablespaces) {
      auto named = std::ranges::find_if(manifest_.tablespaces, [&](const repo::TablespaceInfo& tablespace) {
        return !tablespace.in_place && normal_path(tablespace.location, "/") == normal_path(from, "/");
      });
      if (named == manifest_.tablespaces.end()) {
        return make_error(ErrorKind::usage, cat("--tablespace ", from, "=", to),
                          "the backup has no tablespace at that location")
            .with_hint(cat("tablespaces of this backup: ", list_tablespaces()));
      }
      if (!to.starts_with('/')) {
        return make_error(ErrorKind::usage, cat("--tablespace ", from, "=", to),
                          "the new location must be absolute");
      }
      mapped_[named->oid] = normal_path(to, "/");
    }
    return {};
  }

  std::string list_tablespaces() const {
    std::vector<std::string> names;
    for (const repo::TablespaceInfo& tablespace : manifest_.tablespaces) {
      if (!tablespace.in_place) names.push_back(cat(tablespace.location, " (", tablespace.name, ")"));
    }
    return names.empty() ? "none outside the data directory" : join(names, ", ");
  }

  Status place_tablespace(const repo::TablespaceInfo& tablespace) {
    Placement place;
    place.tablespace = tablespace.oid;
    place.name = tablespace.name;
    place.recorded = tablespace.location;
    if (auto part = survey_.tablespaces.find(tablespace.oid); part != survey_.tablespaces.end()) {
      place.bytes = part->second.allocated;
      place.files = part->second.files;
    }
    auto mapped = mapped_.find(tablespace.oid);
    if (mapped != mapped_.end()) {
      place.final_path = mapped->second;
    } else if (options_.unmapped == UnmappedTablespaces::beside) {
      place.final_path = cat(options_.directory, "_tablespaces/", tablespace.oid);
    } else {
      place.final_path = normal_path(tablespace.location, "/");
    }
    const std::string linked = options_.delta ? link_of(tablespace.oid) : "";
    const bool elsewhere = options_.replace || linked != place.final_path;
    if (!linked.empty() && elsewhere && mapped == mapped_.end()) place.final_path = linked;
    place.staging_path = place.final_path;
    TRY_ASSIGN(DirectoryLook look, look_at_directory(place.final_path));
    if (look.overwrites() && !options_.delta) look.state = DirectoryState::occupied;
    switch (look.state) {
      case DirectoryState::absent:
        TRY(check_can_create(place.final_path));
        break;
      case DirectoryState::empty:
      case DirectoryState::incomplete:
        TRY(check_writable(place.final_path));
        place.overwrites = options_.delta && look.state == DirectoryState::incomplete;
        break;
      case DirectoryState::occupied:
        if (options_.delta && may_overwrite(place, linked, mapped != mapped_.end())) {
          TRY(check_writable(place.final_path));
          place.overwrites = true;
        } else if (!options_.delta && options_.replace && is_replaced(place)) {
          place.staging_path = cat(staging_inside(place.final_path), suffix_);
          place.kept_as = cat(kept_inside(place.final_path), kept_suffix());
          place.moves_contents = true;
        } else {
          blocked_.push_back(place);
        }
    }
    placements_.push_back(std::move(place));
    return {};
  }

  bool is_replaced(const Placement& tablespace) const {
    const Placement& data = placements_.front();
    return data.staging_path != data.final_path && (kept_earlier_.empty() || was_kept(tablespace));
  }

  // Where the directory that is there has this tablespace; "": nowhere.
  std::string link_of(Oid tablespace) const {
    auto target = read_link(cat(options_.directory, "/pg_tblspc/", tablespace));
    return target && target->starts_with('/') ? normal_path(*target, "/") : "";
  }

  // A copy that was made by other means may have links that lead to the original's tablespaces, so one at its
  // recorded location is a copy's only when somebody says so (T11).
  bool may_overwrite(const Placement& place, const std::string& linked, bool named) const {
    if (linked.empty()) return options_.replace;
    if (linked != place.final_path) return false;
    return options_.replace || named || place.final_path != normal_path(place.recorded, "/");
  }

  Error blocked_error() const {
    std::vector<std::string> options;
    for (const Placement& place : blocked_) {
      options.push_back(
          cat("--tablespace ", place.recorded, "=", options_.directory, "_tablespaces/", place.name));
    }
    const Placement& first = blocked_.front();
    return make_error(ErrorKind::precondition, first.final_path,
                      cat("tablespace ", first.name, " cannot go there, the directory is not empty"))
        .with_hint(cat("give every tablespace a new place, for example: ", join(options, " ")));
  }

  // No tree may lie in another one.
  Status check_apart() const {
    for (const Placement& a : placements_) {
      for (const Placement& b : placements_) {
        if (&a == &b || !same_or_below(a.final_path, b.final_path)) continue;
        return make_error(
                   ErrorKind::usage, a.final_path,
                   cat("the place of ", a.tablespace == 0 ? "the data directory" : cat("tablespace ", a.name),
                       " lies in ", b.final_path, ", where ",
                       b.tablespace == 0 ? "the data directory" : cat("tablespace ", b.name), " goes"))
            .with_hint(
                "give each tablespace a directory of its own outside the data directory: --tablespace "
                "OLD=NEW");
      }
    }
    return {};
  }

  const repo::Manifest& manifest_;
  const TreeSurvey& survey_;
  const RestoreOptions& options_;
  std::string suffix_;
  std::string kept_earlier_;  // of an exchange that did not come to its end; "": there was none
  std::map<Oid, std::string> mapped_;
  std::vector<Placement> placements_;
  std::vector<Placement> blocked_;
};

}  // namespace

bool is_mount_point(const std::string& path) {
  auto self = stat_path(path);
  auto parent = stat_path(cat(path, "/.."));
  if (!self || !parent) return false;
  return self->device != parent->device || self->inode == parent->inode;
}

Result<TreeSurvey> survey_tree(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                               const StopToken& stop) {
  TreeSurvey survey;
  repo::TreeReader tree(repo);
  std::optional<repo::NodeRef> pgdata;
  TRY(tree.list(manifest.root, [&](const repo::Entry& entry) -> Status {
    if (entry.type != repo::EntryType::directory) return {};
    if (entry.name == "pgdata") {
      pgdata = entry.directory;
      survey.mode = entry.mode & 07777;
    } else if (entry.name == "config") {
      survey.config = entry.directory;
    }
    return {};
  }));
  if (!pgdata) {
    return make_error(ErrorKind::damaged, cat("backup ", manifest.card.id.text),
                      "its tree has no data directory");
  }
  survey.pgdata = *pgdata;
  std::set<Oid> external;
  for (const repo::TablespaceInfo& tablespace : manifest.tablespaces) {
    if (!tablespace.in_place) external.insert(tablespace.oid);
  }
  TRY(tree.walk(*pgdata, [&](const std::string& path, const repo::Entry& entry) -> Status {
    TRY(stop.check());
    if (path.find('/') == std::string::npos) survey.top.insert(path);
    if (entry.type == repo::EntryType::symlink) survey.links.push_back(cat(path, " → ", entry.target));
    if (entry.type != repo::EntryType::file) return {};
    auto oid = tablespace_of(path);
    TreeSurvey::Part& part =
        oid && external.contains(*oid) ? survey.tablespaces[*oid] : survey.data_directory;
    ++part.files;
    part.bytes += entry.size;
    part.allocated += (entry.size + kAllocation - 1) / kAllocation * kAllocation;
    return {};
  }));
  return survey;
}

Result<std::vector<Placement>> place_trees(const repo::Manifest& manifest, const TreeSurvey& survey,
                                           const RestoreOptions& options, const std::string& suffix) {
  return Placer(manifest, survey, options, suffix).run();
}

}  // namespace lifeboat::ops
