#include "ops/mount/mounter.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "ops/mount/pass_through.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kMountinfoLimit = 64 << 20;
constexpr int64_t kFusermountMs = 30'000;

enum class Ask : uint8_t {
  look,
  mount_read_write,
  mount_read_only,
  unmount,
  read_ahead,
  open_backing,
  close_backing
};

// One question and its answer. Along with each question goes a socket for its answer: whoever asks may be
// killed, and nobody else of those who share the way to ask may then get what it was owed. Behind that go a
// directory with a mount, whose connection comes back, a connection with a backing, and the file with one
// that is opened.
struct Question {
  Ask ask = Ask::unmount;
  uint64_t value = 0;
  char directory[PATH_MAX] = {};
};
struct Answer {
  int error = 0;  // errno
  uint32_t id = 0;
};
constexpr size_t kMostDescriptors = 3;
using Descriptors = std::array<Fd, kMostDescriptors>;

Error no_fuse(int error) {
  if (error == ENOENT || error == ENODEV || error == ENXIO) {
    return make_error(ErrorKind::unsupported, "/dev/fuse", "FUSE is not available on this host")
        .with_cause(strerror(error))
        .with_hint(
            "load it with: modprobe fuse; in a container give it the device (docker run --device /dev/fuse "
            "--cap-add SYS_ADMIN); without it use lifeboat restore");
  }
  return make_error(ErrorKind::permission, "/dev/fuse", "mounting with FUSE is not permitted here")
      .with_cause(strerror(error))
      .with_hint(
          "run the command as root, or let this user open /dev/fuse and use fusermount3; in a container: "
          "docker run --device /dev/fuse --cap-add SYS_ADMIN; without it use lifeboat restore");
}

// --- messages with descriptors

bool send_message(int socket, const void* data, size_t size, std::span<const int> descriptors) {
  iovec vector{const_cast<void*>(data), size};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(head), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(size);
}

// The size of what came; 0 at the end, -1 and errno.
ssize_t receive_message(int socket, void* data, size_t size, Descriptors& descriptors) {
  iovec vector{data, size};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  if (got >= 0 && head != nullptr && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
    std::array<int, kMostDescriptors> passed{};
    const size_t count = std::min((head->cmsg_len - CMSG_LEN(0)) / sizeof(int), kMostDescriptors);
    std::memcpy(passed.data(), CMSG_DATA(head), count * sizeof(int));
    for (size_t i = 0; i < count; ++i) descriptors[i] = Fd(passed[i]);
  }
  return got;
}

// --- the child that is root. It has a copy of the command's memory and uses none of it.

class RootMounter {
 public:
  RootMounter(Fd socket, uid_t uid, gid_t gid) : socket_(std::move(socket)), uid_(uid), gid_(gid) {}

  void serve() {
    for (;;) {
      Question question;
      Descriptors given;
      ssize_t size = receive_message(socket_.get(), &question, sizeof question, given);
      if (size <= 0) return;
      if (size != static_cast<ssize_t>(sizeof question)) continue;
      question.directory[sizeof question.directory - 1] = '\0';
      Answer answer;
      Fd connection;
      switch (question.ask) {
        case Ask::look:
          answer.error = look();
          break;
        case Ask::mount_read_write:
        case Ask::mount_read_only:
          answer.error = mount(given[1], question.ask == Ask::mount_read_only, connection);
          break;
        case Ask::unmount:
          answer.error = unmount(question.directory);
          break;
        case Ask::read_ahead:
          answer.error = read_ahead(question.directory, question.value);
          break;
        case Ask::open_backing:
          answer.error = open_backing(given[1], given[2], answer.id);
          break;
        case Ask::close_backing:
          answer.error = close_backing(given[1], static_cast<uint32_t>(question.value));
          break;
      }
      const int back[] = {connection.get()};
      // Who has ended meanwhile does not want it.
      (void)send_message(given[0].get(), &answer, sizeof answer, std::span(back, connection.valid() ? 1 : 0));
    }
  }

