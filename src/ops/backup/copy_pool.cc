#include "ops/backup/copy_pool.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr uint64_t kFrameBytes = 256 << 10;
constexpr uint64_t kRangeBytes = 8 << 20;
constexpr size_t kQueueLimit = 256;
static_assert(kRangeBytes % kFrameBytes == 0);
}  // namespace

// One file on its way. Shared by the workers that copy its ranges.
struct CopyPool::FileJob {
  FileJob(std::shared_ptr<OpenDirectory> in_directory, size_t in_slot, repo::Entry its_entry,
          pg::RangeReader its_reader)
      : directory(std::move(in_directory)),
        slot(in_slot),
        entry(std::move(its_entry)),
        reader(std::move(its_reader)) {}
  std::shared_ptr<OpenDirectory> directory;
  size_t slot;
  repo::Entry entry;
  pg::RangeReader reader;
  std::string tree_path;
  bool relation = false;
  uint64_t fork_first_block = 0;     // number of the file's first block in its fork
  std::vector<repo::BlockRef> refs;  // one per frame, each written by exactly one worker
  std::vector<uint32_t> sizes;       // plain bytes of each frame
  std::atomic<size_t> ranges_left{0};
};

struct CopyPool::RangeTask {
  std::shared_ptr<FileJob> job;
  uint64_t offset = 0;
  uint64_t length = 0;
};

// What one thread owns: its packs and its buffer.
class CopyPool::Worker {
 public:
  Worker(CopyPool& pool, repo::PackNumbers& numbers)
      : pool_(pool),
        packs_(pool.repo_, numbers, repo::PackKind::data, pool.repo_.compression()),
        buffer_(kFrameBytes) {}

  Status copy(const RangeTask& task) {
    FileJob& job = *task.job;
    job.reader.will_read(task.offset, task.length);
    for (uint64_t done = 0; done < task.length; done += kFrameBytes) {
      TRY(pool_.stop_.check());
      uint64_t offset = task.offset + done;
      size_t want = static_cast<size_t>(std::min(kFrameBytes, task.length - done));
      TRY_ASSIGN(size_t size, read_frame(job, offset, want));
      size_t frame = static_cast<size_t>(offset / kFrameBytes);
      job.sizes[frame] = static_cast<uint32_t>(size);
      if (size == 0) continue;
      TRY_ASSIGN(job.refs[frame], store_frame(job, offset, MutableBytes(buffer_).first(size)));
      pool_.throttle(size);
    }
    return {};
  }

  // Stores bytes that the caller holds as one frame.
  Result<repo::BlockRef> store(std::string_view tree_path, uint64_t first_block, ByteView bytes) {
    repo::BlockRef ref;
    ref.hash = codec::hash128(bytes);
    TRY_ASSIGN(ref.frame, packs_.append(bytes, {tree_path, first_block}));
    ref.count =
        static_cast<uint32_t>((bytes.size() + pool_.options_.block_size - 1) / pool_.options_.block_size);
    return ref;
  }

  Status finish() { return packs_.finish(); }
  uint64_t stored_bytes() const { return packs_.stored_bytes(); }

 private:
  // A relation file that shrank since it was listed is filled up with zeros, as PostgreSQL's own base backup
  // does: the truncation is in the WAL after the start, and ranges of one file may be read before and after
  // it (T07). Any other file simply ends where it ends now.
  Result<size_t> read_frame(FileJob& job, uint64_t offset, size_t want) {
    MutableBytes into = MutableBytes(buffer_).first(want);
    TRY_ASSIGN(size_t got, job.reader.read(offset, into));
    pool_.read_bytes_.fetch_add(got, std::memory_order_relaxed);
    if (got == want || !job.relation) return got;
    std::fill(into.begin() + static_cast<ptrdiff_t>(got), into.end(), uint8_t{0});
    return want;
  }

  Result<repo::BlockRef> store_frame(FileJob& job, uint64_t offset, MutableBytes bytes) {
    uint64_t block = offset / pool_.options_.block_size;
    if (job.relation) {
      TRY(pool_.checker_.check(job.tree_path, bytes, block, job.fork_first_block + block,
                               [&](uint64_t again, MutableBytes into) {
                                 return job.reader.read(again * pool_.options_.block_size, into);
                               }));
    }
    return store(job.tree_path, block, bytes);
  }

  CopyPool& pool_;
  repo::PackWriter packs_;
  Bytes buffer_;
};

