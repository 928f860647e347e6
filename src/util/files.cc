#include "util/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "util/fault.h"
#include "util/strings.h"

namespace lifeboat {

namespace {

constexpr std::string_view kTemporaryPrefix = ".tmp-";
// Linux transfers at most 0x7ffff000 bytes per call anyway.
constexpr size_t kLargestTransfer = 1u << 30;

// Repeats a system call that a signal interrupted.
template <typename F>
auto retry(F call) {
  while (true) {
    auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

Error last_error(std::string_view path, std::string_view what) {
  return errno_error(errno, std::string(path), what);
}

// Calls `transfer(at, size)` until all of `size` bytes are done or it returns 0; the number done, or the
// error.
template <typename F>
Result<size_t> transfer_all(size_t size, std::string_view path, std::string_view what, F transfer) {
  size_t done = 0;
  while (done < size) {
    ssize_t moved = retry([&] { return transfer(done, std::min(size - done, kLargestTransfer)); });
    if (moved < 0) return last_error(path, what);
    if (moved == 0) break;
    done += static_cast<size_t>(moved);
  }
  return done;
}

Status all_or_damaged(Result<size_t> done, size_t wanted, std::string_view path) {
  if (!done) return std::move(done).error();
  if (*done == wanted) return {};
  return make_error(ErrorKind::damaged, std::string(path),
                    cat("file ends early: expected ", wanted, " bytes, found ", *done));
}

Status all_written(Result<size_t> done, size_t wanted, std::string_view path) {
  if (!done) return std::move(done).error();
  if (*done == wanted) return {};
  return make_error(ErrorKind::failed, std::string(path), "cannot write: nothing was accepted");
}

FileKind kind_of(mode_t mode) {
  if (S_ISREG(mode)) return FileKind::regular;
  if (S_ISDIR(mode)) return FileKind::directory;
  if (S_ISLNK(mode)) return FileKind::symlink;
  return FileKind::other;
}

FileInfo info_of(const struct stat& raw) {
  FileInfo result;
  result.kind = kind_of(raw.st_mode);
  result.size = static_cast<uint64_t>(raw.st_size);
  result.allocated = static_cast<uint64_t>(raw.st_blocks) * 512;
  result.device = raw.st_dev;
  result.inode = raw.st_ino;
  result.mode = raw.st_mode & 07777;
  result.uid = raw.st_uid;
  result.gid = raw.st_gid;
  result.modified_us = static_cast<int64_t>(raw.st_mtim.tv_sec) * 1'000'000 + raw.st_mtim.tv_nsec / 1000;
  return result;
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Directory = std::unique_ptr<DIR, CloseDir>;

// Takes the descriptor over.
Result<Directory> directory_of(Fd fd, std::string_view path) {
  DIR* dir = ::fdopendir(fd.get());
  if (dir == nullptr) return last_error(path, "read directory");
  fd.release();
  return Directory(dir);
}

// Calls `each` per entry until it returns true.
Result<bool> visit_entries(DIR* dir, std::string_view path,
                           const std::function<bool(const DirEntry&)>& each) {
  while (true) {
    errno = 0;
    const dirent* raw_entry = ::readdir(dir);
    if (raw_entry == nullptr) {
      if (errno != 0) return last_error(path, "read directory");
      return false;
    }
    DirEntry entry{raw_entry->d_name, FileKind::other};
    if (entry.name == "." || entry.name == "..") continue;
    switch (raw_entry->d_type) {
      case DT_REG:
        entry.kind = FileKind::regular;
        break;
      case DT_DIR:
        entry.kind = FileKind::directory;
        break;
      case DT_LNK:
        entry.kind = FileKind::symlink;
        break;
      case DT_UNKNOWN: {  // some file systems do not say
        struct stat raw{};
        if (::fstatat(::dirfd(dir), entry.name.c_str(), &raw, AT_SYMLINK_NOFOLLOW) != 0) {
          if (errno == ENOENT) continue;
          return last_error(join_path(path, entry.name), "stat");
        }
        entry.kind = kind_of(raw.st_mode);
        break;
      }
      default:
        break;
    }
    if (each(entry)) return true;
  }
}

Result<std::vector<DirEntry>> read_entries(DIR* dir, std::string_view path) {
  std::vector<DirEntry> entries;
  TRY(visit_entries(dir, path, [&](const DirEntry& entry) {
    entries.push_back(entry);
    return false;
  }));
  return entries;
}

Status remove_below(Fd directory, const std::string& path) {
  TRY_ASSIGN(Directory dir, directory_of(std::move(directory), path));
  TRY_ASSIGN(auto entries, read_entries(dir.get(), path));
  int at = ::dirfd(dir.get());
  for (const DirEntry& entry : entries) {
    std::string full = join_path(path, entry.name);
    if (entry.kind == FileKind::directory) {
      int fd = retry(
          [&] { return ::openat(at, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); });
      if (fd < 0) return last_error(full, "open");
      TRY(remove_below(Fd(fd), full));
    }
    int flags = entry.kind == FileKind::directory ? AT_REMOVEDIR : 0;
    if (::unlinkat(at, entry.name.c_str(), flags) != 0 && errno != ENOENT) return last_error(full, "remove");
  }
  return {};
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

Status Fd::close(std::string_view path) {
  // Linux has let go of the descriptor even when it reports EINTR.
  if (fd_ >= 0 && ::close(release()) != 0 && errno != EINTR) return last_error(path, "close");
  return {};
}

std::string join_path(std::string_view directory, std::string_view name) {
  if (directory.empty()) return std::string(name);
  return directory.ends_with('/') ? cat(directory, name) : cat(directory, "/", name);
}

std::string parent_path(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  path = path.substr(0, slash);
  while (path.ends_with('/')) path.remove_suffix(1);
  return path.empty() ? "/" : std::string(path);
}

std::string_view base_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  size_t slash = path.rfind('/');
  return slash == std::string_view::npos || path.size() == 1 ? path : path.substr(slash + 1);
}

Result<Fd> open_file(const std::string& path, int flags, mode_t mode) {
  int fd = retry([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); });
  if (fd < 0) return last_error(path, (flags & O_CREAT) != 0 ? "create" : "open");
  return Fd(fd);
}

Result<size_t> read_some(int fd, MutableBytes out, std::string_view path) {
  return transfer_all(out.size(), path, "read",
                      [&](size_t at, size_t size) { return ::read(fd, out.data() + at, size); });
}

Result<size_t> pread_some(int fd, uint64_t offset, MutableBytes out, std::string_view path) {
  return transfer_all(out.size(), path, "read", [&](size_t at, size_t size) {
    return ::pread(fd, out.data() + at, size, static_cast<off_t>(offset + at));
  });
}

Status read_exact(int fd, MutableBytes out, std::string_view path) {
  return all_or_damaged(read_some(fd, out, path), out.size(), path);
}

Status pread_exact(int fd, uint64_t offset, MutableBytes out, std::string_view path) {
  return all_or_damaged(pread_some(fd, offset, out, path), out.size(), path);
}

Status write_all(int fd, ByteView bytes, std::string_view path) {
  auto done = transfer_all(bytes.size(), path, "write",
                           [&](size_t at, size_t size) { return ::write(fd, bytes.data() + at, size); });
  return all_written(std::move(done), bytes.size(), path);
}

Status pwrite_all(int fd, uint64_t offset, ByteView bytes, std::string_view path) {
  auto done = transfer_all(bytes.size(), path, "write", [&](size_t at, size_t size) {
    return ::pwrite(fd, bytes.data() + at, size, static_cast<off_t>(offset + at));
  });
  return all_written(std::move(done), bytes.size(), path);
}

namespace {

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif
std::atomic<bool> bulk_writes_work{true};

ssize_t write_uncached(int fd, ByteView bytes, off_t offset) {
  iovec piece{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  return ::pwritev2(fd, &piece, 1, offset, RWF_DONTCACHE);
}

}  // namespace

Status pwrite_bulk(int fd, uint64_t offset, ByteView bytes, std::string_view path) {
  auto done = transfer_all(bytes.size(), path, "write", [&](size_t at, size_t size) -> ssize_t {
    auto position = static_cast<off_t>(offset + at);
    if (bulk_writes_work.load(std::memory_order_relaxed)) {
      ssize_t wrote = write_uncached(fd, bytes.subspan(at, size), position);
      // An older kernel does not know the flag, or the file system does not.
      if (wrote >= 0 || (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS)) return wrote;
      bulk_writes_work = false;
    }
    return ::pwrite(fd, bytes.data() + at, size, position);
  });
  return all_written(std::move(done), bytes.size(), path);
}

Result<Bytes> read_file(const std::string& path, uint64_t limit) {
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY));
  TRY_ASSIGN(FileInfo info, stat_fd(fd.get(), path));
  Bytes content;
  size_t expected = static_cast<size_t>(std::min<uint64_t>(info.size, limit));
  while (true) {
    // One byte more than expected, so that the end is seen without another round.
    size_t old = content.size();
    content.resize(std::max(expected, old + 4096) + 1);
    TRY_ASSIGN(size_t got, read_some(fd.get(), MutableBytes(content).subspan(old), path));
    bool ended = old + got < content.size();
    content.resize(old + got);
    if (content.size() > limit) {
      return make_error(ErrorKind::damaged, path, cat("file is larger than ", limit, " bytes"));
    }
    if (ended) return content;
  }
}

Result<std::string> read_text(const std::string& path, uint64_t limit) {
  TRY_ASSIGN(Bytes content, read_file(path, limit));
  return std::string(as_text(content));
}

Status fsync_file(int fd, std::string_view path) {
  if (retry([&] { return ::fsync(fd); }) != 0) return last_error(path, "fsync");
  return {};
}

void start_writeback(int fd, uint64_t offset, uint64_t length) {
  (void)::sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(length), SYNC_FILE_RANGE_WRITE);
}

Status fsync_dir(const std::string& path) {
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY | O_DIRECTORY));
  if (retry([&] { return ::fsync(fd.get()); }) != 0 && errno != EINVAL) return last_error(path, "fsync");
  return {};
}