 private:
  static int look() {
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) return errno;
    close(fd);
    return 0;
  }

  int mount(const Fd& directory, bool read_only, Fd& connection) const {
    struct stat status{};
    if (!directory.valid() || fstat(directory.get(), &status) != 0) return EBADF;
    // Only what the owner could do anything with anyway.
    if (!S_ISDIR(status.st_mode) || status.st_uid != uid_) return EPERM;
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) return errno;
    Fd device(fd);
    // By descriptor, so that nobody can exchange the path meanwhile.
    std::string target = cat("/proc/self/fd/", directory.get());
    std::string options = cat("fd=", device.get(), ",rootmode=40000,user_id=", uid_, ",group_id=", gid_,
                              ",default_permissions,allow_other");
    unsigned long flags = MS_NODEV | MS_NOSUID | MS_NOATIME;
    if (read_only) flags |= MS_RDONLY;
    if (::mount("lifeboat", target.c_str(), kMountType, flags, options.c_str()) != 0) return errno;
    connection = std::move(device);
    return 0;
  }

  static int unmount(const std::string& directory) {
    auto mounted = is_mounted(directory);
    if (!mounted) return EIO;
    if (!*mounted) return 0;
    return umount2(directory.c_str(), UMOUNT_NOFOLLOW) == 0 ? 0 : errno;
  }

  static int read_ahead(const std::string& directory, uint64_t bytes) {
    auto mounted = is_mounted(directory);
    struct stat status{};
    if (!mounted || !*mounted || stat(directory.c_str(), &status) != 0) return ENOENT;
    std::string path =
        cat("/sys/class/bdi/", major(status.st_dev), ":", minor(status.st_dev), "/read_ahead_kb");
    int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    Fd file(fd);
    std::string text = cat(bytes >> 10);
    return write(file.get(), text.data(), text.size()) < 0 ? errno : 0;
  }

  // The kernel opens the file again with our rights, for reading or writing: only who has it open for both
  // may have that. Neither descriptor is kept, or a connection would outlive its server.
  static int open_backing(const Fd& device, const Fd& file, uint32_t& id) {
    if (!device.valid() || !file.valid()) return EBADF;
    const int flags = fcntl(file.get(), F_GETFL);
    struct stat status{};
    if (flags < 0 || fstat(file.get(), &status) != 0) return errno;
    if ((flags & O_ACCMODE) != O_RDWR || !S_ISREG(status.st_mode)) return EPERM;
    BackingMap map;
    map.fd = file.get();
    const int opened = ioctl(device.get(), kBackingOpen, &map);
    if (opened <= 0) return opened < 0 ? errno : EINVAL;
    id = static_cast<uint32_t>(opened);
    return 0;
  }

  static int close_backing(const Fd& device, uint32_t id) {
    if (!device.valid()) return EBADF;
    return ioctl(device.get(), kBackingClose, &id) < 0 ? errno : 0;
  }

  Fd socket_;
  uid_t uid_;
  gid_t gid_;
};

// --- those who ask

class AskingMounter : public Mounter {
 public:
  explicit AskingMounter(Fd socket) : socket_(std::move(socket)) {}

  Status available() override {
    TRY_ASSIGN(Answer answer, ask(Ask::look, "", 0, {}));
    return answer.error == 0 ? Status() : no_fuse(answer.error);
  }

