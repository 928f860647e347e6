#include "ops/mount/finish.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "ops/mount/mount.h"
#include "pg/server/recovery_settings.h"
#include "util/fault.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kConfigLimit = 16 << 20;

// Lines of the settings that the mount needed, with the value that we wrote; other values are somebody
// else's.
Status take_out_settings(const std::string& directory, int major) {
  const std::string path = join_path(directory, "postgresql.auto.conf");
  auto text = read_text(path, kConfigLimit);
  if (!text && text.error().kind == ErrorKind::not_found) return {};
  if (!text) return std::move(text).error();
  std::string kept;
  for (std::string_view line : split(*text, '\n')) {
    bool ours = false;
    for (const auto& [name, value] : mount_settings(major)) {
      ours = ours || line == cat(name, " = ", pg::quote_setting(value));
    }
    if (!ours) kept += cat(line, "\n");
  }
  // split() gives an empty piece behind the last line end.
  if (kept.ends_with('\n')) kept.pop_back();
  if (kept == *text) return {};
  return rewrite_file_durable(path, as_bytes(kept));
}

// Names that had to wait. One that has its name already was renamed before a crash.
Status give_name(const std::string& directory, std::string_view shown) {
  const std::string staged = join_path(directory, cat(shown, kStagedSuffix));
  TRY_ASSIGN(bool waits, path_exists(staged));
  if (!waits) return {};
  uint64_t point = fault::point("mount.name");
  TRY(rename_durable(staged, join_path(directory, shown)));
  fault::passed(point);
  return {};
}

Status name_tablespace(const MountedTree& tree) {
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(tree.path));
  for (const DirEntry& entry : entries) {
    auto shown = shown_name(TreeKind::tablespace, "", entry.name);
    if (shown && *shown != entry.name) TRY(give_name(tree.path, *shown));
  }
  return {};
}

Status sync_trees(const MountState& state) {
  for (const MountedTree& tree : state.trees) {
    TRY_ASSIGN(Fd root, open_file(tree.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (syncfs(root.get()) != 0) return errno_error(errno, tree.path, "sync the file system of");
  }
  return {};
}

// For the command whose server runs there next: between here and there it may be killed.
Status leave_mark(const std::string& directory, const MountState& state) {
  if (!state.instant) return {};
  const std::string path = join_path(directory, kInstantMark);
  TRY(write_file_durable(path, as_bytes(state.to_text()), 0600));
  TRY_ASSIGN(FileInfo info, stat_path(directory));
  if (geteuid() == 0 && chown(path.c_str(), info.uid, info.gid) != 0)
    return errno_error(errno, path, "set the owner of");
  return {};
}

Status empty_tree(const std::string& path) {
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(path));
  for (const DirEntry& entry : entries) {
    if (entry.name == kMountFolder || entry.name == "lost+found") continue;
    TRY(remove_tree(join_path(path, entry.name)));
  }
  return {};
}

}  // namespace

std::vector<std::pair<std::string, std::string>> mount_settings(int major) {
  std::vector<std::pair<std::string, std::string>> settings;
  // It fetches blocks whose full-page image is still ahead in WAL: a thousand times as many bytes.
  if (major >= 15) settings.emplace_back("recovery_prefetch", "off");
  // Walking over and opening every file before recovery takes longer than all the rest; the mount syncs.
  if (major >= 14) settings.emplace_back("recovery_init_sync_method", "syncfs");
  return settings;
}

// `state` first: without it the rest is not a mount.
Status forget_mount(const std::string& directory) {
  const std::string folder = cat(directory, "/", kMountFolder);
  TRY_ASSIGN(bool there, path_exists(folder));
  if (there) {
    uint64_t point = fault::point("mount.forget");
    TRY(remove_file(state_path(directory)));
    TRY(fsync_dir(folder));
    fault::passed(point);
    TRY(remove_tree(folder));
  }
  TRY(remove_file(join_path(directory, kMountLog)));
  TRY(remove_file(join_path(directory, kMountStatus)));
  return fsync_dir(directory);
}

Status finish_mount(const MountState& state) {
  const std::string& directory = state.trees.front().path;
  TRY(take_out_settings(directory, state.lineage.major));
  for (const MountedTree& tree : state.trees) {
    if (tree.tablespace != 0) TRY(name_tablespace(tree));
  }
  TRY(sync_trees(state));
  TRY(leave_mark(directory, state));
  TRY(give_name(join_path(directory, "global"), "pg_control"));
  return forget_mount(directory);
}

Status remove_mount(MountState state) {
  const std::string directory = state.trees.front().path;
  state.removing = true;
  TRY(write_state(directory, state));
  for (const MountedTree& tree : state.trees) TRY(empty_tree(tree.path));
  TRY(forget_mount(directory));
  for (const MountedTree& tree : state.trees) {
    // What was there before us, or is a mount point, stays, empty.
    if (rmdir(tree.path.c_str()) != 0 && errno != EACCES && errno != EPERM && errno != EBUSY &&
        errno != ENOTEMPTY)
      return errno_error(errno, tree.path, "remove");
  }
  return {};
}

}  // namespace lifeboat::ops
