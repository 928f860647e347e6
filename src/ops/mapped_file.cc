#include "ops/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "util/files.h"

namespace lifeboat::ops {

Result<MappedFile> MappedFile::open(const std::string& path) {
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY | O_CLOEXEC));
  TRY_ASSIGN(FileInfo info, stat_fd(fd.get(), path));
  if (info.size == 0) return MappedFile(nullptr, 0);
  void* data = mmap(nullptr, info.size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) return errno_error(errno, path, "map");
  return MappedFile(data, info.size);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace lifeboat::ops
