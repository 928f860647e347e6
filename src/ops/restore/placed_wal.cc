#include "ops/restore/placed_wal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <utility>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kMostAhead = 128 << 20;
constexpr uint64_t kLeastSegments = 4;
constexpr std::chrono::seconds kPatience{60};
constexpr const char* kFresh = "lifeboat.placed";

}  // namespace

PlacedWal::PlacedWal(const std::string& data_directory, std::string placed, Owner owner,
                     PlacedSegments segments, SegmentSize size, Lsn checkpoint)
    : directory_(join_path(data_directory, "pg_wal")),
      placed_(std::move(placed)),
      owner_(std::move(owner)),
      segments_(segments),
      size_(size),
      first_read_(checkpoint.value / size.bytes) {}

PlacedWal::~PlacedWal() {
  for (const SegmentName& done : done_) {
    (void)remove_file(join_path(directory_, done.to_string()));
    (void)remove_file(join_path(placed_, done.to_string()));
  }
  (void)remove_file(join_path(directory_, kFresh));
}

Status PlacedWal::put(const SegmentName& name, ByteView content) {
  const size_t most = std::max(kLeastSegments, kMostAhead / content.size());
  {
    std::unique_lock lock(mutex_);
    auto room = [&] { return ended_ || there_.size() < most || name.index(size_) <= first_read_ + 1; };
    while (!changed_.wait_for(lock, kPatience, room)) {
      // Where the system does not show titles of processes, or their children. The rest comes by `wal get`,
      // but for what must not come unchanged.
      if (seen_) continue;
      if (segments_ == PlacedSegments::written_over)
        return make_error(ErrorKind::unsupported, directory_, "what the server replays is not seen");
      ended_ = true;
    }
    if (ended_) return {};
  }
  // A file that is half written must not be found under its name.
  const std::string fresh = join_path(directory_, kFresh);
  TRY_ASSIGN(Fd fd, open_fresh());
  TRY(pwrite_all(fd.get(), 0, content, fresh));
  if (segments_ == PlacedSegments::kept) TRY(fsync_file(fd.get(), fresh));
  TRY(fd.close(fresh));
  const std::string path = join_path(directory_, name.to_string());
  if (std::rename(fresh.c_str(), path.c_str()) != 0) return errno_error(errno, path, "rename");
  if (segments_ == PlacedSegments::kept) TRY(fsync_dir(directory_));
  TRY_ASSIGN(Fd mark, open_file(join_path(placed_, name.to_string()), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  std::lock_guard lock(mutex_);
  there_.push_back(name);
  return {};
}

// Under its own name: one that is done with, or a new one.
Result<Fd> PlacedWal::open_fresh() {
  const std::string fresh = join_path(directory_, kFresh);
  std::optional<SegmentName> done;
  {
    std::lock_guard lock(mutex_);
    if (!done_.empty()) {
      done = done_.front();
      done_.pop_front();
    }
  }
  if (done) {
    (void)remove_file(join_path(placed_, done->to_string()));
    // A restart point may have taken it away.
    if (std::rename(join_path(directory_, done->to_string()).c_str(), fresh.c_str()) == 0)
      return open_file(fresh, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
  }
  TRY_ASSIGN(Fd fd, open_file(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (geteuid() == 0 && fchown(fd.get(), owner_.uid, owner_.gid) != 0)
    return errno_error(errno, fresh, "change the owner of");
  return fd;
}

void PlacedWal::replaying(const SegmentName& name) {
  std::lock_guard lock(mutex_);
  seen_ = true;
  if (name.index(size_) <= first_read_ + 1) return;
  // The server reads ahead: it may still replay the one before.
  while (there_.size() > 1 && there_[1].index(size_) < name.index(size_)) {
    if (segments_ == PlacedSegments::written_over) done_.push_back(there_.front());
    there_.pop_front();
  }
  changed_.notify_all();
}

void PlacedWal::end() {
  std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

}  // namespace lifeboat::ops
