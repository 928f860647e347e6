#include "storage/file/file_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "storage/names.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::storage {

namespace {

// Readable for the group as PostgreSQL's own tools allow it, closed to others; the umask may take more away.
constexpr mode_t kFileMode = 0640;
constexpr mode_t kDirectoryMode = 0750;
constexpr size_t kBufferSize = 256 * 1024;
// The kernel is told to start writing after this much, so that the fsync at the end finds little left to do.
constexpr uint64_t kWriteBackStep = 8 << 20;

Error last_error(std::string_view path, std::string_view what) {
  return errno_error(errno, std::string(path), what);
}

}  // namespace

// --- writing
// -----------------------------------------------------------------------------------------------------

class FileWriter : public ObjectWriter {
 public:
  FileWriter(FileStore& store, std::string target, std::string temporary, Fd fd)
      : store_(store), target_(std::move(target)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}
  ~FileWriter() override { discard(); }

  Status append(ByteView bytes) override {
    if (bytes.size() < kBufferSize - buffer_.size()) {
      if (buffer_.capacity() < kBufferSize) buffer_.reserve(kBufferSize);
      buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
      return {};
    }
    TRY(flush());
    if (bytes.size() >= kBufferSize) return write(bytes);
    return append(bytes);
  }

  Status sync() override {
    TRY(flush());
    if (synced_) return {};
    uint64_t point = fault::point("store.sync");
    TRY(fsync_file(fd_.get(), temporary_));
    fault::passed(point);
    synced_ = true;
    return {};
  }

  Status commit() override {
    Status done = finish();
    discard();
    return done;
  }

 private:
  Status finish() {
    TRY(sync());

    uint64_t point = fault::point("store.commit");
    TRY(publish());
    fault::passed(point);

    point = fault::point("store.commit.sync");
    if (Status synced = fsync_dir(parent_path(target_)); !synced) {
      ::unlink(target_.c_str());  // not promised to anybody yet
      return synced;
    }
    fault::passed(point);
    return {};  // fsync has reported what close could
  }

  Status flush() {
    if (buffer_.empty()) return {};
    TRY(write(buffer_));
    buffer_.clear();
    return {};
  }

  Status write(ByteView bytes) {
    uint64_t point = fault::point("store.append");
    TRY(write_all(fd_.get(), bytes, temporary_));
    fault::passed(point);
    synced_ = false;
    written_ += bytes.size();
    if (written_ - started_ >= kWriteBackStep) {
      start_writeback(fd_.get(), started_, written_ - started_);
      started_ = written_;
    }
    return {};
  }

  Status publish() {
    if (!store_.use_link_) {
      if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_NOREPLACE) == 0) {
        temporary_.clear();
        return {};
      }
      if (errno == EEXIST) return conflict();
      if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return last_error(target_, "create");
      store_.use_link_ = true;
    }
    if (::link(temporary_.c_str(), target_.c_str()) != 0) {
      if (errno != EEXIST) {
        int error = errno;
        if (error == EPERM || error == EOPNOTSUPP || error == ENOSYS) {
          return make_error(ErrorKind::unsupported, target_,
                            "the file system can neither link nor rename without replacing")
              .with_cause(errno_error(error, "", "").cause);
        }
        return errno_error(error, target_, "create");
      }
      // NFS may repeat a request whose answer was lost and then report the success of the first as EEXIST.
      struct stat raw{};
      if (::fstat(fd_.get(), &raw) != 0 || raw.st_nlink != 2) return conflict();
    }
    if (::unlink(temporary_.c_str()) == 0) temporary_.clear();  // else discard() tries again
    return {};
  }

  Error conflict() const {
    return make_error(ErrorKind::conflict, target_, "an object of this name is there already");
  }

  void discard() {
    fd_ = Fd();
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  FileStore& store_;
  std::string target_;
  std::string temporary_;  // empty once there is nothing to remove
  Fd fd_;
  Bytes buffer_;
  uint64_t written_ = 0;
  uint64_t started_ = 0;  // write-back was asked for up to here
  bool synced_ = false;   // nothing was written since the last fsync
};

// --- reading
// -----------------------------------------------------------------------------------------------------

namespace {

class FileReader : public ObjectReader {
 public:
  FileReader(std::string path, Fd fd, uint64_t size)
      : path_(std::move(path)), fd_(std::move(fd)), size_(size) {}

  uint64_t size() const override { return size_; }

  Status read_at(uint64_t offset, MutableBytes out) override {
    if (offset > size_ || out.size() > size_ - offset) {
      return make_error(
          ErrorKind::damaged, path_,
          cat("object has ", size_, " bytes, expected at least ", out.size(), " at offset ", offset));
    }
    return pread_exact(fd_.get(), offset, out, path_);
  }

 private:
  std::string path_;
  Fd fd_;
  uint64_t size_;
};

}  // namespace

// --- the store
// ---------------------------------------------------------------------------------------------------

