#include "ops/mount/skeleton.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "ops/mount/base_file.h"
#include "ops/mount/extents.h"
#include "pg/files/entry.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kSmall = 64 << 10;

Error cannot_carry(const std::string& directory, std::string why) {
  return make_error(ErrorKind::unsupported, directory, cat("its file system cannot carry a mount: ", why))
      .with_hint("choose a directory on ext4, XFS or tmpfs without compression, or use lifeboat restore");
}

Status probe(int fd, const std::string& path, const std::string& directory) {
  constexpr off_t kPart = 64 << 10;
  if (fsetxattr(fd, kMarkAttribute, "probe", 5, 0) != 0) {
    if (errno == ENOTSUP) return cannot_carry(directory, "it has no extended attributes for users");
    return errno_error(errno, path, "set an extended attribute of");
  }
  if (ftruncate(fd, 4 * kPart) != 0) return errno_error(errno, path, "set the size of");
  Bytes zeros(kPart, 0);
  TRY(pwrite_all(fd, kPart, zeros, path));
  TRY(fsync_file(fd, path));
  std::vector<std::pair<uint64_t, uint64_t>> written;
  TRY(each_extent(fd, path, 4 * kPart, [&](uint64_t begin, uint64_t end, ExtentKind kind) -> Status {
    if (kind == ExtentKind::written) written.emplace_back(begin, end);
    return {};
  }));
  if (written.size() == 1 && written[0] == std::pair<uint64_t, uint64_t>(kPart, 2 * kPart)) return {};
  return cannot_carry(directory, "it does not tell written zeros from holes");
}

}  // namespace

Status check_can_carry(const std::string& directory) {
  std::string path = join_path(directory, temporary_name());
  TRY_ASSIGN(Fd fd, open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  Status can = probe(fd.get(), path, directory);
  TRY(remove_file(path));
  return can;
}

Result<Skeleton> Skeleton::begin(const std::string& directory, uint32_t block_size, uid_t uid, gid_t gid) {
  std::string folder = join_path(directory, kMountFolder);
  if (mkdir(folder.c_str(), 0700) != 0) return errno_error(errno, folder, "create");
  if (geteuid() == 0 && chown(folder.c_str(), uid, gid) != 0)
    return errno_error(errno, folder, "set the owner of");
  TRY_ASSIGN(FileTableWriter table, FileTableWriter::create(table_path(directory)));
  return Skeleton(directory, block_size, std::move(table));
}

bool Skeleton::is_hole(const std::string& path, const repo::Entry& entry) {
  if (entry.type != repo::EntryType::file || entry.size == 0) return false;
  // Its owner may not mark it (xattr(7)).
  if ((entry.mode & S_IWUSR) == 0) return false;
  if (entry.size > kSmall) return true;
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return false;
  pg::Entry file;
  file.name = path.substr(slash + 1);
  pg::classify(path.substr(0, slash), file);
  return file.file_class == pg::FileClass::relation;
}

Status Skeleton::add(const std::string& path, const repo::Entry& entry, const std::string& absolute, int fd) {
  TRY_ASSIGN(uint64_t number, table_.add(path, entry));
  if (ftruncate(fd, static_cast<off_t>(entry.size)) != 0)
    return errno_error(errno, absolute, "set the size of");
  return write_mark(fd, {id_, number, (entry.size + block_size_ - 1) / block_size_}, absolute);
}

Status Skeleton::close_table() {
  TRY_ASSIGN(table_hash_, table_.finish());
  return fsync_dir(join_path(directory_, kMountFolder));
}

Status Skeleton::finish(MountState state) {
  state.id = id_;
  state.block_size = block_size_;
  state.files = table_.files();
  state.bytes = table_.bytes();
  state.table_hash = table_hash_;
  return write_state(directory_, state);
}

}  // namespace lifeboat::ops
