#include "ops/mount/fuse_server.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <type_traits>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint32_t kMostData = 1 << 20;            // of one read or write
constexpr size_t kRequestRoom = kMostData + 4096;  // headers before the data of a write
constexpr uint64_t kForeverSeconds = 3600;         // how long the kernel may believe what it was told
constexpr uint16_t kBackground = 64;               // requests of the kernel's read-ahead under way
constexpr uint32_t kLeastMinor = 31;               // Linux 5.4

// What the flags of open(2) mean below: the kernel has made a file, cut it and found the end for O_APPEND
// itself, and pages are ours to align.
int own_flags(int flags) {
  return flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECT | O_NOCTTY | O_NONBLOCK);
}

int errno_of(const Error& error) {
  switch (error.kind) {
    case ErrorKind::space:
      return ENOSPC;
    default:
      return EIO;
  }
}

fuse_attr to_attr(const struct stat& status) {
  fuse_attr attr{};
  attr.ino = status.st_ino;
  attr.size = static_cast<uint64_t>(status.st_size);
  attr.blocks = static_cast<uint64_t>(status.st_blocks);
  attr.atime = static_cast<uint64_t>(status.st_atim.tv_sec);
  attr.mtime = static_cast<uint64_t>(status.st_mtim.tv_sec);
  attr.ctime = static_cast<uint64_t>(status.st_ctim.tv_sec);
  attr.atimensec = static_cast<uint32_t>(status.st_atim.tv_nsec);
  attr.mtimensec = static_cast<uint32_t>(status.st_mtim.tv_nsec);
  attr.ctimensec = static_cast<uint32_t>(status.st_ctim.tv_nsec);
  attr.mode = status.st_mode;
  attr.nlink = static_cast<uint32_t>(status.st_nlink);
  attr.uid = status.st_uid;
  attr.gid = status.st_gid;
  attr.rdev = static_cast<uint32_t>(status.st_rdev);
  attr.blksize = static_cast<uint32_t>(status.st_blksize);
  return attr;
}

const char* or_dot(const std::string& path) {
  return path.empty() ? "." : path.c_str();
}

// A directory that is being listed.
struct Listing {
  explicit Listing(DIR* stream) : directory(stream) {}
  Listing(const Listing&) = delete;
  Listing& operator=(const Listing&) = delete;
  ~Listing() { closedir(directory); }
  DIR* directory;
  std::mutex mutex;
  long at = 0;
};

struct RequestBuffer {
  std::unique_ptr<uint8_t[]> bytes = std::make_unique_for_overwrite<uint8_t[]>(kRequestRoom);
  size_t size = 0;
};

// One request, taken apart.
struct Request {
  fuse_in_header header{};
  ByteView body;
  FetchHands* hands = nullptr;  // on a thread of the fetch pool
};

// The body's head as one of the kernel's structs, zeros where an older kernel's is shorter.
template <typename T>
T body_of(const Request& request) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  std::memcpy(&value, request.body.data(), std::min(sizeof value, request.body.size()));
  return value;
}

// A name that begins `from` bytes into the body; "" when there is none.
std::string_view name_at(const Request& request, size_t from) {
  if (from >= request.body.size()) return "";
  std::string_view rest = as_text(request.body.subspan(from));
  return rest.substr(0, rest.find('\0'));
}

enum class Handled : uint8_t { yes, needs_hands };

}  // namespace

class FuseServer::Impl {
 public:
  Impl(Fd device, Fd root, TreeKind kind, MountEngine& engine, std::atomic<bool>& ended,
       std::atomic<bool>& initialised)
      : device_(std::move(device)),
        root_(std::move(root)),
        kind_(kind),
        engine_(engine),
        ended_(ended),
        initialised_(initialised) {}

  void start(int count) {
    for (int i = 0; i < count; ++i) threads_.emplace_back([this] { serve(); });
  }

