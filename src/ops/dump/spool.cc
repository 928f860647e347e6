#include "ops/dump/spool.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <optional>

#include "ops/session.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kPollMs = 20;
constexpr uint64_t kGivenBackAtOnce = 1 << 20;
constexpr size_t kReadAtOnce = 1 << 20;
constexpr uint64_t kTurn = 32 << 20;  // of one file, before the others have theirs
constexpr size_t kMostClosed = 256;
constexpr std::string_view kSpoolName = "lifeboat-spool-";

bool punch(int fd, uint64_t from, uint64_t length) {
  return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from),
                     static_cast<off_t>(length)) == 0;
}

// A file that is being written beside us.
struct Growing {
  Fd fd;
  std::shared_ptr<StreamFile> stored;
  uint64_t read = 0;
  uint64_t given_back = 0;
};

class Follower {
 public:
  Follower(const std::string& directory, const std::string& path, StreamStore& store,
           const std::function<void(uint64_t)>& progress, const StopToken& stop)
      : directory_(directory),
        path_(path),
        store_(store),
        progress_(progress),
        stop_(stop),
        buffer_(kReadAtOnce) {}

  Result<FollowedFiles> run(const std::function<Result<Program>()>& start) {
    events_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!events_.valid()) return errno_error(errno, directory_, "watch the directory");
    if (::inotify_add_watch(events_.get(), directory_.c_str(), IN_CREATE | IN_CLOSE_WRITE) < 0)
      return errno_error(errno, directory_, "watch the directory");
    TRY_ASSIGN(Program program, start());
    while (program.running()) {
      TRY(stop_.check());
      pollfd poll{events_.get(), POLLIN, 0};
      (void)::poll(&poll, 1, kPollMs);
      TRY(take_events());
      for (auto& [name, growing] : growing_) TRY(read_on(name, growing, kTurn));
      progress_(found_.bytes);
    }
    TRY(program.finish(stop_));
    // Whatever is there now is whole, and what the queue of events had no room for is found here.
    TRY(take_events());
    TRY_ASSIGN(std::vector<DirEntry> left, list_dir(directory_));
    for (const DirEntry& entry : left) TRY(close(entry.name));
    TRY(finish_all_but(0));
    return std::move(found_);
  }

 private:
  Status take_events() {
    alignas(inotify_event) std::array<char, 64 << 10> events{};
    while (true) {
      ssize_t got = ::read(events_.get(), events.data(), events.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return {};
      for (ssize_t at = 0; at < got;) {
        const auto* event = reinterpret_cast<const inotify_event*>(events.data() + at);
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
        if (event->len == 0) continue;  // an overflow has no name
        if ((event->mask & IN_CREATE) != 0) TRY(begin(event->name));
        // Our own closing of a file that is done with makes an event too.
        if ((event->mask & IN_CLOSE_WRITE) != 0 && growing_.contains(event->name)) TRY(close(event->name));
      }
    }
  }

  bool is_closed(const std::string& name) const {
    return std::ranges::any_of(closed_, [&](const auto& file) { return file.first == name; });
  }

  Status begin(const std::string& name) {
    if (growing_.contains(name)) return {};
    if (found_.entries.contains(name) || is_closed(name))
      return make_error(ErrorKind::internal, join_path(directory_, name), "pg_dump wrote this file twice");
    Growing growing;
    TRY_ASSIGN(growing.fd, open_file(join_path(directory_, name), O_RDWR));
    growing.stored = store_.begin(cat(path_, "/", name));
    growing_.emplace(name, std::move(growing));
    return {};
  }

  Status read_on(const std::string& name, Growing& growing, uint64_t most) {
    for (const uint64_t end = growing.read + most; growing.read < end;) {
      TRY(stop_.check());
      TRY_ASSIGN(size_t got, pread_some(growing.fd.get(), growing.read, buffer_, name));
      if (got == 0) return {};
      TRY(growing.stored->append(ByteView(buffer_.data(), got)));
      growing.read += got;
      found_.bytes += got;
      uint64_t whole = growing.read - growing.read % kGivenBackAtOnce;
      if (whole > growing.given_back &&
          punch(growing.fd.get(), growing.given_back, whole - growing.given_back))
        growing.given_back = whole;
    }
    return {};
  }

  // The program has closed it. Its last frames may still be under way.
  Status close(const std::string& name) {
    TRY(begin(name));
    auto growing = growing_.find(name);
    TRY(read_on(name, growing->second, UINT64_MAX - growing->second.read));
    TRY(growing->second.stored->close());
    closed_.emplace_back(name, std::move(growing->second.stored));
    growing_.erase(growing);
    TRY(remove_file(join_path(directory_, name)));
    return finish_all_but(kMostClosed);
  }

  Status finish_all_but(size_t most) {
    for (; closed_.size() > most; closed_.pop_front()) {
      auto& [name, file] = closed_.front();
      TRY_ASSIGN(repo::Entry entry, file->finish());
      found_.entries.emplace(name, std::move(entry));
    }
    return {};
  }

  const std::string& directory_;
  const std::string& path_;
  StreamStore& store_;
  const std::function<void(uint64_t)>& progress_;
  const StopToken& stop_;
  Bytes buffer_;
  Fd events_;
  std::map<std::string, Growing> growing_;
  std::deque<std::pair<std::string, std::shared_ptr<StreamFile>>> closed_;
  FollowedFiles found_;
};