CopyPool::CopyPool(const repo::LineageRepo& repo, repo::PackNumbers& numbers, PageChecker& checker,
                   CopyOptions options, Reporter& reporter, StopToken& stop)
    : repo_(repo),
      nodes_(repo, numbers),
      checker_(checker),
      options_(options),
      reporter_(reporter),
      stop_(stop),
      began_us_(Clock::system().monotonic_us()) {
  CHECK(kFrameBytes % options.block_size == 0 && options.workers >= 1);
  // The last worker belongs to the coordinator (put_content); it has no thread.
  for (int i = 0; i <= options.workers; ++i) workers_.push_back(std::make_unique<Worker>(*this, numbers));
  for (int i = 0; i < options.workers; ++i) {
    threads_.emplace_back([this, i] { run(*workers_[static_cast<size_t>(i)]); });
  }
}

CopyPool::~CopyPool() {
  end_threads(Ending::abandon);
}

// --- directories
// -----------------------------------------------------------------------------------------------

std::shared_ptr<OpenDirectory> CopyPool::open_root(size_t slots) {
  auto root = std::make_shared<OpenDirectory>("", nullptr, 0);
  root->entries_.resize(slots);
  root->pending_ += slots;
  return root;
}

std::shared_ptr<OpenDirectory> CopyPool::open_directory(const std::shared_ptr<OpenDirectory>& parent,
                                                        size_t slot, repo::Entry entry, size_t slots) {
  std::string path = parent->tree_path_.empty() ? entry.name : cat(parent->tree_path_, "/", entry.name);
  auto directory = std::make_shared<OpenDirectory>(std::move(path), parent, slot);
  directory->entries_.resize(slots);
  directory->pending_ += slots;
  parent->entries_[slot] = std::move(entry);
  return directory;
}

void CopyPool::put_entry(const std::shared_ptr<OpenDirectory>& directory, size_t slot,
                         std::optional<repo::Entry> entry) {
  directory->entries_[slot] = std::move(entry);
  give_back(directory);
}

Status CopyPool::put_content(const std::shared_ptr<OpenDirectory>& directory, size_t slot, repo::Entry entry,
                             ByteView content) {
  CHECK(content.size() <= kFrameBytes);
  entry.size = content.size();
  if (!content.empty()) {
    std::string path = cat(directory->tree_path_, "/", entry.name);
    TRY_ASSIGN(repo::BlockRef ref, workers_.back()->store(path, 0, content));
    entry.blocks.push_back(std::move(ref));
  }
  files_.fetch_add(1, std::memory_order_relaxed);
  plain_bytes_.fetch_add(content.size(), std::memory_order_relaxed);
  read_bytes_.fetch_add(content.size(), std::memory_order_relaxed);
  put_entry(directory, slot, std::move(entry));
  return {};
}

// Counts one entry as done. When it was the last, the directory is written and the same happens to its
// parent.
void CopyPool::give_back(std::shared_ptr<OpenDirectory> directory) {
  while (directory && directory->pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    repo::DirectoryWriter writer(nodes_);
    for (std::optional<repo::Entry>& entry : directory->entries_) {
      if (!entry) continue;
      if (auto added = writer.add(std::move(*entry)); !added) return fail(std::move(added).error());
    }
    directory->entries_.clear();
    auto node = writer.finish();
    if (!node) return fail(std::move(node).error());
    directories_.fetch_add(1, std::memory_order_relaxed);
    if (!directory->parent_) {
      root_ = *node;
      return;
    }
    directory->parent_->entries_[directory->slot_in_parent_]->directory = *node;
    directory = directory->parent_;
  }
}

// --- files
// -------------------------------------------------------------------------------------------------------

Status CopyPool::copy_file(const std::shared_ptr<OpenDirectory>& directory, size_t slot,
                           const std::string& absolute_path, repo::Entry entry, const pg::Entry& facts) {
  TRY(failure());
  TRY_ASSIGN(std::optional<pg::RangeReader> reader, pg::RangeReader::open(absolute_path));
  if (!reader) {  // removed since the listing: its removal is in the WAL
    put_entry(directory, slot, std::nullopt);
    return {};
  }
  auto job = std::make_shared<FileJob>(directory, slot, std::move(entry), std::move(*reader));
  job->relation = facts.file_class == pg::FileClass::relation;
  job->fork_first_block = facts.first_block(options_.segment_blocks);
  job->tree_path = cat(directory->tree_path_, "/", job->entry.name);
  size_t frames = static_cast<size_t>((facts.size + kFrameBytes - 1) / kFrameBytes);
  job->refs.resize(frames);
  job->sizes.resize(frames);
  if (frames == 0) {
    finish_file(*job);
    return {};
  }
  job->ranges_left = static_cast<size_t>((facts.size + kRangeBytes - 1) / kRangeBytes);
  for (uint64_t offset = 0; offset < facts.size; offset += kRangeBytes) {
    TRY(enqueue({job, offset, std::min(kRangeBytes, facts.size - offset)}));
  }
  return {};
}