Result<std::unique_ptr<FileStore>> FileStore::open_root(std::string root, StoreMode mode, Publish publish) {
  while (root.size() > 1 && root.ends_with('/')) root.pop_back();
  if (!root.starts_with('/')) {
    return make_error(ErrorKind::config, root, "the directory of a store must be an absolute path");
  }
  std::unique_ptr<FileStore> store(new FileStore(std::move(root), publish));
  if (mode == StoreMode::create_missing) {
    TRY_ASSIGN(bool there, path_exists(store->root_));
    if (!there) TRY(create_dirs(store->root_, kDirectoryMode));
  }
  TRY(store->check_root());
  return store;
}

std::string FileStore::url() const {
  return cat("file://", root_);
}

std::string FileStore::path_of(std::string_view name) const {
  return join_path(root_, name);
}

Status FileStore::check_root() const {
  auto info = stat_path(root_);
  if (!info) {
    if (info.error().kind != ErrorKind::not_found) return std::move(info).error();
    return make_error(ErrorKind::unavailable, root_, "the directory of the store does not exist")
        .with_hint("check the path, and whether its file system is mounted");
  }
  if (info->kind != FileKind::directory) {
    return make_error(ErrorKind::config, root_, "the store must be a directory and is not one")
        .with_hint("name the directory of the repository");
  }
  return {};
}

Error FileStore::certain(Error error) const {
  if (error.kind == ErrorKind::not_found) {
    if (Status root = check_root(); !root) return std::move(root).error();
  }
  return error;
}

Result<std::unique_ptr<ObjectWriter>> FileStore::create(std::string_view name) {
  TRY(check_name(name));
  std::string target = path_of(name);
  std::string directory = parent_path(target);
  std::string temporary = join_path(directory, temporary_name());
  uint64_t point = fault::point("store.create");
  auto fd = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, kFileMode);
  if (!fd && fd.error().kind == ErrorKind::not_found) {
    TRY(check_root());
    TRY(create_dirs(directory, kDirectoryMode));
    fd = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, kFileMode);
  }
  if (!fd) return std::move(fd).error();
  fault::passed(point);
  return std::unique_ptr<ObjectWriter>(
      std::make_unique<FileWriter>(*this, std::move(target), std::move(temporary), std::move(*fd)));
}

Result<std::unique_ptr<ObjectReader>> FileStore::open(std::string_view name) {
  TRY(check_name(name));
  std::string path = path_of(name);
  auto fd = open_file(path, O_RDONLY);
  if (!fd) return certain(std::move(fd).error());
  TRY_ASSIGN(FileInfo info, stat_fd(fd->get(), path));
  if (info.kind != FileKind::regular) {
    return make_error(ErrorKind::not_found, std::move(path), "not an object but a directory or special file");
  }
  return std::unique_ptr<ObjectReader>(
      std::make_unique<FileReader>(std::move(path), std::move(*fd), info.size));
}

namespace {

// Full names order '/' among other characters ("a-b" < "a/c" < "a.d"), so a directory is compared with its
// slash.
struct Node {
  std::string name;  // with a trailing '/' when it is a directory
  bool is_directory() const { return name.ends_with('/'); }
};

Result<std::vector<Node>> nodes_in(const std::string& path) {
  auto entries = list_dir(path);
  if (!entries) {
    if (entries.error().kind == ErrorKind::not_found) return std::vector<Node>{};
    return std::move(entries).error();
  }
  std::vector<Node> nodes;
  for (DirEntry& entry : *entries) {
    FileKind kind = entry.kind;
    if (kind == FileKind::symlink) {  // part of a store may have been moved to another disk
      auto target = stat_path(join_path(path, entry.name));
      kind = target ? target->kind : FileKind::other;
    }
    if (kind == FileKind::directory) {
      nodes.push_back({entry.name + '/'});
    } else if (kind == FileKind::regular) {
      nodes.push_back({std::move(entry.name)});
    }
  }
  std::sort(nodes.begin(), nodes.end(), [](const Node& a, const Node& b) { return a.name < b.name; });
  return nodes;
}

// Walks the objects below `directory` (root of the store and a name that ends in '/' or is empty) whose first
// element begins with `start`. Memory: the names of one directory per level.
class Lister {
 public:
  Lister(const std::string& root, const std::function<Status(const ObjectInfo&)>& each)
      : root_(root), each_(each) {}

  Status walk(const std::string& directory, std::string_view start) {
    // A symbolic link to a directory above itself would make names without end.
    if (directory.size() > kLongestName) return {};
    TRY_ASSIGN(auto nodes, nodes_in(join_path(root_, directory)));
    for (const Node& node : nodes) {
      if (!node.name.starts_with(start)) continue;
      std::string_view element = node.name;
      if (node.is_directory()) element.remove_suffix(1);
      if (!valid_element(element)) continue;  // temporary, or nothing of ours: lost+found
      std::string name = directory + node.name;
      if (node.is_directory()) {
        TRY(walk(name, ""));
      } else {
        TRY(report(name));
      }
    }
    return {};
  }

 private:
  Status report(const std::string& name) {
    auto info = stat_path(join_path(root_, name));
    if (!info) {
      if (info.error().kind == ErrorKind::not_found) return {};  // removed meanwhile
      return std::move(info).error();
    }
    return each_({name, info->size, Timestamp{info->modified_us}});
  }