// What processes of this user left that were killed. One that cannot be taken away is a waste of space.
void sweep(const std::string& parent) {
  auto entries = list_dir(parent);
  if (!entries) return;
  for (const DirEntry& entry : *entries) {
    if (!entry.name.starts_with(kSpoolName) || entry.kind != FileKind::directory) continue;
    const std::string path = join_path(parent, entry.name);
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0 || status.st_uid != ::geteuid()) continue;
    auto held = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (held && ::flock(held->get(), LOCK_EX | LOCK_NB) == 0) (void)remove_tree(path);
  }
}

}  // namespace

Result<Spool> Spool::make(const std::string& parent) {
  TRY_ASSIGN(bool there, path_exists(parent));
  if (!there)
    return make_error(ErrorKind::not_found, parent, "the directory for files on their way is not there")
        .with_hint("--spool names one");
  sweep(parent);
  // Locked before it has its name: another process must not take it for one that was left.
  const std::string id = new_backup_id().text;
  const std::string fresh = join_path(parent, cat("lifeboat-new-", id));
  TRY(create_dirs(fresh, 0700));
  TRY_ASSIGN(Fd lock, open_file(fresh, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  std::string path = join_path(parent, cat(kSpoolName, id));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0 || std::rename(fresh.c_str(), path.c_str()) != 0) {
    const int error = errno;
    (void)remove_tree(fresh);
    return errno_error(error, path, "make the directory");
  }
  return Spool(std::move(path), std::move(lock));
}

Spool::~Spool() {
  if (!path_.empty()) (void)remove_tree(path_);  // a leftover is only a waste of space
}

Status Spool::require(uint64_t bytes) const {
  TRY_ASSIGN(uint64_t there, free_bytes(path_));
  if (there >= bytes) return {};
  return make_error(
             ErrorKind::space, parent_path(path_),
             cat("has ", format_bytes(there), " free, ", format_bytes(bytes), " are needed on the way"))
      .with_hint("--spool names another directory");
}

Result<bool> Spool::gives_back() const {
  std::string probe = join_path(path_, "probe");
  TRY_ASSIGN(Fd fd, open_file(probe, O_RDWR | O_CREAT | O_EXCL, 0600));
  Bytes some(kGivenBackAtOnce, 1);
  TRY(write_all(fd.get(), some, probe));
  bool can = punch(fd.get(), 0, kGivenBackAtOnce);
  TRY(remove_file(probe));
  return can;
}

Result<FollowedFiles> follow_directory(const std::string& directory, const std::string& path,
                                       StreamStore& store, const std::function<Result<Program>()>& start,
                                       const std::function<void(uint64_t)>& progress, const StopToken& stop) {
  return Follower(directory, path, store, progress, stop).run(start);
}

}  // namespace lifeboat::ops
