#include "pg/files/range_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "util/files.h"

namespace lifeboat::pg {

Result<std::optional<RangeReader>> RangeReader::open(const std::string& path) {
  // O_NONBLOCK: somebody's named pipe must not hang us before it is refused; it means nothing for regular
  // files.
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  int fd;
  do {
    fd = ::open(path.c_str(), kFlags | O_NOATIME);
    if (fd < 0 && errno == EPERM) fd = ::open(path.c_str(), kFlags);  // not the owner
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<RangeReader>();
    if (errno == ELOOP)
      return make_error(ErrorKind::precondition, path, "expected a regular file, found a symbolic link");
    return errno_error(errno, path, "open");
  }
  RangeReader reader(fd, path);
  struct stat st;
  if (::fstat(fd, &st) != 0) return errno_error(errno, path, "stat");
  if (!S_ISREG(st.st_mode)) return make_error(ErrorKind::precondition, path, "expected a regular file");
  return std::optional<RangeReader>(std::move(reader));
}

RangeReader::RangeReader(RangeReader&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

RangeReader& RangeReader::operator=(RangeReader&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
  }
  return *this;
}

RangeReader::~RangeReader() {
  if (fd_ >= 0) ::close(fd_);
}

Result<size_t> RangeReader::read(uint64_t offset, MutableBytes into) const {
  return pread_some(fd_, offset, into, path_);
}

Result<FileState> RangeReader::state() const {
  struct stat st;
  if (::fstat(fd_, &st) != 0) return errno_error(errno, path_, "stat");
  return FileState{static_cast<uint64_t>(st.st_size), st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec,
                   st.st_ino};
}

void RangeReader::will_read(uint64_t offset, uint64_t length) const {
  // Advice only: a file system that does not take it changes nothing.
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_SEQUENTIAL);
}

void RangeReader::done_with(uint64_t offset, uint64_t length) const {
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_DONTNEED);
}

}  // namespace lifeboat::pg