namespace {

// Writes a temporary file beside `path`, durable but for its name; `name` gives it that.
struct FileIdentity {
  mode_t mode = 0;
  std::optional<std::pair<uid_t, gid_t>> owner;  // nullopt: whoever writes
};
Status write_then_name(const std::string& path, ByteView content, const FileIdentity& as,
                       const std::function<Status(const std::string& temporary)>& name) {
  std::string directory = parent_path(path);
  std::string temporary = join_path(directory, temporary_name());
  TRY_ASSIGN(Fd fd, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600));
  auto write = [&]() -> Status {
    if (as.owner && ::fchown(fd.get(), as.owner->first, as.owner->second) != 0)
      return last_error(temporary, "set the owner of");
    if (::fchmod(fd.get(), as.mode) != 0) return last_error(temporary, "set the mode of");
    TRY(write_all(fd.get(), content, temporary));
    TRY(fsync_file(fd.get(), temporary));
    TRY(fd.close(temporary));
    uint64_t point = fault::point("file.rename");
    TRY(name(temporary));
    fault::passed(point);
    return {};
  };
  if (Status written = write(); !written) {
    ::unlink(temporary.c_str());
    return written;
  }
  return fsync_dir(directory);
}

Status replace_by(const std::string& temporary, const std::string& path) {
  if (::rename(temporary.c_str(), path.c_str()) != 0) return last_error(path, "rename to");
  return {};
}

}  // namespace