  Result<Fd> mount(const std::string& directory, MountAccess access) override {
    TRY_ASSIGN(Fd opened, open_file(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    Fd connection;
    const int given[] = {opened.get()};
    TRY_ASSIGN(Answer answer,
               ask(access == MountAccess::read_only ? Ask::mount_read_only : Ask::mount_read_write, directory,
                   0, given, &connection));
    const int error = answer.error;
    if (error == EPERM || error == EACCES || error == ENOENT || error == ENODEV || error == ENXIO)
      return no_fuse(error);
    if (error != 0) return errno_error(error, directory, "mount over");
    if (!connection.valid())
      return make_error(ErrorKind::internal, directory, "mounted without a connection");
    return connection;
  }

  Status unmount(const std::string& directory) override {
    TRY_ASSIGN(Answer answer, ask(Ask::unmount, directory, 0, {}));
    if (answer.error == EBUSY) return make_error(ErrorKind::busy, directory, "is still in use");
    if (answer.error != 0) return errno_error(answer.error, directory, "unmount");
    return {};
  }

  void read_ahead(const std::string& directory, uint64_t bytes) override {
    (void)ask(Ask::read_ahead, directory, bytes, {});
  }

  std::optional<uint32_t> open_backing(int device, int file) override {
    const int given[] = {device, file};
    auto answer = ask(Ask::open_backing, "", 0, given);
    if (!answer || answer->error != 0) return std::nullopt;
    return answer->id;
  }

  void close_backing(int device, uint32_t id) override {
    const int given[] = {device};
    (void)ask(Ask::close_backing, "", id, given);
  }

 private:
  Result<Answer> ask(Ask what, const std::string& directory, uint64_t value, std::span<const int> given,
                     Fd* connection = nullptr) {
    Question question;
    question.ask = what;
    question.value = value;
    if (directory.size() >= sizeof question.directory)
      return make_error(ErrorKind::usage, directory, "the path is too long");
    std::memcpy(question.directory, directory.data(), directory.size());
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
      return errno_error(errno, "", "make a socket");
    Fd ours(ends[0]);
    Fd theirs(ends[1]);
    std::vector<int> along = {theirs.get()};
    along.insert(along.end(), given.begin(), given.end());
    Answer answer;
    Descriptors got;
    bool answered = send_message(socket_.get(), &question, sizeof question, along);
    theirs = Fd();  // or its end would not be seen
    answered = answered && receive_message(ours.get(), &answer, sizeof answer, got) ==
                               static_cast<ssize_t>(sizeof answer);
    if (!answered) {
      return make_error(ErrorKind::failed, directory, "the process that mounts has ended");
    }
    if (connection != nullptr) *connection = std::move(got[0]);
    return answer;
  }

  Fd socket_;
};

class UserMounter : public Mounter {
 public:
  Status available() override {
    if (faccessat(AT_FDCWD, "/dev/fuse", R_OK | W_OK, AT_EACCESS) != 0) return no_fuse(errno);
    TRY(fusermount());
    return {};
  }

  Result<Fd> mount(const std::string& directory, MountAccess access) override {
    TRY_ASSIGN(std::string program, fusermount());
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return errno_error(errno, "", "make a socket");
    Fd ours(ends[0]);
    Fd theirs(ends[1]);
    ProcessSpec spec;
    spec.argv = {program, "-o",
                 cat(access == MountAccess::read_only ? "ro" : "rw",
                     ",nosuid,nodev,fsname=lifeboat,subtype=lifeboat,default_permissions"),
                 "--", directory};
    // It sends the connection back through the descriptor that this names (fusermount3(1)).
    spec.env = {{"_FUSE_COMMFD", "0"}};
    TRY_ASSIGN(Fd complaint, open_file("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    TRY_ASSIGN(ChildProcess child, ChildProcess::start(spec, {theirs.get(), -1, complaint.get()}));
    theirs = Fd();
    char byte = 0;
    Descriptors got;
    (void)receive_message(ours.get(), &byte, 1, got);
    Fd connection = std::move(got[0]);
    TRY_ASSIGN(ProcessOutcome outcome, child.wait(kFusermountMs));
    if (outcome.ok() && connection.valid()) return connection;
    std::string text(1024, '\0');
    ssize_t size = pread(complaint.get(), text.data(), text.size(), 0);
    text.resize(size > 0 ? static_cast<size_t>(size) : 0);
    return make_error(ErrorKind::permission, directory, "fusermount3 cannot mount over it")
        .with_cause(std::string(trim(text)))
        .with_hint(
            "run the command as root; the directory must belong to this user; without FUSE use lifeboat "
            "restore");
  }

  Status unmount(const std::string& directory) override {
    TRY_ASSIGN(bool mounted, is_mounted(directory));
    if (!mounted) return {};
    TRY_ASSIGN(std::string program, fusermount());
    ProcessSpec spec;
    spec.argv = {program, "-u", "--", directory};
    spec.env = {{"LC_ALL", "C"}};
    RunOptions run;
    run.timeout_ms = kFusermountMs;
    TRY_ASSIGN(ProcessOutcome outcome, run_process(spec, run));
    if (outcome.ok()) return {};
    if (outcome.err.find("busy") != std::string::npos)
      return make_error(ErrorKind::busy, directory, "is still in use");
    return make_error(ErrorKind::failed, directory, "cannot be unmounted")
        .with_cause(std::string(trim(outcome.err)))
        .with_hint(cat("as root: umount ", shell_quote(directory)));
  }

  // Only root may.
  void read_ahead(const std::string&, uint64_t) override {}
  std::optional<uint32_t> open_backing(int, int) override { return std::nullopt; }
  void close_backing(int, uint32_t) override {}

 private:
  static Result<std::string> fusermount() {
    if (auto program = find_program("fusermount3")) return *program;
    return make_error(ErrorKind::unsupported, "fusermount3",
                      "is not installed, and only root can mount without it")
        .with_hint(
            "apt-get install fuse3, or on Red Hat systems: dnf install fuse3; or run the command as root");
  }
};

}  // namespace

std::string mounted_type(std::string_view mountinfo, const std::string& directory) {
  // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue (proc_pid_mountinfo(5));
  // space, tab, line feed and backslash of a path are written in octal.
  std::string escaped;
  for (char c : directory) {
    switch (c) {
      case ' ':
        escaped += "\\040";
        break;
      case '\t':
        escaped += "\\011";
        break;
      case '\n':
        escaped += "\\012";
        break;
      case '\\':
        escaped += "\\134";
        break;
      default:
        escaped += c;
    }
  }
  std::string type;
  for (std::string_view line : split(mountinfo, '\n')) {
    std::vector<std::string_view> fields = split(line, ' ');
    if (fields.size() < 8 || fields[4] != escaped) continue;
    for (size_t i = 6; i + 1 < fields.size(); ++i) {
      if (fields[i] != "-") continue;
      type = fields[i + 1];
      break;
    }
  }
  return type;
}

Result<bool> is_mounted(const std::string& directory) {
  TRY_ASSIGN(std::string text, read_text("/proc/self/mountinfo", kMountinfoLimit));
  return mounted_type(text, directory) == kMountType;
}

Result<Fd> start_root_mounter(uid_t uid, gid_t gid) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return errno_error(errno, "", "make a socket");
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  pid_t child = fork();
  if (child < 0) return errno_error(errno, "", "fork");
  if (child > 0) return ours;
  // Out of reach of the terminal's signals; nobody waits for it, and it holds nothing of anybody's.
  setsid();
  for (int signal_number : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal_number, SIG_IGN);
  const int keep = fcntl(theirs.get(), F_DUPFD_CLOEXEC, 3);
  if (keep < 0) _exit(1);
  if (keep > 3) close_range(3, static_cast<unsigned>(keep) - 1, 0);
  close_range(static_cast<unsigned>(keep) + 1, ~0u, 0);
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) close(fd);
  (void)theirs.release();
  (void)ours.release();
  if (chdir("/") != 0) _exit(1);
  RootMounter(Fd(keep), uid, gid).serve();
  _exit(0);
}

std::unique_ptr<Mounter> ask_root_mounter(Fd socket) {
  return std::make_unique<AskingMounter>(std::move(socket));
}

std::optional<Fd> inherited_root_mounter() {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET)
    return std::nullopt;
  ucred peer{};
  size = sizeof peer;
  if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != 0)
    return std::nullopt;
  int copy = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return std::nullopt;
  return Fd(copy);
}

std::unique_ptr<Mounter> user_mounter() {
  return std::make_unique<UserMounter>();
}

}  // namespace lifeboat::ops
