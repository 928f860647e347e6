#include "ops/wal/prefetcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

#include "ops/wal/delivery.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr mode_t kPrivateMode = 0600;
constexpr int kIdleMs = 30'000;
constexpr int kMostThreads = 4;
constexpr size_t kRequestBytes = 25;  // a segment's name and a line feed

// --- the directory

// Holds `directory`/lock. `busy` when another process does.
Result<Fd> lock_directory(const std::string& directory) {
  const std::string path = join_path(directory, kPrefetchLock);
  while (true) {
    TRY_ASSIGN(Fd fd, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, kPrivateMode));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return make_error(ErrorKind::busy, path, "another process fetches");
      return errno_error(errno, path, "lock");
    }
    // Its last holder may have removed it after we opened it.
    TRY_ASSIGN(FileInfo held, stat_fd(fd.get(), path));
    auto named = stat_path(path);
    if (named && named->inode == held.inode) return fd;
  }
}

// All that we make there but the lock.
Status clear_directory(const std::string& directory) {
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(directory));
  for (const DirEntry& entry : entries) {
    bool ours =
        entry.name == kPrefetchRequests || spooled_segment(entry.name) || is_temporary_name(entry.name);
    if (ours) TRY(remove_file(join_path(directory, entry.name)));
  }
  return {};
}

// Call with the lock held, which goes with it.
Status remove_directory(const std::string& directory) {
  TRY(clear_directory(directory));
  TRY(remove_file(join_path(directory, kPrefetchLock)));
  if (::rmdir(directory.c_str()) != 0 && errno != ENOENT) return errno_error(errno, directory, "remove");
  return {};
}

// Calls `each` with every directory of a fetcher that was killed, its lock held: what is in it belongs to
// nobody.
Status for_each_abandoned(const std::string& spool, const std::function<Status(const std::string&)>& each) {
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(spool));
  for (const DirEntry& entry : entries) {
    if (!is_prefetch_directory(entry.name)) continue;
    const std::string directory = join_path(spool, entry.name);
    TRY_ASSIGN(bool ours, path_exists(join_path(directory, kPrefetchLock)));
    if (!ours) continue;
    auto lock = lock_directory(directory);
    if (lock) TRY(each(directory));
  }
  return {};
}

Result<uint64_t> bytes_in(const std::string& directory) {
  uint64_t bytes = 0;
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(directory));
  for (const DirEntry& entry : entries) {
    if (auto info = lstat_path(join_path(directory, entry.name))) bytes += info->allocated;
  }
  return bytes;
}

// --- fetching

class Fetcher {
 public:
  Fetcher(const PrefetchPlace& place, const repo::WalStore& store, int segments)
      : place_(place), store_(store), segments_(segments) {}
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;
  ~Fetcher() { end(); }

  void start() {
    int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    size_t count = static_cast<size_t>(std::min({cores, kMostThreads, segments_}));
    try {
      while (threads_.size() < count) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      return;  // those that there are do it all
    }
  }

  // `delivered` was handed to the server: what is not in the row behind it goes, what is missing in it comes.
  void follow(const SegmentName& delivered) {
    std::lock_guard lock(mutex_);
    row_.clear();
    waiting_.clear();
    SegmentName name = delivered;
    for (int i = 0; i < segments_; ++i) {
      name = name.next(place_.segment_size);
      row_.insert(name);
      auto spooled = path_exists(path_of(name));
      if (!underway_.contains(name) && spooled && !*spooled) waiting_.push_back(name);
    }
    (void)remove_strangers();  // it is tried again with the next request
    changed_.notify_all();
  }

  // Whether everything that can be had of the row is there.
  bool idle() {
    std::lock_guard lock(mutex_);
    return waiting_.empty() && underway_.empty();
  }

