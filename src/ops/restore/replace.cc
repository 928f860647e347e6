#include "ops/restore/replace.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "ops/restore/marker.h"
#include "util/fault.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// What never moves: the file system's own, and directories of restores.
bool stays(std::string_view name) {
  return name == "lost+found" || name.starts_with("lifeboat.new-") || name.starts_with("lifeboat.old-");
}

enum class GlobalGoes : uint8_t { first, last };

class Exchange {
 public:
  explicit Exchange(const std::vector<Placement>& placements)
      : placements_(placements), data_(placements.front()) {}

  Result<std::vector<std::string>> run() {
    Status done = exchange();
    if (done) return std::move(kept_);
    Error error = std::move(done).error();
    if (undo_.empty()) {
      error.hint = cat("nothing was moved; the finished restore is in ", data_.staging_path);
    } else {
      std::reverse(undo_.begin(), undo_.end());
      error.hint = cat("to go back: ", join(undo_, " && "));
    }
    return error;
  }

 private:
  Status exchange() {
    TRY(move_old_aside());
    for (const Placement& place : placements_) {
      if (place.tablespace != 0 && !place.kept_as.empty()) TRY(exchange_tablespace(place));
    }
    return move_new_in();
  }

  Status move(const std::string& from, const std::string& to) {
    uint64_t point = fault::point("restore.move");
    TRY(rename_durable(from, to));
    fault::passed(point);
    undo_.push_back(cat("mv ", shell_quote(to), " ", shell_quote(from)));
    return {};
  }

  Status make(const std::string& directory, mode_t mode) {
    if (mkdir(directory.c_str(), mode) != 0) return errno_error(errno, directory, "create");
    if (chmod(directory.c_str(), mode) != 0) return errno_error(errno, directory, "set the mode of");
    if (geteuid() == 0) {
      TRY_ASSIGN(FileInfo parent, stat_path(parent_path(directory)));
      if (lchown(directory.c_str(), parent.uid, parent.gid) != 0) {
        return errno_error(errno, directory, "set the owner of");
      }
    }
    return fsync_dir(parent_path(directory));
  }

  // Of a directory whose content moved away: the marker is the last thing in it.
  Status remove_emptied(const std::string& directory) {
    TRY(unmark(directory));
    if (rmdir(directory.c_str()) != 0) return errno_error(errno, directory, "remove");
    return fsync_dir(parent_path(directory));
  }

  Status unmark(const std::string& directory) {
    uint64_t point = fault::point("restore.unmark");
    TRY(remove_marker(directory));
    fault::passed(point);
    return {};
  }

  Status move_entries(const std::string& from, const std::string& to, GlobalGoes global) {
    TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(from));
    std::stable_partition(entries.begin(), entries.end(), [&](const DirEntry& entry) {
      return (entry.name == "global") == (global == GlobalGoes::first);
    });
    for (const DirEntry& entry : entries) {
      bool marks_new = entry.name == kMarkerName && from == data_.staging_path;
      if (!stays(entry.name) && !marks_new) TRY(move(join_path(from, entry.name), join_path(to, entry.name)));
    }
    return {};
  }

  Status move_old_aside() {
    // An earlier call did.
    TRY_ASSIGN(bool there, path_exists(data_.final_path));
    if (!there) {
      kept_.push_back(data_.kept_as);
      return {};
    }
    if (data_.moves_contents) {
      TRY(make(data_.kept_as, 0700));
      TRY(move_entries(data_.final_path, data_.kept_as, GlobalGoes::first));
    } else {
      TRY(move(data_.final_path, data_.kept_as));
    }
    kept_.push_back(data_.kept_as);
    return {};
  }

  Status exchange_tablespace(const Placement& place) {
    TRY_ASSIGN(std::vector<DirEntry> fresh, list_dir(place.staging_path));
    for (const DirEntry& entry : fresh) {
      if (entry.name == kMarkerName) continue;
      const std::string here = join_path(place.final_path, entry.name);
      TRY_ASSIGN(bool there, path_exists(here));
      if (there) TRY(move_aside(place, entry.name));
      TRY(move(join_path(place.staging_path, entry.name), here));
    }
    TRY(remove_emptied(place.staging_path));
    TRY_ASSIGN(bool kept, path_exists(place.kept_as));
    if (!kept) return {};
    TRY(point_old_link(place));
    kept_.push_back(place.kept_as);
    return {};
  }

  // Where an earlier call that ended in between has kept the old one already, this one is of that call.
  Status move_aside(const Placement& place, const std::string& name) {
    TRY_ASSIGN(bool kept, path_exists(join_path(place.kept_as, name)));
    std::string to = place.kept_as;
    if (kept) {
      const size_t suffix = staging_inside(place.final_path).size();
      to = cat(kept_inside(place.final_path), place.staging_path.substr(suffix));
    }
    TRY_ASSIGN(bool there, path_exists(to));
    if (!there) TRY(make(to, 0700));
    return move(join_path(place.final_path, name), join_path(to, name));
  }

  // The kept data directory keeps its own tablespace: its link leads to what is kept.
  Status point_old_link(const Placement& place) {
    std::string link = cat(data_.kept_as, "/pg_tblspc/", place.tablespace);
    auto target = read_link(link);
    if (!target || *target != place.final_path) return {};
    std::string fresh = cat(data_.kept_as, "/pg_tblspc/", temporary_name());
    if (symlink(place.kept_as.c_str(), fresh.c_str()) != 0)
      return errno_error(errno, fresh, "create symbolic link");
    TRY(rename_durable(fresh, link));
    undo_.push_back(cat("ln -sfn ", shell_quote(place.final_path), " ", shell_quote(link)));
    return {};
  }

  Status move_new_in() {
    if (data_.moves_contents) {
      TRY(move_entries(data_.staging_path, data_.final_path, GlobalGoes::last));
      return remove_emptied(data_.staging_path);
    }
    TRY(move(data_.staging_path, data_.final_path));
    return unmark(data_.final_path);
  }

  const std::vector<Placement>& placements_;
  const Placement& data_;
  std::vector<std::string> kept_;
  std::vector<std::string> undo_;
};

}  // namespace

Result<std::vector<std::string>> put_in_place(const std::vector<Placement>& placements) {
  if (placements.front().kept_as.empty()) return std::vector<std::string>();
  return Exchange(placements).run();
}

}  // namespace lifeboat::ops
