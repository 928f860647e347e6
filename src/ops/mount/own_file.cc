#include "ops/mount/own_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "util/strings.h"

namespace lifeboat::ops {

Result<Fd> open_own(int directory, const std::string& path) {
  const int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  Fd fd(openat(directory, path.c_str(), O_RDWR | flags));
  if (fd.valid()) return fd;
  if (errno != EACCES) return errno_error(errno, path, "open");
  Fd named(openat(directory, path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat info{};
  if (!named.valid() || fstat(named.get(), &info) != 0) return errno_error(errno, path, "open");
  if (!S_ISREG(info.st_mode)) return errno_error(EACCES, path, "open");
  const std::string self = cat("/proc/self/fd/", named.get());
  if (chmod(self.c_str(), (info.st_mode & 07777) | S_IRUSR | S_IWUSR) != 0)
    return errno_error(errno, path, "open");
  fd = Fd(open(self.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  const int opened = errno;
  if (chmod(self.c_str(), info.st_mode & 07777) != 0) return errno_error(errno, path, "put back the mode of");
  if (!fd.valid()) return errno_error(opened, path, "open");
  return fd;
}

}  // namespace lifeboat::ops