  void join() {
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  // --- requests and answers
  void serve() {
    auto buffer = std::make_shared<RequestBuffer>();
    for (;;) {
      ssize_t size = read(device_.get(), buffer->bytes.get(), kRequestRoom);
      if (size < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) continue;
      if (size < static_cast<ssize_t>(sizeof(fuse_in_header))) break;  // ENODEV: unmounted
      buffer->size = static_cast<size_t>(size);
      if (handle(*buffer, nullptr) == Handled::yes) continue;
      engine_.pool.submit_first([this, buffer](FetchHands& hands) { (void)handle(*buffer, &hands); });
      buffer = std::make_shared<RequestBuffer>();
    }
    ended_ = true;
  }

  Handled handle(const RequestBuffer& buffer, FetchHands* hands) {
    Request request;
    std::memcpy(&request.header, buffer.bytes.get(), sizeof request.header);
    request.body = ByteView(buffer.bytes.get(), buffer.size).subspan(sizeof request.header);
    request.hands = hands;
    return dispatch(request);
  }

  void answer(const Request& request, int error, std::initializer_list<ByteView> parts = {}) const {
    fuse_out_header header{};
    header.unique = request.header.unique;
    header.error = -error;
    std::array<iovec, 4> vectors{};
    vectors[0] = {&header, sizeof header};
    int count = 1;
    size_t size = sizeof header;
    for (ByteView part : parts) {
      vectors[static_cast<size_t>(count++)] = {const_cast<uint8_t*>(part.data()), part.size()};
      size += part.size();
    }
    header.len = static_cast<uint32_t>(size);
    // ENOENT: the request was interrupted; ENODEV: the tree was unmounted. Nobody waits in either case.
    (void)!writev(device_.get(), vectors.data(), count);
  }

  template <typename T>
  void answer_with(const Request& request, const T& value) const {
    answer(request, 0, {ByteView(reinterpret_cast<const uint8_t*>(&value), sizeof value)});
  }

  void answer_errno(const Request& request, int result) const { answer(request, result == 0 ? 0 : errno); }

  void fail(const Request& request, const Error& error) const {
    engine_.failed(error);
    answer(request, errno_of(error));
  }

  Handled dispatch(const Request& request) {
    switch (request.header.opcode) {
      case FUSE_INIT:
        init(request);
        break;
      case FUSE_DESTROY:
        answer(request, 0);
        break;
      case FUSE_LOOKUP:
        look_up(request);
        break;
      case FUSE_FORGET:
        nodes_.forget(request.header.nodeid, body_of<fuse_forget_in>(request).nlookup);
        break;
      case FUSE_BATCH_FORGET:
        forget_many(request);
        break;
      case FUSE_GETATTR:
        get_attributes(request);
        break;
      case FUSE_SETATTR:
        return set_attributes(request);
      case FUSE_READLINK:
        read_link(request);
        break;
      case FUSE_SYMLINK:
        make_symlink(request);
        break;
      case FUSE_MKNOD:
        make_node(request);
        break;
      case FUSE_MKDIR:
        make_directory(request);
        break;
      case FUSE_UNLINK:
        remove(request, 0);
        break;
      case FUSE_RMDIR:
        remove(request, AT_REMOVEDIR);
        break;
      case FUSE_RENAME: {
        auto in = body_of<fuse_rename_in>(request);
        rename(request, in.newdir, 0, sizeof in);
        break;
      }
      case FUSE_RENAME2: {
        auto in = body_of<fuse_rename2_in>(request);
        rename(request, in.newdir, in.flags, sizeof in);
        break;
      }
      case FUSE_LINK:
        link(request);
        break;
      case FUSE_OPEN:
        open(request);
        break;
      case FUSE_CREATE:
        return create(request);
      case FUSE_READ:
        return read_file(request);
      case FUSE_WRITE:
        return write_file(request);
      case FUSE_FALLOCATE:
        return allocate(request);
      case FUSE_RELEASE:
        nodes_.closed(request.header.nodeid);
        answer(request, 0);
        break;
      case FUSE_FSYNC:
        sync(request);
        break;
      case FUSE_OPENDIR:
        open_directory(request);
        break;
      case FUSE_READDIR:
        read_directory(request);
        break;
      case FUSE_RELEASEDIR:
        close_directory(request);
        break;
      case FUSE_FSYNCDIR:
        sync_directory(request);
        break;
      case FUSE_STATFS:
        stat_file_system(request);
        break;
      case FUSE_SYNCFS:
        sync_all(request);
        break;
      case FUSE_INTERRUPT:
        break;  // no answer; what was interrupted is answered all the same
      default:
        // The kernel then does without: flush, extended attributes, locks (its own), lseek, copy_file_range.
        answer(request, ENOSYS);
    }
    return Handled::yes;
  }

  void init(const Request& request) {
    auto in = body_of<fuse_init_in>(request);
    if (in.major != FUSE_KERNEL_VERSION || in.minor < kLeastMinor) {
      engine_.failed(make_error(ErrorKind::unsupported, "/dev/fuse",
                                cat("the kernel speaks FUSE ", in.major, ".", in.minor, ", at least 7.",
                                    kLeastMinor, " is needed")));
      return answer(request, EPROTO);
    }
    fuse_init_out out{};
    out.major = FUSE_KERNEL_VERSION;
    out.minor = FUSE_KERNEL_MINOR_VERSION;
    out.max_readahead = in.max_readahead;
    // No writeback cache: a write is in the file below when it returns. No atomic O_TRUNC: a truncation comes
    // as one.
    constexpr uint32_t kWanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS |
                                 FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA;
    out.flags = in.flags & kWanted;
    out.max_background = kBackground;
    out.congestion_threshold = kBackground * 3 / 4;
    out.max_write = kMostData;
    out.max_pages = static_cast<uint16_t>(kMostData / static_cast<uint32_t>(sysconf(_SC_PAGESIZE)));
    out.time_gran = 1;
    answer_with(request, out);
    initialised_ = true;
  }

  // --- names
  // The path below the mount of a name that the server uses; nullopt: there is no such name.
  std::optional<std::string> below(uint64_t directory, std::string_view shown, std::string& real) const {
    auto path = nodes_.path(directory);
    if (!path) return std::nullopt;
    auto name = real_name(kind_, *path, shown);
    if (!name) return std::nullopt;
    real = std::move(*name);
    return path->empty() ? real : cat(*path, "/", real);
  }

  // What the serving process writes itself; the kernel does not know of that.
  bool is_live(uint64_t directory, std::string_view name) const {
    return directory == NodeTable::kRoot && is_live(name);
  }
  bool is_live(std::string_view path) const {
    return kind_ == TreeKind::data_directory &&
           (path == kMountLog || path == kMountStatus || path == kInstantLog);
  }

  // Tells the kernel of a name that is there.
  fuse_entry_out entry_of(uint64_t directory, const std::string& real, const struct stat& status) {
    fuse_entry_out out{};
    out.nodeid = nodes_.remember(directory, real, {status.st_dev, status.st_ino});
    out.entry_valid = is_live(directory, real) ? 0 : kForeverSeconds;
    out.attr_valid = out.entry_valid;
    out.attr = to_attr(status);
    return out;
  }

  void look_up(const Request& request) {
    std::shared_lock lock(names_);
    std::string real;
    struct stat status{};
    auto path = below(request.header.nodeid, name_at(request, 0), real);
    if (path && fstatat(root_.get(), path->c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
      return answer_with(request, entry_of(request.header.nodeid, real, status));
    if (path && errno != ENOENT) return answer(request, errno);
    fuse_entry_out absent{};  // node 0: there is none, and that may be remembered
    absent.entry_valid = is_live(request.header.nodeid, name_at(request, 0)) ? 0 : kForeverSeconds;
    answer_with(request, absent);
  }

  void forget_many(const Request& request) {
    auto head = body_of<fuse_batch_forget_in>(request);
    ByteView rest = request.body.subspan(std::min(sizeof head, request.body.size()));
    for (uint32_t i = 0; i < head.count && rest.size() >= sizeof(fuse_forget_one); ++i) {
      fuse_forget_one one{};
      std::memcpy(&one, rest.data(), sizeof one);
      nodes_.forget(one.nodeid, one.nlookup);
      rest = rest.subspan(sizeof one);
    }
  }

  // Of a node by its descriptor or name: 0 or an errno.
  int status_of(uint64_t node, struct stat& status) const {
    if (auto open = nodes_.open_node(node)) return fstat(open->fd.get(), &status) == 0 ? 0 : errno;
    auto path = nodes_.path(node);
    if (!path) return ENOENT;
    return fstatat(root_.get(), or_dot(*path), &status, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
  }

  void answer_attributes(const Request& request) {
    struct stat status{};
    if (int error = status_of(request.header.nodeid, status)) return answer(request, error);
    fuse_attr_out out{};
    auto path = nodes_.path(request.header.nodeid);
    out.attr_valid = path && is_live(*path) ? 0 : kForeverSeconds;
    out.attr = to_attr(status);
    answer_with(request, out);
  }

  void get_attributes(const Request& request) {
    std::shared_lock lock(names_);
    answer_attributes(request);
  }

  Handled set_attributes(const Request& request) {
    auto in = body_of<fuse_setattr_in>(request);
    std::shared_lock lock(names_);
    engine_.changed = true;
    auto open = nodes_.open_node(request.header.nodeid);
    auto path = nodes_.path(request.header.nodeid);
    if (!open && !path) return done(request, ENOENT);
    // By descriptor where there is one: the file may have no name any more.
    std::string self = open ? cat("/proc/self/fd/", open->fd.get()) : "";
    const int at = open ? AT_FDCWD : root_.get();
    const char* name = open ? self.c_str() : or_dot(*path);
    if ((in.valid & FATTR_SIZE) != 0) {
      std::shared_ptr<OpenNode> target = open;
      if (!target || !target->writable) {
        if (!path) return done(request, ENOENT);
        int error = 0;
        target = open_below(*path, O_RDWR, error);
        if (!target) return done(request, error);
      }
      auto outcome = truncate(*target, in.size, request.hands);
      if (!outcome) {
        fail(request, outcome.error());
        return Handled::yes;
      }
      if (*outcome == Outcome::needs_hands) return Handled::needs_hands;
    }
    if ((in.valid & FATTR_MODE) != 0 && fchmodat(at, name, in.mode & 07777, 0) != 0)
      return done(request, errno);
    if ((in.valid & (FATTR_UID | FATTR_GID)) != 0) {
      uid_t uid = (in.valid & FATTR_UID) != 0 ? in.uid : static_cast<uid_t>(-1);
      gid_t gid = (in.valid & FATTR_GID) != 0 ? in.gid : static_cast<gid_t>(-1);
      if (fchownat(at, name, uid, gid, open ? 0 : AT_SYMLINK_NOFOLLOW) != 0) return done(request, errno);
    }
    if ((in.valid & (FATTR_ATIME | FATTR_MTIME)) != 0) {
      auto time = [&](uint32_t given, uint32_t now, uint64_t seconds, uint32_t nanoseconds) {
        timespec spec{};
        spec.tv_nsec = UTIME_OMIT;
        if ((in.valid & now) != 0) {
          spec.tv_nsec = UTIME_NOW;
        } else if ((in.valid & given) != 0) {
          spec.tv_sec = static_cast<time_t>(seconds);
          spec.tv_nsec = nanoseconds;
        }
        return spec;
      };
      const timespec times[2] = {time(FATTR_ATIME, FATTR_ATIME_NOW, in.atime, in.atimensec),
                                 time(FATTR_MTIME, FATTR_MTIME_NOW, in.mtime, in.mtimensec)};
      if (utimensat(at, name, times, open ? 0 : AT_SYMLINK_NOFOLLOW) != 0) return done(request, errno);
    }
    answer_attributes(request);
    return Handled::yes;
  }

  Handled done(const Request& request, int error) const {
    answer(request, error);
    return Handled::yes;
  }

  void read_link(const Request& request) {
    std::shared_lock lock(names_);
    auto path = nodes_.path(request.header.nodeid);
    if (!path) return answer(request, ENOENT);
    std::array<char, PATH_MAX> target{};
    ssize_t size = readlinkat(root_.get(), or_dot(*path), target.data(), target.size());
    if (size < 0) return answer(request, errno);
    answer(request, 0, {as_bytes({target.data(), static_cast<size_t>(size)})});
  }

  // Makes something under a name and answers with it. `make` gets the path and returns 0 or -1 and errno.
  template <typename Make>
  void make(const Request& request, std::string_view shown, Make call) {
    std::shared_lock lock(names_);
    engine_.changed = true;
    std::string real;
    auto path = below(request.header.nodeid, shown, real);
    if (!path) return answer(request, EPERM);
    if (call(path->c_str()) != 0) return answer(request, errno);
    struct stat status{};
    if (fstatat(root_.get(), path->c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return answer(request, errno);
    answer_with(request, entry_of(request.header.nodeid, real, status));
  }

  void make_symlink(const Request& request) {
    std::string_view name = name_at(request, 0);
    std::string target(name_at(request, name.size() + 1));
    make(request, name, [&](const char* path) { return symlinkat(target.c_str(), root_.get(), path); });
  }

  void make_node(const Request& request) {
    auto in = body_of<fuse_mknod_in>(request);
    if (!S_ISREG(in.mode)) return answer(request, EPERM);
    make(request, name_at(request, sizeof in),
         [&](const char* path) { return mknodat(root_.get(), path, S_IFREG | (in.mode & 07777), 0); });
  }

  void make_directory(const Request& request) {
    auto in = body_of<fuse_mkdir_in>(request);
    make(request, name_at(request, sizeof in),
         [&](const char* path) { return mkdirat(root_.get(), path, in.mode & 07777); });
  }

  void link(const Request& request) {
    auto in = body_of<fuse_link_in>(request);
    std::unique_lock lock(names_);
    engine_.changed = true;
    std::string real;
    auto from = nodes_.path(in.oldnodeid);
    auto path = below(request.header.nodeid, name_at(request, sizeof in), real);
    if (!from) return answer(request, ENOENT);
    if (!path) return answer(request, EPERM);
    if (linkat(root_.get(), from->c_str(), root_.get(), path->c_str(), 0) != 0) return answer(request, errno);
    struct stat status{};
    if (fstatat(root_.get(), path->c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return answer(request, errno);
    answer_with(request, entry_of(request.header.nodeid, real, status));
  }

  // A name is about to go. Whether it is the last of its file, and whose.
  bool last_name(const char* path, struct stat& status) const {
    if (fstatat(root_.get(), path, &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
    return S_ISDIR(status.st_mode) || status.st_nlink <= 1;
  }

  void remove(const Request& request, int flags) {
    std::unique_lock lock(names_);
    engine_.changed = true;
    std::string real;
    auto path = below(request.header.nodeid, name_at(request, 0), real);
    if (!path) return answer(request, ENOENT);
    struct stat status{};
    bool last = last_name(path->c_str(), status);
    if (unlinkat(root_.get(), path->c_str(), flags) != 0) return answer(request, errno);
    nodes_.removed(request.header.nodeid, real, last);
    if (last) engine_.files.forget(status.st_dev, status.st_ino);
    answer(request, 0);
  }

  void rename(const Request& request, uint64_t new_directory, uint32_t flags, size_t names_at) {
    std::string_view name = name_at(request, names_at);
    std::string_view new_name = name_at(request, names_at + name.size() + 1);
    if ((flags & ~static_cast<uint32_t>(RENAME_NOREPLACE)) != 0) return answer(request, EINVAL);
    std::unique_lock lock(names_);
    engine_.changed = true;
    std::string real;
    std::string new_real;
    auto from = below(request.header.nodeid, name, real);
    auto to = below(new_directory, new_name, new_real);
    if (!from) return answer(request, ENOENT);
    if (!to) return answer(request, EPERM);
    struct stat replaced{};
    bool last = last_name(to->c_str(), replaced);
    if (renameat2(root_.get(), from->c_str(), root_.get(), to->c_str(), flags) != 0)
      return answer(request, errno);
    nodes_.removed(new_directory, new_real, last);
    nodes_.renamed(request.header.nodeid, real, new_directory, new_real);
    if (last) engine_.files.forget(replaced.st_dev, replaced.st_ino);
    answer(request, 0);
  }

  // --- files
  // A descriptor for reading and writing where the mode allows, with what the file has from the backup.
  std::shared_ptr<OpenNode> open_below(const std::string& path, int flags, int& error) const {
    auto node = std::make_shared<OpenNode>();
    const int more = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    int fd = openat(root_.get(), path.c_str(), O_RDWR | more);
    node->writable = fd >= 0;
    if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM) && (flags & O_ACCMODE) == O_RDONLY)
      fd = openat(root_.get(), path.c_str(), O_RDONLY | more);
    if (fd < 0) {
      error = errno;
      return nullptr;
    }
    node->fd = Fd(fd);
    if (!adopt(*node, path)) {
      error = EIO;
      return nullptr;
    }
    return node;
  }

  bool adopt(OpenNode& node, const std::string& path) const {
    node.control = kind_ == TreeKind::data_directory && path == cat("global/pg_control", kStagedSuffix);
    auto base = engine_.files.of(node.fd.get(), path, [&]() -> Result<Fd> {
      int own = openat(root_.get(), path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
      if (own < 0) return errno_error(errno, path, "open");
      return Fd(own);
    });
    if (!base) {
      engine_.failed(base.error());
      return false;
    }
    node.base = std::move(*base);
    return true;
  }

  // The kernel keeps what it has read: nobody else changes it. pg_control and what is live are read from us.
  static uint32_t keep(const OpenNode& node, bool live) {
    return node.control || live ? FOPEN_DIRECT_IO : FOPEN_KEEP_CACHE;
  }

  void open(const Request& request) {
    auto in = body_of<fuse_open_in>(request);
    const uint64_t id = request.header.nodeid;
    std::shared_lock lock(names_);
    const int flags = own_flags(static_cast<int>(in.flags));
    auto path = nodes_.path(id);
    auto node = nodes_.open_node(id);
    if (!node || (!node->writable && (flags & O_ACCMODE) != O_RDONLY)) {
      if (!path) return answer(request, ENOENT);
      int error = 0;
      node = open_below(*path, flags, error);
      if (!node) return answer(request, error);
    }
    node = nodes_.opened(id, node);
    if (!node) return answer(request, ENOENT);
    fuse_open_out out{};
    out.open_flags = keep(*node, path && is_live(*path));
    answer_with(request, out);
  }

  Handled create(const Request& request) {
    auto in = body_of<fuse_create_in>(request);
    std::shared_lock lock(names_);
    engine_.changed = true;
    std::string real;
    auto path = below(request.header.nodeid, name_at(request, sizeof in), real);
    if (!path) return done(request, EPERM);
    const int how = static_cast<int>(in.flags) & O_EXCL;
    int fd =
        openat(root_.get(), path->c_str(), O_RDWR | O_CREAT | how | O_NOFOLLOW | O_CLOEXEC, in.mode & 07777);
    if (fd < 0) return done(request, errno);
    auto fresh = std::make_shared<OpenNode>();
    fresh->fd = Fd(fd);
    fresh->writable = true;
    struct stat status{};
    if (!adopt(*fresh, *path)) return done(request, EIO);
    if ((static_cast<int>(in.flags) & O_TRUNC) != 0) {
      auto outcome = truncate(*fresh, 0, request.hands);
      if (!outcome) {
        fail(request, outcome.error());
        return Handled::yes;
      }
    }
    if (fstat(fd, &status) != 0) return done(request, errno);
    fuse_entry_out entry = entry_of(request.header.nodeid, real, status);
    auto node = nodes_.opened(entry.nodeid, std::move(fresh));
    fuse_open_out out{};
    if (node) out.open_flags = keep(*node, is_live(request.header.nodeid, real));
    answer(request, node ? 0 : ENOENT,
           {ByteView(reinterpret_cast<const uint8_t*>(&entry), sizeof entry),
            ByteView(reinterpret_cast<const uint8_t*>(&out), sizeof out)});
    return Handled::yes;
  }

  static Result<Outcome> truncate(const OpenNode& node, uint64_t size, FetchHands* hands) {
    if (node.base) return node.base->truncate(size, hands);
    if (ftruncate(node.fd.get(), static_cast<off_t>(size)) != 0) return errno_error(errno, "", "truncate");
    return Outcome::done;
  }

  Handled read_file(const Request& request) {
    auto in = body_of<fuse_read_in>(request);
    auto node = nodes_.open_node(request.header.nodeid);
    if (!node) return done(request, EBADF);
    // Every start of a server, and every restart of its own after a crash, begins by reading pg_control, and
    // relies on all files being durable then: it calls syncfs(2), which FUSE does not hand on.
    if (node->control && engine_.changed.exchange(false)) {
      if (Status synced = engine_.sync_all(); !synced) {
        engine_.changed = true;
        fail(request, synced.error());
        return Handled::yes;
      }
    }
    if (node->base) {
      if (!node->base->readable(in.offset, in.size)) {
        if (request.hands == nullptr) return Handled::needs_hands;
        if (Status ready = node->base->make_readable(in.offset, in.size, *request.hands); !ready) {
          fail(request, Error(ready.error()).within(node->base->path()));
          return Handled::yes;
        }
      }
      node->base->read_ahead(in.offset, in.size, engine_.pool);
    }
    static thread_local std::unique_ptr<uint8_t[]> room;
    if (!room) room = std::make_unique_for_overwrite<uint8_t[]>(kMostData);
    const size_t wanted = std::min<size_t>(in.size, kMostData);
    size_t have = 0;
    while (have < wanted) {
      ssize_t got =
          pread(node->fd.get(), room.get() + have, wanted - have, static_cast<off_t>(in.offset + have));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return done(request, errno);
      if (got == 0) break;
      have += static_cast<size_t>(got);
    }
    answer(request, 0, {ByteView(room.get(), have)});
    return Handled::yes;
  }

  Handled write_file(const Request& request) {
    auto in = body_of<fuse_write_in>(request);
    auto node = nodes_.open_node(request.header.nodeid);
    if (!node || !node->writable) return done(request, EBADF);
    if (request.body.size() < sizeof in + in.size) return done(request, EINVAL);
    engine_.changed = true;
    ByteView bytes = request.body.subspan(sizeof in, in.size);
    const int flags = (static_cast<int>(in.flags) & O_DSYNC) != 0 ? RWF_DSYNC : 0;
    if (node->base) {
      auto outcome = node->base->write(in.offset, bytes, flags, request.hands);
      if (!outcome) {
        fail(request, outcome.error());
        return Handled::yes;
      }
      if (*outcome == Outcome::needs_hands) return Handled::needs_hands;
    } else {
      size_t written = 0;
      while (written < bytes.size()) {
        iovec vector{const_cast<uint8_t*>(bytes.data() + written), bytes.size() - written};
        ssize_t now = pwritev2(node->fd.get(), &vector, 1, static_cast<off_t>(in.offset + written), flags);
        if (now < 0 && errno == EINTR) continue;
        if (now < 0) return done(request, errno);
        written += static_cast<size_t>(now);
      }
    }
    fuse_write_out out{};
    out.size = in.size;
    answer_with(request, out);
    return Handled::yes;
  }

  Handled allocate(const Request& request) {
    auto in = body_of<fuse_fallocate_in>(request);
    auto node = nodes_.open_node(request.header.nodeid);
    if (!node || !node->writable) return done(request, EBADF);
    engine_.changed = true;
    const int mode = static_cast<int>(in.mode);
    if (!node->base) {
      int result =
          fallocate(node->fd.get(), mode, static_cast<off_t>(in.offset), static_cast<off_t>(in.length));
      return done(request, result == 0 ? 0 : errno);
    }
    // A hole in a file of the backup would be taken for a block that is missing.
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) return done(request, EOPNOTSUPP);
    auto outcome = node->base->allocate(mode, in.offset, in.length, request.hands);
    if (!outcome) {
      fail(request, outcome.error());
      return Handled::yes;
    }
    if (*outcome == Outcome::needs_hands) return Handled::needs_hands;
    answer(request, 0);
    return Handled::yes;
  }

  void sync(const Request& request) {
    auto in = body_of<fuse_fsync_in>(request);
    auto node = nodes_.open_node(request.header.nodeid);
    if (!node) return answer(request, EBADF);
    bool data_only = (in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0;
    answer_errno(request, data_only ? fdatasync(node->fd.get()) : fsync(node->fd.get()));
  }

  // --- directories
  void open_directory(const Request& request) {
    std::shared_lock lock(names_);
    auto path = nodes_.path(request.header.nodeid);
    if (!path) return answer(request, ENOENT);
    int fd = openat(root_.get(), or_dot(*path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return answer(request, errno);
    DIR* stream = fdopendir(fd);
    if (stream == nullptr) {
      int error = errno;
      close(fd);
      return answer(request, error);
    }
    auto listing = std::make_shared<Listing>(stream);
    fuse_open_out out{};
    std::lock_guard listings(listings_mutex_);
    out.fh = next_listing_++;
    listings_.emplace(out.fh, std::move(listing));
    answer_with(request, out);
  }

  std::shared_ptr<Listing> listing(uint64_t handle) {
    std::lock_guard lock(listings_mutex_);
    auto found = listings_.find(handle);
    return found == listings_.end() ? nullptr : found->second;
  }

  void read_directory(const Request& request) {
    auto in = body_of<fuse_read_in>(request);
    auto list = listing(in.fh);
    if (!list) return answer(request, EBADF);
    std::string path;
    {
      std::shared_lock lock(names_);
      path = nodes_.path(request.header.nodeid).value_or("?");
    }
    std::lock_guard lock(list->mutex);
    if (static_cast<long>(in.offset) != list->at) {
      if (in.offset == 0) {
        rewinddir(list->directory);
      } else {
        seekdir(list->directory, static_cast<long>(in.offset));
      }
      list->at = static_cast<long>(in.offset);
    }
    Bytes out;
    for (;;) {
      errno = 0;
      const dirent* entry = readdir(list->directory);
      if (entry == nullptr) {
        if (errno != 0 && out.empty()) return answer(request, errno);
        break;
      }
      std::string_view name = entry->d_name;
      auto shown = name == "." || name == ".." ? std::string(name) : shown_name(kind_, path, name);
      if (shown) {
        fuse_dirent head{};
        head.ino = entry->d_ino;
        head.off = static_cast<uint64_t>(entry->d_off);
        head.namelen = static_cast<uint32_t>(shown->size());
        head.type = entry->d_type;
        const size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + shown->size());
        if (out.size() + size > in.size) {
          seekdir(list->directory, list->at);  // comes with the next request
          break;
        }
        const size_t begin = out.size();
        out.resize(begin + size);
        std::memcpy(out.data() + begin, &head, FUSE_NAME_OFFSET);
        std::memcpy(out.data() + begin + FUSE_NAME_OFFSET, shown->data(), shown->size());
      }
      list->at = entry->d_off;
    }
    answer(request, 0, {out});
  }

  void close_directory(const Request& request) {
    {
      std::lock_guard lock(listings_mutex_);
      listings_.erase(body_of<fuse_release_in>(request).fh);
    }
    answer(request, 0);
  }

  void sync_directory(const Request& request) {
    auto list = listing(body_of<fuse_fsync_in>(request).fh);
    if (!list) return answer(request, EBADF);
    answer_errno(request, fsync(dirfd(list->directory)));
  }

  // --- the whole
  void stat_file_system(const Request& request) {
    struct statvfs status{};
    if (fstatvfs(root_.get(), &status) != 0) return answer(request, errno);
    fuse_statfs_out out{};
    out.st.blocks = status.f_blocks;
    out.st.bfree = status.f_bfree;
    out.st.bavail = status.f_bavail;
    out.st.files = status.f_files;
    out.st.ffree = status.f_ffree;
    out.st.bsize = static_cast<uint32_t>(status.f_bsize);
    out.st.namelen = static_cast<uint32_t>(status.f_namemax);
    out.st.frsize = static_cast<uint32_t>(status.f_frsize);
    answer_with(request, out);
  }

  void sync_all(const Request& request) {
    if (Status synced = engine_.sync_all(); !synced) return fail(request, synced.error());
    answer(request, 0);
  }

  Fd device_;
  Fd root_;
  TreeKind kind_;
  MountEngine& engine_;
  std::atomic<bool>& ended_;
  std::atomic<bool>& initialised_;
  NodeTable nodes_;
  // Held shared from a node's path to the call that uses it, alone by what changes paths.
  std::shared_mutex names_;
  std::mutex listings_mutex_;
  std::map<uint64_t, std::shared_ptr<Listing>> listings_;
  uint64_t next_listing_ = 1;
  std::vector<std::thread> threads_;
};

FuseServer::FuseServer(Fd device, Fd root, TreeKind kind, MountEngine& engine)
    : impl_(std::make_unique<Impl>(std::move(device), std::move(root), kind, engine, ended_, initialised_)) {}

FuseServer::~FuseServer() {
  join();
}

void FuseServer::start(int threads) {
  impl_->start(threads);
}

void FuseServer::join() {
  impl_->join();
}

}  // namespace lifeboat::ops