Status write_file_durable(const std::string& path, ByteView content, mode_t mode) {
  return write_then_name(path, content, {mode, std::nullopt},
                         [&](const std::string& temporary) { return replace_by(temporary, path); });
}

Status rewrite_file_durable(const std::string& path, ByteView content) {
  TRY_ASSIGN(FileInfo there, stat_path(path));
  return write_then_name(path, content, {there.mode, std::pair(there.uid, there.gid)},
                         [&](const std::string& temporary) { return replace_by(temporary, path); });
}

Status create_file_durable(const std::string& path, ByteView content, mode_t mode) {
  return write_then_name(path, content, {mode, std::nullopt}, [&](const std::string& temporary) -> Status {
    // Never replaces, unlike rename(2), and works on NFS, where renameat2(RENAME_NOREPLACE) does not.
    if (::link(temporary.c_str(), path.c_str()) != 0) {
      if (errno == EEXIST) return make_error(ErrorKind::conflict, path, "a file is there already");
      return last_error(path, "create");
    }
    ::unlink(temporary.c_str());
    return {};
  });
}

Status create_dirs(const std::string& path, mode_t mode) {
  auto is_directory = [&]() -> Result<bool> {
    struct stat raw{};
    if (::stat(path.c_str(), &raw) != 0) {
      if (errno == ENOENT) return false;
      return last_error(path, "stat");
    }
    if (S_ISDIR(raw.st_mode)) return true;
    return make_error(ErrorKind::conflict, path, "is there already and is not a directory");
  };
  TRY_ASSIGN(bool there, is_directory());
  if (there) return {};
  std::string parent = parent_path(path);
  if (parent != path) TRY(create_dirs(parent, mode));
  uint64_t point = fault::point("file.mkdir");
  if (::mkdir(path.c_str(), mode) != 0) {
    if (errno != EEXIST) return last_error(path, "create directory");
    TRY_ASSIGN(bool made_by_another, is_directory());
    if (!made_by_another)
      return make_error(ErrorKind::conflict, path, "is a symbolic link that leads nowhere");
  }
  TRY(fsync_dir(parent));
  fault::passed(point);
  return {};
}

