#include "ops/restore/durability.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "ops/work_queue.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kQueuedFiles = 256;

// Since 5.8 syncfs reports errors of writing back (commit 735e4ae5ba28, "vfs: track per-sb writeback
// errors").
bool kernel_reports_errors() {
  utsname name{};
  int major = 0;
  int minor = 0;
  if (uname(&name) != 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 5 || (major == 5 && minor >= 8);
}

bool syncfs_is_whole(int fd) {
  constexpr long kXfs = 0x58465342;
  constexpr long kZfs = 0x2fc12fc1;
  constexpr long kBcachefs = static_cast<long>(0xca451a4e);
  struct statfs status{};
  if (fstatfs(fd, &status) != 0) return false;
  switch (static_cast<long>(status.f_type)) {
    case EXT4_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case TMPFS_MAGIC:
    case OVERLAYFS_SUPER_MAGIC:
    case kXfs:
    case kZfs:
    case kBcachefs:
      return kernel_reports_errors();
    default:
      return false;
  }
}

Status sync_path(const std::string& path) {
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  return fsync_file(fd.get(), path);
}

// Files go to the workers; a directory is synced by itself after its entries were listed, as its own data is
// only names.
Status submit_tree(const std::string& directory, WorkQueue<std::string>& queue, const StopToken& stop) {
  TRY(stop.check());
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(directory));
  for (const DirEntry& entry : entries) {
    std::string path = join_path(directory, entry.name);
    if (entry.kind == FileKind::directory) {
      TRY(submit_tree(path, queue, stop));
    } else if (entry.kind == FileKind::regular) {
      TRY(queue.push(std::move(path)));
    }
  }
  return fsync_dir(directory);
}

}  // namespace

Status sync_each(const std::string& root, int workers, const StopToken& stop) {
  WorkQueue<std::string> queue(kQueuedFiles);
  std::vector<std::thread> threads;
  for (int i = 0; i < std::max(1, workers); ++i) {
    threads.emplace_back([&] {
      while (auto path = queue.pop()) {
        if (auto synced = sync_path(*path); !synced) queue.fail(std::move(synced).error());
      }
    });
  }
  if (auto submitted = submit_tree(root, queue, stop); !submitted) queue.fail(std::move(submitted).error());
  queue.close();
  for (std::thread& thread : threads) thread.join();
  if (auto error = queue.error()) return *error;
  return {};
}

Result<DurableTrees> DurableTrees::watch(std::vector<std::string> roots) {
  DurableTrees trees;
  trees.roots_ = std::move(roots);
  std::vector<uint64_t> devices;
  for (const std::string& root : trees.roots_) {
    TRY_ASSIGN(FileInfo info, stat_path(root));
    auto known = std::find(devices.begin(), devices.end(), info.device);
    trees.of_root_.push_back(static_cast<size_t>(known - devices.begin()));
    if (known != devices.end()) continue;
    devices.push_back(info.device);
    TRY_ASSIGN(Fd fd, open_file(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    bool whole = syncfs_is_whole(fd.get());
    trees.file_systems_.push_back({std::move(fd), root, whole});
  }
  return trees;
}

Status DurableTrees::sync(int workers, const StopToken& stop) {
  for (size_t i = 0; i < roots_.size(); ++i) {
    if (file_systems_[of_root_[i]].whole) continue;
    TRY(sync_each(roots_[i], workers, stop));
  }
  for (const FileSystem& file_system : file_systems_) {
    if (file_system.whole && syncfs(file_system.fd.get()) != 0) {
      return errno_error(errno, file_system.path, "sync the file system of");
    }
  }
  for (const std::string& root : roots_) TRY(fsync_dir(parent_path(root)));
  return {};
}

}  // namespace lifeboat::ops
