#include "ops/mount/hydrate.h"

#include <fcntl.h>
#include <sched.h>

#include <mutex>
#include <utility>

#include "ops/mount/own_file.h"
#include "ops/work_queue.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kSmall = 1 << 20;
constexpr size_t kQueuedTasks = 32;
// Small files are read together: each by itself would cost a request to the store.
constexpr uint64_t kBatchBytes = 4 << 20;
constexpr size_t kBatchFiles = 128;

enum class Pass : uint8_t { small, all };

using Paths = std::vector<std::string>;

// Spreads bytes over time. Thread rule: any thread.
class RateLimit {
 public:
  explicit RateLimit(uint64_t rate) : rate_(rate) {}
  void spend(uint64_t bytes, const StopToken& stop) {
    if (rate_ == 0) return;
    int64_t until = 0;
    {
      std::lock_guard lock(mutex_);
      free_at_us_ = std::max(free_at_us_, Clock::system().monotonic_us()) +
                    static_cast<int64_t>(static_cast<double>(bytes) * 1e6 / static_cast<double>(rate_));
      until = free_at_us_;
    }
    while (Clock::system().monotonic_us() < until && !stop.stopped()) {
      Clock::system().sleep_us(std::min<int64_t>(until - Clock::system().monotonic_us(), kLookUs));
    }
  }

 private:
  static constexpr int64_t kLookUs = 50'000;
  uint64_t rate_;
  std::mutex mutex_;
  int64_t free_at_us_ = 0;
};

// The server's own reads and writes come first: an idle thread is put aside the moment another one wakes,
// which a nice one is not (sched(7)). Of this thread alone.
void give_way() {
  const sched_param none{};
  (void)sched_setscheduler(0, SCHED_IDLE, &none);
}

class Hydration {
 public:
  Hydration(const repo::LineageRepo& repo, uint32_t block_size, BaseFiles& files, FetchPool& pool,
            const HydrateOptions& options, Reporter& reporter, const StopToken& stop)
      : repo_(repo),
        block_size_(block_size),
        files_(files),
        pool_(pool),
        options_(options),
        reporter_(reporter),
        stop_(stop),
        limit_(options.rate) {}

  Status run() {
    TRY(bring_first());
    for (;;) {
      found_ = 0;
      TRY(pass(Pass::all));
      if (failed_) return *failed_;
      if (found_ == 0) return {};
    }
  }

 private:
  Status bring_first() {
    // Small files are opened to bring them, and more of them than stay loaded would make it forgotten what
    // the server used before.
    const std::vector<std::shared_ptr<BaseFile>> in_use = large_in_use();
    TRY(pass(Pass::small));
    TRY(bring_each(files_.recent()));
    return bring_each(in_use);
  }