Status rename_durable(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return last_error(from, cat("rename to ", to));
  std::string old_parent = parent_path(from);
  std::string new_parent = parent_path(to);
  TRY(fsync_dir(new_parent));
  if (old_parent != new_parent) TRY(fsync_dir(old_parent));
  return {};
}

std::string temporary_name() {
  uint8_t random[8];
  CHECK(retry([&] { return ::getrandom(random, sizeof random, 0); }) == sizeof random);
  return cat(kTemporaryPrefix, to_hex(random));
}

bool is_temporary_name(std::string_view name) {
  return name.starts_with(kTemporaryPrefix);
}

Result<std::vector<DirEntry>> list_dir(const std::string& path) {
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY | O_DIRECTORY));
  TRY_ASSIGN(Directory dir, directory_of(std::move(fd), path));
  TRY_ASSIGN(auto entries, read_entries(dir.get(), path));
  std::sort(entries.begin(), entries.end(),
            [](const DirEntry& a, const DirEntry& b) { return a.name < b.name; });
  return entries;
}

Result<bool> find_in_dir(const std::string& path, const std::function<bool(const DirEntry&)>& each) {
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY | O_DIRECTORY));
  TRY_ASSIGN(Directory dir, directory_of(std::move(fd), path));
  return visit_entries(dir.get(), path, each);
}

Result<FileInfo> stat_path(const std::string& path) {
  struct stat raw{};
  if (::stat(path.c_str(), &raw) != 0) return last_error(path, "stat");
  return info_of(raw);
}

Result<FileInfo> lstat_path(const std::string& path) {
  struct stat raw{};
  if (::lstat(path.c_str(), &raw) != 0) return last_error(path, "stat");
  return info_of(raw);
}

Result<FileInfo> stat_fd(int fd, std::string_view path) {
  struct stat raw{};
  if (::fstat(fd, &raw) != 0) return last_error(path, "stat");
  return info_of(raw);
}

Result<bool> path_exists(const std::string& path) {
  struct stat raw{};
  if (::stat(path.c_str(), &raw) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return last_error(path, "stat");
}

Result<std::string> resolve_path(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) {
    if (errno == ENOENT) return path;
    return errno_error(errno, path, "resolve");
  }
  std::string text = resolved;
  std::free(resolved);
  return text;
}

Result<std::string> read_link(const std::string& path) {
  char target[PATH_MAX];
  ssize_t size = ::readlink(path.c_str(), target, sizeof target);
  if (size < 0) return last_error(path, "read link");
  return std::string(target, static_cast<size_t>(size));
}

Result<uint64_t> free_bytes(const std::string& path) {
  struct statvfs raw{};
  if (retry([&] { return ::statvfs(path.c_str(), &raw); }) != 0)
    return last_error(path, "ask for free space of");
  return static_cast<uint64_t>(raw.f_bavail) * raw.f_frsize;
}

Status remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return last_error(path, "remove");
  return {};
}

Status remove_tree(const std::string& path) {
  struct stat raw{};
  if (::lstat(path.c_str(), &raw) != 0) {
    if (errno == ENOENT) return {};
    return last_error(path, "stat");
  }
  if (!S_ISDIR(raw.st_mode)) return remove_file(path);
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  TRY(remove_below(std::move(fd), path));
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return last_error(path, "remove");
  return {};
}

Result<TempDir> TempDir::make(std::string_view prefix) {
  const char* base = std::getenv("TMPDIR");
  std::string path = join_path(base != nullptr && *base != '\0' ? base : "/tmp", cat(prefix, "-XXXXXX"));
  if (::mkdtemp(path.data()) == nullptr) return last_error(path, "create directory");
  return TempDir(std::move(path));
}

TempDir::~TempDir() {
  if (path_.empty()) return;
  // A destructor cannot report; a leftover below /tmp is told, and nothing depends on it.
  if (Status removed = remove_tree(path_); !removed) {
    std::fprintf(stderr, "lifeboat: %s\n", removed.error().to_string().c_str());
  }
}

}  // namespace lifeboat
