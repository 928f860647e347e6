#include "ops/mount/listings.h"

#include <linux/fuse.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace lifeboat::ops {

int Listings::open(Fd directory, uint64_t& handle) {
  DIR* stream = fdopendir(directory.get());
  if (stream == nullptr) return errno;
  (void)directory.release();
  auto listing = std::make_shared<Listing>(stream);
  std::lock_guard lock(mutex_);
  handle = next_++;
  listings_.emplace(handle, std::move(listing));
  return 0;
}

std::shared_ptr<Listings::Listing> Listings::find(uint64_t handle) const {
  std::lock_guard lock(mutex_);
  auto found = listings_.find(handle);
  return found == listings_.end() ? nullptr : found->second;
}

int Listings::read(uint64_t handle, uint64_t offset, size_t room, const Shown& shown, Bytes& entries) const {
  auto list = find(handle);
  if (!list) return EBADF;
  std::lock_guard lock(list->mutex);
  const auto from = static_cast<long>(offset);
  if (from != list->at) {
    if (from == 0) {
      rewinddir(list->directory);
    } else {
      seekdir(list->directory, from);
    }
    list->at = from;
  }
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(list->directory);
    if (entry == nullptr) return errno != 0 && entries.empty() ? errno : 0;
    if (auto name = shown(entry->d_name)) {
      fuse_dirent head{};
      head.ino = entry->d_ino;
      head.off = static_cast<uint64_t>(entry->d_off);
      head.namelen = static_cast<uint32_t>(name->size());
      head.type = entry->d_type;
      const size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name->size());
      if (entries.size() + size > room) {
        seekdir(list->directory, list->at);  // comes with the next request
        return 0;
      }
      const size_t begin = entries.size();
      entries.resize(begin + size);
      std::memcpy(entries.data() + begin, &head, FUSE_NAME_OFFSET);
      std::memcpy(entries.data() + begin + FUSE_NAME_OFFSET, name->data(), name->size());
    }
    list->at = entry->d_off;
  }
}

int Listings::sync(uint64_t handle) const {
  auto list = find(handle);
  if (!list) return EBADF;
  return fsync(dirfd(list->directory)) == 0 ? 0 : errno;
}

void Listings::close(uint64_t handle) {
  std::lock_guard lock(mutex_);
  listings_.erase(handle);
}

}  // namespace lifeboat::ops