  Status pass(Pass which) {
    WorkQueue<Paths> queue(kQueuedTasks);
    batch_.clear();
    batch_bytes_ = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < std::max(1, options_.threads); ++i) threads.emplace_back([&] { work(queue); });
    Status walked;
    for (const std::string& root : options_.roots) {
      if (walked) walked = walk(root, which, queue);
    }
    if (walked && !batch_.empty()) walked = queue.push(std::move(batch_));
    if (!walked) queue.fail(walked.error());
    queue.close();
    for (std::thread& thread : threads) thread.join();
    if (auto error = queue.error()) return *error;
    return {};
  }

  Status walk(const std::string& directory, Pass which, WorkQueue<Paths>& queue) {
    TRY(stop_.check());
    auto entries = list_dir(directory);
    // The server may remove a directory at any time.
    if (!entries && entries.error().kind == ErrorKind::not_found) return {};
    if (!entries) return std::move(entries).error();
    for (const DirEntry& entry : *entries) {
      std::string path = join_path(directory, entry.name);
      if (entry.kind == FileKind::directory) {
        TRY(walk(path, which, queue));
      } else if (entry.kind == FileKind::regular) {
        auto info = lstat_path(path);
        if (!info && info.error().kind != ErrorKind::not_found) return std::move(info).error();
        if (!info || info->size == 0) continue;
        if (info->size > kSmall) {
          if (which == Pass::all) TRY(queue.push({std::move(path)}));
          continue;
        }
        batch_bytes_ += info->size;
        batch_.push_back(std::move(path));
        if (batch_bytes_ < kBatchBytes && batch_.size() < kBatchFiles) continue;
        TRY(queue.push(std::exchange(batch_, {})));
        batch_bytes_ = 0;
      }
    }
    return {};
  }

  void work(WorkQueue<Paths>& queue) {
    give_way();
    FetchHands hands(repo_, block_size_, pool_);
    while (auto paths = queue.pop()) {
      // Together; what that leaves, each by itself.
      if (paths->size() > 1) (void)bring_together(*paths, hands);
      for (const std::string& path : *paths) {
        if (Status done = bring(path, hands); !done) note_failure(queue, std::move(done).error());
      }
    }
  }

  Status bring_together(const Paths& paths, FetchHands& hands) {
    std::vector<std::shared_ptr<BaseFile>> files;
    std::vector<std::shared_ptr<const MapLeaf>> leaves;
    std::vector<std::string_view> names;
    std::vector<repo::Piece> pieces;
    for (const std::string& path : paths) {
      TRY_ASSIGN(std::shared_ptr<BaseFile> file, find(path));
      if (!file) continue;
      TRY_ASSIGN(std::shared_ptr<const MapLeaf> leaf, file->add_missing(files.size(), pieces, hands));
      if (!leaf) continue;
      names.push_back(leaf->path);
      leaves.push_back(std::move(leaf));
      files.push_back(std::move(file));
    }
    return hands.pieces.read(pieces, names, &stop_, [&](repo::Piece& piece, ByteView plain) -> Status {
      TRY(files[piece.file]->accept(piece, plain));
      count(piece.length);
      return {};
    });
  }

  void count(uint64_t bytes) {
    uint64_t now = brought_.fetch_add(bytes) + bytes;
    reporter_.progress("bringing the rest", std::min(now, options_.total_bytes), options_.total_bytes,
                       ProgressUnit::bytes);
    limit_.spend(bytes, stop_);
  }

  // One file that cannot be brought does not keep the others from it.
  void note_failure(WorkQueue<Paths>& queue, Error error) {
    if (error.kind == ErrorKind::cancelled || error.kind == ErrorKind::space)
      return queue.fail(std::move(error));
    std::lock_guard lock(mutex_);
    if (!failed_) failed_ = std::move(error);
  }

  // null: gone, or not of the backup.
  Result<std::shared_ptr<BaseFile>> find(const std::string& path) {
    auto fd = open_own(AT_FDCWD, path);
    if (!fd && fd.error().kind == ErrorKind::not_found) return std::shared_ptr<BaseFile>();
    if (!fd) return std::move(fd).error();
    return files_.of(fd->get(), path, [&]() -> Result<Fd> {
      return open_file(cat("/proc/self/fd/", fd->get()), O_RDWR | O_CLOEXEC);
    });
  }

  Status bring(const std::string& path, FetchHands& hands) {
    TRY_ASSIGN(std::shared_ptr<BaseFile> base, find(path));
    if (!base) return {};
    return bring(*base, hands);
  }

  Status bring(BaseFile& base, FetchHands& hands) {
    if (!base.marked()) return {};
    ++found_;
    TRY(base.hydrate(hands, stop_, [&](uint64_t bytes) { count(bytes); }));
    TRY_ASSIGN(bool released, base.release());
    (void)released;  // the next walk tells
    return {};
  }

  std::vector<std::shared_ptr<BaseFile>> large_in_use() {
    std::vector<std::shared_ptr<BaseFile>> files = files_.recent();
    std::erase_if(files, [](const auto& file) { return file->missing_bytes() <= kSmall; });
    return files;
  }

  Status bring_each(const std::vector<std::shared_ptr<BaseFile>>& files) {
    FetchHands hands(repo_, block_size_, pool_);
    for (const std::shared_ptr<BaseFile>& file : files) {
      if (Status done = bring(*file, hands); !done) {
        if (done.error().kind == ErrorKind::cancelled || done.error().kind == ErrorKind::space)
          return std::move(done).error();
        std::lock_guard lock(mutex_);
        if (!failed_) failed_ = std::move(done).error();
      }
    }
    return {};
  }

  const repo::LineageRepo& repo_;
  uint32_t block_size_;
  BaseFiles& files_;
  FetchPool& pool_;
  const HydrateOptions& options_;
  Reporter& reporter_;
  const StopToken& stop_;
  RateLimit limit_;
  std::atomic<uint64_t> found_{0};
  std::atomic<uint64_t> brought_{0};
  Paths batch_;  // of the walk
  uint64_t batch_bytes_ = 0;
  std::mutex mutex_;
  std::optional<Error> failed_;
};

}  // namespace

Status hydrate_trees(const repo::LineageRepo& repo, uint32_t block_size, BaseFiles& files, FetchPool& pool,
                     const HydrateOptions& options, Reporter& reporter, const StopToken& stop) {
  return Hydration(repo, block_size, files, pool, options, reporter, stop).run();
}

}  // namespace lifeboat::ops
