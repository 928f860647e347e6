#include "ops/mount/hydrate.h"

#include <fcntl.h>

#include <mutex>

#include "ops/work_queue.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kSmall = 1 << 20;
constexpr size_t kQueuedFiles = 256;

enum class Pass : uint8_t { small, all };

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
        stop_(stop) {}

  Status run() {
    TRY(pass(Pass::small));
    TRY(bring_recent());
    for (;;) {
      found_ = 0;
      TRY(pass(Pass::all));
      if (failed_) return *failed_;
      if (found_ == 0) return {};
    }
  }

 private:
  Status pass(Pass which) {
    WorkQueue<std::string> queue(kQueuedFiles);
    std::vector<std::thread> threads;
    for (int i = 0; i < std::max(1, options_.threads); ++i) threads.emplace_back([&] { work(queue); });
    Status walked;
    for (const std::string& root : options_.roots) {
      if (walked) walked = walk(root, which, queue);
    }
    if (!walked) queue.fail(walked.error());
    queue.close();
    for (std::thread& thread : threads) thread.join();
    if (auto error = queue.error()) return *error;
    return {};
  }

  Status walk(const std::string& directory, Pass which, WorkQueue<std::string>& queue) {
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
        if (which == Pass::small) {
          auto info = lstat_path(path);
          if (!info || info->size > kSmall) continue;
        }
        TRY(queue.push(std::move(path)));
      }
    }
    return {};
  }

  void work(WorkQueue<std::string>& queue) {
    FetchHands hands(repo_, block_size_, pool_);
    while (auto path = queue.pop()) {
      if (Status done = bring(*path, hands); !done) note_failure(queue, std::move(done).error());
    }
  }

  // One file that cannot be brought does not keep the others from it.
  void note_failure(WorkQueue<std::string>& queue, Error error) {
    if (error.kind == ErrorKind::cancelled || error.kind == ErrorKind::space)
      return queue.fail(std::move(error));
    std::lock_guard lock(mutex_);
    if (!failed_) failed_ = std::move(error);
  }

  Status bring(const std::string& path, FetchHands& hands) {
    auto fd = open_file(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (!fd && fd.error().kind == ErrorKind::not_found) return {};
    // A file that its owner may not write came whole with the skeleton, or was made since.
    if (!fd && fd.error().kind == ErrorKind::permission) return {};
    if (!fd) return std::move(fd).error();
    TRY_ASSIGN(std::shared_ptr<BaseFile> base, files_.of(fd->get(), path, [&]() -> Result<Fd> {
      return open_file(cat("/proc/self/fd/", fd->get()), O_RDWR | O_CLOEXEC);
    }));
    if (!base) return {};
    return bring(*base, hands);
  }

  Status bring(BaseFile& base, FetchHands& hands) {
    if (!base.marked()) return {};
    ++found_;
    TRY(base.hydrate(hands, stop_, [&](uint64_t bytes) {
      uint64_t now = brought_.fetch_add(bytes) + bytes;
      reporter_.progress("bringing the rest", std::min(now, options_.total_bytes), options_.total_bytes,
                         ProgressUnit::bytes);
    }));
    TRY_ASSIGN(bool released, base.release());
    (void)released;  // the next walk tells
    return {};
  }

  Status bring_recent() {
    FetchHands hands(repo_, block_size_, pool_);
    for (const std::shared_ptr<BaseFile>& file : files_.recent()) {
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
  std::atomic<uint64_t> found_{0};
  std::atomic<uint64_t> brought_{0};
  std::mutex mutex_;
  std::optional<Error> failed_;
};

}  // namespace

Status hydrate_trees(const repo::LineageRepo& repo, uint32_t block_size, BaseFiles& files, FetchPool& pool,
                     const HydrateOptions& options, Reporter& reporter, const StopToken& stop) {
  return Hydration(repo, block_size, files, pool, options, reporter, stop).run();
}

}  // namespace lifeboat::ops
