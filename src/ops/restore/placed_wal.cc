#include "ops/restore/placed_wal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kMostAhead = 512 << 20;
constexpr uint64_t kLeastSegments = 4;
constexpr const char* kFresh = "lifeboat.placed";

}  // namespace

PlacedWal::PlacedWal(const std::string& data_directory, Owner owner, const StopToken& stop)
    : directory_(join_path(data_directory, "pg_wal")), owner_(std::move(owner)), stop_(stop) {}

Status PlacedWal::put(const SegmentName& name, ByteView content) {
  const size_t most = std::max(kLeastSegments, kMostAhead / content.size());
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stop_.stopped() || there_.size() < most; });
    TRY(stop_.check());
  }
  // A file that is half written must not be found under its name.
  const std::string fresh = join_path(directory_, kFresh);
  TRY_ASSIGN(Fd fd, open_file(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  TRY(write_all(fd.get(), content, fresh));
  if (geteuid() == 0 && fchown(fd.get(), owner_.uid, owner_.gid) != 0)
    return errno_error(errno, fresh, "change the owner of");
  TRY(fd.close(fresh));
  const std::string path = join_path(directory_, name.to_string());
  if (std::rename(fresh.c_str(), path.c_str()) != 0) return errno_error(errno, path, "rename");
  std::lock_guard lock(mutex_);
  there_.push_back(name);
  return {};
}

void PlacedWal::replaying(const SegmentName& name) {
  std::lock_guard lock(mutex_);
  auto now = std::ranges::find(there_, name);
  if (now == there_.end()) return;
  // The server reads ahead: it may still replay the one before.
  while (there_.size() > 1 && there_[0] != name && there_[1] != name) {
    // One that stays wastes space, for as long as the copy is there.
    (void)remove_file(join_path(directory_, there_.front().to_string()));
    there_.pop_front();
  }
  changed_.notify_all();
}

void PlacedWal::end() {
  std::lock_guard lock(mutex_);
  changed_.notify_all();
}

}  // namespace lifeboat::ops
