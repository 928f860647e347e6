#include "ops/mount/fuse_server.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <mutex>

#include "ops/mount/fuse_connection.h"
#include "ops/mount/listings.h"
#include "ops/mount/own_file.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Of a node that lost its name: the kernel looks at the name once more, and once only (do_filp_open in
// fs/namei.c, vfs_statx in fs/stat.c), where another file may stand that was renamed over it.
constexpr int kNameless = ESTALE;
constexpr uint64_t kForeverSeconds = 3600;  // how long the kernel may believe what it was told

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

const char* or_dot(const std::string& path) {
  return path.empty() ? "." : path.c_str();
}

// Whether a process runs this very file. No: it may be anything, or is not to be seen from here.
bool is_own_program(uint32_t pid) {
  struct stat own{};
  struct stat other{};
  return pid != 0 && stat("/proc/self/exe", &own) == 0 &&
         stat(cat("/proc/", pid, "/exe").c_str(), &other) == 0 && own.st_dev == other.st_dev &&
         own.st_ino == other.st_ino;
}

enum class Handled : uint8_t { yes, needs_hands };

const int kWake = SIGRTMIN + 5;  // of nobody else here

}  // namespace

class FuseServer::Impl {
 public:
  Impl(Fd device, Fd root, TreeKind kind, MountEngine& engine, std::atomic<bool>& ended,
       std::atomic<bool>& initialised)
      : kernel_(std::move(device)),
        root_(std::move(root)),
        kind_(kind),
        engine_(engine),
        ended_(ended),
        initialised_(initialised) {}

  void start(int count) {
    serving_ = count;
    for (int i = 0; i < count; ++i)
      threads_.emplace_back([this] {
        serve();
        --serving_;
      });
  }