  const std::string& root_;
  const std::function<Status(const ObjectInfo&)>& each_;
};

// Whether any object is below a directory; one that vanished has none.
Result<bool> has_object(const std::string& path, size_t depth) {
  if (depth > kLongestName / 2) return false;  // a symbolic link to a directory above itself
  std::vector<std::string> below;
  auto found = find_in_dir(path, [&](const DirEntry& entry) {
    if (!valid_element(entry.name)) return false;
    if (entry.kind == FileKind::regular) return true;
    if (entry.kind != FileKind::other) below.push_back(join_path(path, entry.name));
    return false;
  });
  if (!found && found.error().kind == ErrorKind::not_found) return false;
  if (!found || *found) return found;
  for (const std::string& entry : below) {
    auto info = stat_path(entry);
    if (!info) continue;  // vanished, or a dangling link
    if (info->kind == FileKind::regular) return true;
    if (info->kind != FileKind::directory) continue;
    TRY_ASSIGN(bool deeper, has_object(entry, depth + 1));
    if (deeper) return true;
  }
  return false;
}

Result<uint64_t> remove_temporary_below(const std::string& path, Timestamp older_than) {
  TRY_ASSIGN(auto nodes, nodes_in(path));
  uint64_t removed = 0;
  for (const Node& node : nodes) {
    std::string full = join_path(path, node.name);
    if (node.is_directory()) {
      full.pop_back();
      auto link = lstat_path(full);
      if (!link || link->kind != FileKind::directory) continue;  // leave what lies behind links alone
      TRY_ASSIGN(uint64_t below, remove_temporary_below(full, older_than));
      removed += below;
    } else if (is_temporary_name(node.name)) {
      auto info = lstat_path(full);
      if (!info || info->modified_us >= older_than.unix_us) continue;
      uint64_t point = fault::point("store.remove_unfinished");
      TRY(remove_file(full));
      fault::passed(point);
      ++removed;
    }
  }
  return removed;
}

}  // namespace

Status FileStore::list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) {
  TRY(check_prefix(prefix));
  TRY(check_root());
  size_t slash = prefix.rfind('/');
  size_t directory = slash == std::string_view::npos ? 0 : slash + 1;
  return Lister(root_, each).walk(std::string(prefix.substr(0, directory)), prefix.substr(directory));
}

Result<std::vector<std::string>> FileStore::list_dirs(std::string_view prefix) {
  TRY(check_directory_prefix(prefix));
  TRY(check_root());
  std::string path = path_of(prefix);
  TRY_ASSIGN(auto nodes, nodes_in(path));
  std::vector<std::string> names;
  for (Node& node : nodes) {
    if (!node.is_directory()) continue;
    node.name.pop_back();
    if (!valid_element(node.name)) continue;
    TRY_ASSIGN(bool used, has_object(join_path(path, node.name), 0));
    if (used) names.push_back(std::move(node.name));
  }
  std::sort(names.begin(), names.end());  // "a-b/" comes before "a/", but "a" before "a-b"
  return names;
}

Status FileStore::confirm(std::string_view name) {
  TRY(check_name(name));
  std::string path = path_of(name);
  uint64_t point = fault::point("store.confirm");
  auto there = stat_path(path);
  if (!there) return certain(std::move(there).error());
  // Its content was synced before it got its name.
  TRY(fsync_dir(parent_path(path)));
  fault::passed(point);
  return {};
}

Status FileStore::remove(std::string_view name) {
  TRY(check_name(name));
  std::string path = path_of(name);
  uint64_t point = fault::point("store.remove");
  bool gone = ::unlink(path.c_str()) == 0;
  if (!gone && errno != ENOENT && errno != ENOTDIR && errno != EISDIR) return last_error(path, "remove");
  if (!gone) TRY(check_root());
  // Also when it was not there: perhaps an earlier attempt removed it and could not sync.
  Status synced = fsync_dir(parent_path(path));
  if (!synced && (gone || synced.error().kind != ErrorKind::not_found)) return synced;
  fault::passed(point);
  return {};
}

Result<Timestamp> FileStore::now() {
  // Setting the time of the root to "now" needs neither space nor a name, and costs no directory change to
  // sync.
  if (::utimensat(AT_FDCWD, root_.c_str(), nullptr, 0) != 0) {
    // Readers have no right to it, and expiry must go on when a disk is too full even for this (btrfs).
    bool refused = errno == EROFS || errno == EACCES || errno == EPERM || errno == ENOSPC || errno == EDQUOT;
    if (refused) return Timestamp{Clock::system().unix_us()};
    return certain(last_error(root_, "read the clock of"));
  }
  auto info = stat_path(root_);
  if (!info) return certain(std::move(info).error());
  return Timestamp{info->modified_us};
}

Result<uint64_t> FileStore::remove_unfinished(Timestamp older_than) {
  TRY(check_root());
  return remove_temporary_below(root_, older_than);
}

}  // namespace lifeboat::storage
