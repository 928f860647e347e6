// Files and directories of this host: descriptors, whole reads and writes, durable creation, listings.
//
// Every call repeats when a signal interrupts it (EINTR). Errors come from errno_error with the path as
// object: not_found, permission, space, conflict, unavailable (EIO), failed; others are named at the
// function. Thread rule: the functions may be called by many threads; an Fd belongs to one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat {

// Owns a file descriptor. The destructor closes without looking; who has written asks close() for the error
// that a network file system may report only then.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }
  Status close(std::string_view path);

 private:
  int fd_ = -1;
};

// --- paths
// -----------------------------------------------------------------------------------------------------
std::string join_path(std::string_view directory, std::string_view name);  // one '/' between
std::string parent_path(std::string_view path);                            // "." and "/" at the ends
std::string_view base_name(std::string_view path);

// --- reading and writing
// --------------------------------------------------------------------------------------- open(2) with
// O_CLOEXEC.
Result<Fd> open_file(const std::string& path, int flags, mode_t mode = 0);

// Reads until `out` is full or the file ends; returns how many bytes.
Result<size_t> read_some(int fd, MutableBytes out, std::string_view path);
Result<size_t> pread_some(int fd, uint64_t offset, MutableBytes out, std::string_view path);
// The same, but a file that ends early is `damaged`.
Status read_exact(int fd, MutableBytes out, std::string_view path);
Status pread_exact(int fd, uint64_t offset, MutableBytes out, std::string_view path);
Status write_all(int fd, ByteView bytes, std::string_view path);
Status pwrite_all(int fd, uint64_t offset, ByteView bytes, std::string_view path);
// The same for bulk: it begins to be written to disk at once and does not stay in the page cache, where the
// kernel can do that (RWF_DONTCACHE, Linux 6.14: include/uapi/linux/fs.h); elsewhere it is an ordinary write.
// Nothing is durable before an fsync.
Status pwrite_bulk(int fd, uint64_t offset, ByteView bytes, std::string_view path);

// The whole file, which may be one that grows or has no size (/proc); more than `limit` bytes is `damaged`.
Result<Bytes> read_file(const std::string& path, uint64_t limit);
Result<std::string> read_text(const std::string& path, uint64_t limit);

// --- durability
// ------------------------------------------------------------------------------------------------
Status fsync_file(int fd, std::string_view path);
// Tells the kernel to begin writing this range to disk, so that a later fsync finds little left to do. Only
// an early start: what goes wrong here, fsync reports.
void start_writeback(int fd, uint64_t offset, uint64_t length);
// Makes names made, removed or renamed in a directory survive a power cut. File systems that cannot sync
// directories (EINVAL) count as done.
Status fsync_dir(const std::string& path);
// Replaces or creates `path` so that after a crash it holds all of the old or all of the new content:
// temporary file in the same directory, fsync, rename, fsync of the directory. `mode` is set exactly,
// whatever the umask.
Status write_file_durable(const std::string& path, ByteView content, mode_t mode);
// The same for a file that is there, whose mode and owner stay. Errors: not_found.
Status rewrite_file_durable(const std::string& path, ByteView content);
// The same for a name that nobody has yet: `conflict` when something is there. Of several processes one
// succeeds.
Status create_file_durable(const std::string& path, ByteView content, mode_t mode);
// Creates a directory and its missing parents, each durable. One that is there already is success.
Status create_dirs(const std::string& path, mode_t mode = 0750);
Status rename_durable(const std::string& from, const std::string& to);  // fsyncs the parent of both

// ".tmp-" and 16 random hex digits: how all our temporary files are called.
std::string temporary_name();
bool is_temporary_name(std::string_view name);  // of one path element (T38)

// --- looking
// -----------------------------------------------------------------------------------------------------
enum class FileKind : uint8_t { regular, directory, symlink, other };

struct DirEntry {
  std::string name;
  FileKind kind = FileKind::other;
};
// Sorted by bytes of the name, without "." and "..". An entry that vanishes meanwhile may be left out.
Result<std::vector<DirEntry>> list_dir(const std::string& path);
// Visits the entries in the order of the file system until `each` returns true; false when it never did.
Result<bool> find_in_dir(const std::string& path, const std::function<bool(const DirEntry&)>& each);

struct FileInfo {
  FileKind kind = FileKind::other;
  uint64_t size = 0;
  uint64_t allocated = 0;  // bytes on disk
  uint64_t device = 0;
  uint64_t inode = 0;
  uint32_t mode = 0;  // permission bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t modified_us = 0;  // since 1970 UTC
};
Result<FileInfo> stat_path(const std::string& path);   // follows symbolic links
Result<FileInfo> lstat_path(const std::string& path);  // does not
Result<FileInfo> stat_fd(int fd, std::string_view path);
Result<bool> path_exists(const std::string& path);  // follows symbolic links
Result<std::string> read_link(const std::string& path);
// The path without symbolic links; one that does not exist is returned as it is.
Result<std::string> resolve_path(const std::string& path);
Result<uint64_t> free_bytes(const std::string& path);  // for unprivileged users, on the file system of `path`

// --- removing
// ----------------------------------------------------------------------------------------------------
Status remove_file(const std::string& path);  // one that is not there is success
// Removes a file or a directory with all below it; symbolic links are removed, not followed. Not there is
// success.
Status remove_tree(const std::string& path);

// A new empty directory below $TMPDIR or /tmp, removed with all its content on destruction. For tests and
// scratch.
class TempDir {
 public:
  static Result<TempDir> make(std::string_view prefix = "lifeboat");
  TempDir(TempDir&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  TempDir& operator=(TempDir&&) = delete;
  ~TempDir();
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return join_path(path_, name); }

 private:
  explicit TempDir(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace lifeboat