  // A signal that comes before a thread waits is lost, so it is sent until all have ended.
  void cut_off() {
    struct sigaction action = {};
    action.sa_handler = [](int) {};  // without SA_RESTART: read(2) returns
    sigemptyset(&action.sa_mask);
    sigaction(kWake, &action, nullptr);
    gives_up_ = true;
    while (serving_ > 0) {
      for (std::thread& thread : threads_) pthread_kill(thread.native_handle(), kWake);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
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
    while (kernel_.receive(*buffer, gives_up_)) {
      if (dispatch(read_request(*buffer, nullptr)) == Handled::yes) continue;
      engine_.pool.submit_first(
          [this, buffer](FetchHands& hands) { (void)dispatch(read_request(*buffer, &hands)); });
      buffer = std::make_shared<RequestBuffer>();
    }
    ended_ = true;
  }

  void answer(const Request& request, int error, std::initializer_list<ByteView> parts = {}) const {
    kernel_.answer(request, error, parts);
  }
  template <typename T>
  void answer_with(const Request& request, const T& value) const {
    kernel_.answer_with(request, value);
  }
  void answer_errno(const Request& request, int result) const { kernel_.answer_errno(request, result); }

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
    auto passes = kernel_.negotiate(request);
    if (!passes) return engine_.failed(passes.error());
    may_pass_ = *passes;
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
    if (!path) return kNameless;
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
    if (!open && !path) return done(request, kNameless);
    // By descriptor where there is one: the file may have no name any more.
    std::string self = open ? cat("/proc/self/fd/", open->fd.get()) : "";
    const int at = open ? AT_FDCWD : root_.get();
    const char* name = open ? self.c_str() : or_dot(*path);
    if ((in.valid & FATTR_SIZE) != 0) {
      std::shared_ptr<OpenNode> target = open;
      if (!target || !target->writable) {
        if (!path) return done(request, kNameless);
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
    if (!path) return answer(request, kNameless);
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
    if (!from) return answer(request, kNameless);
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
    auto base =
        engine_.files.of(node.fd.get(), path, [&]() -> Result<Fd> { return open_own(root_.get(), path); });
    if (!base) {
      engine_.failed(base.error());
      return false;
    }
    node.base = std::move(*base);
    return true;
  }

  // A file that nobody has open and that is not, or no longer, of the backup is left to the kernel.
  void pass(OpenNode& node, bool live) {
    if (!may_pass_ || of_backup(node) || node.control || live || !node.writable) return;
    auto backing = Backing::open(engine_.mounter, kernel_.device(), node.fd.get());
    // Once it does not work it never will: an unprivileged mount.
    if (!backing) may_pass_ = false;
    if (!backing) return;
    engine_.passes = true;
    node.backing.emplace(std::move(*backing));
  }

  static bool of_backup(const OpenNode& node) { return node.base && node.base->marked(); }

  // The kernel keeps what it has read of a file of the backup: nobody else changes it. Of others it may hold
  // what it read before they were passed through. pg_control and what is live are read from us.
  fuse_open_out opening(const OpenNode& node, bool live) const {
    fuse_open_out out{};
    if (node.backing) {
      out.open_flags = kOpenPassThrough;
      out.padding = node.backing->id();  // backing_id
    } else if (node.control || live) {
      out.open_flags = FOPEN_DIRECT_IO;
    } else if (of_backup(node) || !engine_.passes) {
      out.open_flags = FOPEN_KEEP_CACHE;
    }
    return out;
  }

  void open(const Request& request) {
    auto in = body_of<fuse_open_in>(request);
    const uint64_t id = request.header.nodeid;
    std::shared_lock lock(names_);
    const int flags = own_flags(static_cast<int>(in.flags));
    auto path = nodes_.path(id);
    const bool live = path && is_live(*path);
    auto node = nodes_.open_node(id);
    if (!node || (!node->writable && (flags & O_ACCMODE) != O_RDONLY)) {
      if (!path) return answer(request, kNameless);
      const bool first = !node;
      int error = 0;
      node = open_below(*path, flags, error);
      if (!node) return answer(request, error);
      if (first) pass(*node, live);
    }
    node = nodes_.opened(id, node);
    if (!node) return answer(request, kNameless);
    answer_with(request, opening(*node, live));
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
    const bool live = is_live(request.header.nodeid, real);
    if (!nodes_.open_node(entry.nodeid)) pass(*fresh, live);
    auto node = nodes_.opened(entry.nodeid, std::move(fresh));
    fuse_open_out out{};
    if (node) out = opening(*node, live);
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
    // relies on all files being durable then: it calls syncfs(2), which FUSE does not hand on. A `wal get`,
    // which reads it with every segment, does not.
    if (node->control && !is_own_program(request.header.pid) &&
        (engine_.changed.exchange(false) || engine_.passes)) {
      if (Status synced = engine_.sync_all(); !synced) {
        engine_.changed = true;
        fail(request, synced.error());
        return Handled::yes;
      }
    }
    const size_t wanted = std::min<size_t>(in.size, kMostData);
    if (node->base) {
      FreshParts fresh;
      auto found = node->base->prepare_read(in.offset, wanted, fresh, request.hands);
      if (!found) {
        fail(request, Error(found.error()).within(node->base->path()));
        return Handled::yes;
      }
      if (*found == BaseFile::Found::needs_hands) return Handled::needs_hands;
      node->base->read_ahead(in.offset, wanted, engine_.pool);
      if (*found == BaseFile::Found::fresh) {
        kernel_.answer(request, 0, fresh.views);
        return Handled::yes;
      }
    }
    static thread_local std::unique_ptr<uint8_t[]> room;
    if (!room) room = std::make_unique_for_overwrite<uint8_t[]>(kMostData);
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
    if (!path) return answer(request, kNameless);
    Fd directory(openat(root_.get(), or_dot(*path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory.valid()) return answer(request, errno);
    fuse_open_out out{};
    if (int error = listings_.open(std::move(directory), out.fh)) return answer(request, error);
    answer_with(request, out);
  }

  void read_directory(const Request& request) {
    auto in = body_of<fuse_read_in>(request);
    std::string path;
    {
      std::shared_lock lock(names_);
      path = nodes_.path(request.header.nodeid).value_or("?");
    }
    auto shown = [&](std::string_view name) {
      return name == "." || name == ".." ? std::string(name) : shown_name(kind_, path, name);
    };
    Bytes entries;
    if (int error = listings_.read(in.fh, in.offset, in.size, shown, entries)) return answer(request, error);
    answer(request, 0, {entries});
  }

  void close_directory(const Request& request) {
    listings_.close(body_of<fuse_release_in>(request).fh);
    answer(request, 0);
  }

  void sync_directory(const Request& request) {
    answer(request, listings_.sync(body_of<fuse_fsync_in>(request).fh));
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

  FuseConnection kernel_;
  Fd root_;
  TreeKind kind_;
  MountEngine& engine_;
  std::atomic<bool>& ended_;
  std::atomic<bool>& initialised_;
  NodeTable nodes_;
  // Held shared from a node's path to the call that uses it, alone by what changes paths.
  std::shared_mutex names_;
  Listings listings_;
  std::atomic<bool> may_pass_{false};
  std::atomic<bool> gives_up_{false};
  std::atomic<int> serving_{0};  // threads that have not ended
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

void FuseServer::cut_off() {
  impl_->cut_off();
}

}  // namespace lifeboat::ops