void CopyPool::finish_file(FileJob& job) {
  uint64_t size = 0;
  size_t frames = 0;
  for (; frames < job.sizes.size(); ++frames) {
    size += job.sizes[frames];
    if (job.sizes[frames] < kFrameBytes) {  // where a file that is no relation ended
      frames += job.sizes[frames] > 0 ? 1 : 0;
      break;
    }
  }
  job.refs.resize(frames);
  job.entry.size = size;
  if (auto written = repo::write_block_map(nodes_, std::move(job.refs), job.entry); !written) {
    return fail(std::move(written).error());
  }
  files_.fetch_add(1, std::memory_order_relaxed);
  plain_bytes_.fetch_add(size, std::memory_order_relaxed);
  put_entry(job.directory, job.slot, std::move(job.entry));
}

// --- the queue
// ---------------------------------------------------------------------------------------------------

Status CopyPool::enqueue(RangeTask task) {
  std::unique_lock lock(mutex_);
  room_ready_.wait(lock, [&] { return queue_.size() < kQueueLimit || error_ || stop_.stopped(); });
  if (error_) return *error_;
  queue_.push_back(std::move(task));
  lock.unlock();
  work_ready_.notify_one();
  return {};
}

bool CopyPool::take(RangeTask& task) {
  std::unique_lock lock(mutex_);
  work_ready_.wait(lock, [&] { return !queue_.empty() || ending_ != Ending::no; });
  if (queue_.empty()) return false;
  task = std::move(queue_.front());
  queue_.pop_front();
  ++running_;
  lock.unlock();
  room_ready_.notify_all();
  return true;
}

void CopyPool::run(Worker& worker) {
  RangeTask task;
  while (take(task)) {
    bool skip = !failure();
    if (!skip) {
      if (auto copied = worker.copy(task); !copied) {
        fail(std::move(copied).error());
      } else if (task.job->ranges_left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        finish_file(*task.job);
      }
    }
    task = {};
    {
      std::lock_guard lock(mutex_);
      --running_;
    }
    room_ready_.notify_all();
    reporter_.progress("copying", read_bytes_.load(std::memory_order_relaxed), expected_bytes_,
                       ProgressUnit::bytes);
  }
  // Each thread commits its last pack itself, so that their flushes to disk overlap.
  if (ending() == Ending::commit && failure()) {
    if (auto finished = worker.finish(); !finished) fail(std::move(finished).error());
  }
}

CopyPool::Ending CopyPool::ending() {
  std::lock_guard lock(mutex_);
  return ending_;
}

Status CopyPool::drain() {
  std::unique_lock lock(mutex_);
  room_ready_.wait(lock, [&] { return (queue_.empty() && running_ == 0); });
  if (error_) return *error_;
  return {};
}

Status CopyPool::finish() {
  TRY(drain());
  TRY(stop_.check());
  end_threads(Ending::commit);
  TRY(failure());
  TRY(workers_.back()->finish());
  return nodes_.finish();
}

void CopyPool::end_threads(Ending how) {
  {
    std::lock_guard lock(mutex_);
    ending_ = how;
    if (how == Ending::abandon) queue_.clear();
  }
  work_ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void CopyPool::fail(Error error) {
  {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  room_ready_.notify_all();
}

Status CopyPool::failure() {
  std::lock_guard lock(mutex_);
  if (error_) return *error_;
  return {};
}

// Sleeps as long as the bytes read so far are ahead of the allowed rate.
void CopyPool::throttle(uint64_t bytes) {
  if (options_.bytes_per_second == 0 || bytes == 0) return;
  Clock& clock = Clock::system();
  double due_us = static_cast<double>(read_bytes_.load(std::memory_order_relaxed)) /
                  static_cast<double>(options_.bytes_per_second) * 1e6;
  while (!stop_.stopped()) {
    double ahead_us = due_us - static_cast<double>(clock.monotonic_us() - began_us_);
    if (ahead_us < 1000) return;
    clock.sleep_us(static_cast<int64_t>(std::min(ahead_us, 100'000.0)));
  }
}

CopyTotals CopyPool::totals() const {
  CopyTotals totals{files_, directories_, plain_bytes_, read_bytes_, nodes_.stored_bytes()};
  for (const auto& worker : workers_) totals.stored_bytes += worker->stored_bytes();
  return totals;
}

}  // namespace lifeboat::ops