  void end() {
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      waiting_.clear();
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  std::string path_of(const SegmentName& name) const { return join_path(place_.directory, name.to_string()); }

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
      if (ended_) return;
      SegmentName name = waiting_.front();
      waiting_.pop_front();
      underway_.insert(name);
      lock.unlock();
      Status fetched = fetch(name);
      lock.lock();
      underway_.erase(name);
      // Not stored yet, an outage, no room: what follows has no use. A row that came meanwhile may not hold
      // it.
      if (!fetched && row_.contains(name))
        std::erase_if(waiting_, [&](const SegmentName& waits) { return name < waits; });
      if (!row_.contains(name)) (void)remove_file(path_of(name));
    }
  }

  Status fetch(const SegmentName& name) {
    TRY_ASSIGN(uint64_t room, free_bytes(place_.directory));
    if (room < prefetch_reserve(place_.segment_size)) {
      return make_error(ErrorKind::space, place_.directory, "no room");
    }
    auto file = WalFileName::parse(name.to_string());
    CHECK(file.has_value());
    const std::string mark = join_path(place_.directory, fetching_name(name));
    TRY(open_file(mark, O_WRONLY | O_CREAT | O_NOFOLLOW, kPrivateMode));
    Status fetched = deliver(*file);
    Status unmarked = remove_file(mark);
    return fetched ? std::move(unmarked) : std::move(fetched);
  }

  Status deliver(const WalFileName& file) {
    TRY_ASSIGN(std::optional<repo::WalObject> object, store_.find(file));
    if (!object) return make_error(ErrorKind::not_found, file.text, "not stored");
    return deliver_segment(store_, *object, {place_.lineage, place_.segment_size}, path_of(file.segment));
  }

  // Other timelines, segments that were passed, what a call took and never moved.
  Status remove_strangers() {
    TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(place_.directory));
    for (const DirEntry& entry : entries) {
      auto name = spooled_segment(entry.name);
      if (!name || row_.contains(*name) || underway_.contains(*name)) continue;
      TRY(remove_file(join_path(place_.directory, entry.name)));
    }
    return {};
  }

  const PrefetchPlace& place_;
  const repo::WalStore& store_;
  const int segments_;
  std::mutex mutex_;  // guards all below but the threads
  std::condition_variable changed_;
  std::set<SegmentName> row_;        // what shall be in the spool
  std::deque<SegmentName> waiting_;  // of the row, in order
  std::set<SegmentName> underway_;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

// --- requests

Result<Fd> make_requests(const std::string& directory) {
  const std::string path = join_path(directory, kPrefetchRequests);
  if (::mkfifo(path.c_str(), kPrivateMode) != 0) return errno_error(errno, path, "create");
  // For writing too, or it would end whenever the last caller has closed it.
  return open_file(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW);
}

// The newest of the requests that are there; nullopt when there are none.
std::optional<SegmentName> newest_request(int fd) {
  std::optional<SegmentName> newest;
  char line[kRequestBytes];
  while (::read(fd, line, sizeof line) == static_cast<ssize_t>(sizeof line)) {
    if (auto name = SegmentName::parse(std::string_view(line, sizeof line - 1))) newest = name;
  }
  return newest;
}

// Until nobody asked for so long.
void serve(Fetcher& fetcher, int requests, const StopToken* stop, int idle_ms) {
  while (stop == nullptr || !stop->stopped()) {
    pollfd poll{requests, POLLIN, 0};
    int ready = ::poll(&poll, 1, idle_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return;
    if (ready == 0 && fetcher.idle()) return;
    if (ready == 0) continue;
    if (auto name = newest_request(requests)) fetcher.follow(*name);
  }
}

}  // namespace

Status fetch_ahead(const PrefetchPlace& place, const SegmentName& delivered, int segments, int idle_ms) {
  TRY_ASSIGN(Fd lock, lock_directory(place.directory));
  TRY(clear_directory(place.directory));
  (void)remove_abandoned(place.spool);  // the next one tries again
  TRY_ASSIGN(repo::Repository repository, open_repository(place.repo));
  TRY_ASSIGN(ChosenLineage lineage, lineage_of(repository, place.repo.cluster, place.lineage));
  repo::WalStore store(lineage.repo);
  {
    TRY_ASSIGN(Fd requests, make_requests(place.directory));
    Fetcher fetcher(place, store, segments);
    fetcher.start();
    fetcher.follow(delivered);
    serve(fetcher, requests.get(), place.repo.patience.stop, idle_ms);
  }
  return remove_directory(place.directory);
}

Result<std::vector<AbandonedSpool>> list_abandoned(const std::string& spool) {
  std::vector<AbandonedSpool> found;
  Status looked = for_each_abandoned(spool, [&](const std::string& directory) -> Status {
    TRY_ASSIGN(uint64_t bytes, bytes_in(directory));
    found.push_back({directory, bytes});
    return {};
  });
  if (!looked && looked.error().kind != ErrorKind::not_found) return std::move(looked).error();
  return found;
}

Status remove_abandoned(const std::string& spool) {
  return for_each_abandoned(spool, remove_directory);
}

Status leave_fetcher(const PrefetchPlace& place, const SegmentName& delivered, int segments) {
  PrefetchPlace own = place;
  own.repo.patience.us = 0;     // what cannot be had now is asked for by a call, which has patience
  own.repo.patience.note = {};  // nobody listens
  return run_detached([&] { (void)fetch_ahead(own, delivered, segments, kIdleMs); });
}

}  // namespace lifeboat::ops
