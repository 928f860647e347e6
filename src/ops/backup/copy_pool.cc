#include "ops/backup/copy_pool.h"

#include <algorithm>

#include "pg/format/page.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr uint64_t kFrameBytes = 256 << 10;
constexpr uint64_t kRangeBytes = 8 << 20;
constexpr size_t kQueueLimit = 256;
static_assert(kRangeBytes % kFrameBytes == 0);
}  // namespace

// What became of one range of a file. Written by the one worker that copies it.
struct CopyPool::Part {
  std::vector<repo::BlockRef> refs;  // in block order
  uint64_t bytes = 0;                // plain; fewer than asked for: a file that is no relation ends here
};

// One file on its way. Shared by the workers that copy its ranges.
struct CopyPool::FileJob {
  FileJob(std::shared_ptr<OpenDirectory> in_directory, size_t in_slot, repo::Entry its_entry,
          std::unique_ptr<pg::SourceFile> its_file)
      : directory(std::move(in_directory)),
        slot(in_slot),
        entry(std::move(its_entry)),
        file(std::move(its_file)) {}
  std::shared_ptr<OpenDirectory> directory;
  size_t slot;
  repo::Entry entry;
  std::unique_ptr<pg::SourceFile> file;
  std::string tree_path;
  bool relation = false;
  uint64_t size = 0;              // as it was listed
  uint64_t fork_first_block = 0;  // number of the file's first block in its fork
  std::optional<FileBefore> before;
  std::vector<Part> parts;                               // one per range
  std::vector<std::optional<repo::NodeRef>> old_leaves;  // of a mapped file: those that stay as they are
  std::atomic<size_t> ranges_left{0};
  std::atomic<uint64_t> read_bytes{0};

  bool leaf_stays(uint64_t leaf) const { return leaf < old_leaves.size() && old_leaves[leaf]; }
  // The first block of the file from `from` on that is in `changed`, a set of blocks of the fork; at most
  // `end`.
  uint64_t next_in(const pg::BlockSet* changed, uint64_t from, uint64_t end) const {
    if (changed == nullptr) return end;
    auto found = changed->next(static_cast<uint32_t>(fork_first_block + from));
    return found ? std::min<uint64_t>(end, *found - fork_first_block) : end;
  }
};

uint64_t FileBefore::mapped() const {
  uint64_t blocks = mapped_blocks;
  for (const Attempted& attempt : attempts) blocks = std::max(blocks, attempt.mapped_blocks);
  return blocks;
}

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
        buffer_(kFrameBytes),
        tree_(pool.repo_),
        old_packs_(pool.repo_, repo::PackKind::data) {}

  Status copy(const RangeTask& task) {
    FileJob& job = *task.job;
    Part& part = job.parts[static_cast<size_t>(task.offset / kRangeBytes)];
    const uint64_t block_size = pool_.options_.block_size;
    uint64_t begin = task.offset / block_size;
    uint64_t end = (task.offset + task.length + block_size - 1) / block_size;
    TRY(load_old_refs(job, begin, end));
    uint64_t mapped = job.before ? std::clamp(job.before->mapped(), begin, end) : begin;
    TRY(copy_changed(job, part, begin, mapped));
    return copy_all(job, part, mapped, task.offset + task.length);
  }

  // Stores bytes that the caller holds as one frame.
  Result<repo::BlockRef> store(std::string_view tree_path, uint64_t first_block, ByteView bytes, Lsn newest) {
    repo::BlockRef ref;
    ref.hash = codec::hash128(bytes);
    ref.count =
        static_cast<uint32_t>((bytes.size() + pool_.options_.block_size - 1) / pool_.options_.block_size);
    const repo::BlockRun run{first_block, ref.count, ref.hash};
    TRY_ASSIGN(ref.frame, packs_.append(bytes, {tree_path, {&run, 1}, newest}));
    return ref;
  }

  Status finish() { return packs_.finish(); }
  uint64_t stored_bytes() const { return packs_.stored_bytes(); }
  repo::UsageTally& tally() { return tally_; }

 private:
  // What one source has of the range at hand: the attempts, oldest first, after the reference.
  using OldRuns = std::vector<repo::StoredRun>;

  uint32_t frame_blocks() const { return static_cast<uint32_t>(kFrameBytes / pool_.options_.block_size); }

  // What there is of the blocks from `begin` to before `end`.
  Status load_old_refs(const FileJob& job, uint64_t begin, uint64_t end) {
    old_.clear();
    if (!job.before) return {};
    old_.resize(1 + job.before->attempts.size());
    const repo::Entry& entry = job.before->entry;
    if (entry.leaves.empty()) take_old_refs(entry, 0, entry.blocks, begin, end);
    for (uint64_t leaf = begin / repo::kMapLeafBlocks;
         leaf < entry.leaves.size() && leaf * repo::kMapLeafBlocks < end; ++leaf) {
      const repo::NodeRef& node = entry.leaves[leaf];
      if (!leaf_ || *leaf_ != node) {
        leaf_.reset();
        TRY_ASSIGN(leaf_refs_, tree_.leaf(node));
        leaf_ = node;
      }
      take_old_refs(entry, leaf * repo::kMapLeafBlocks, leaf_refs_, begin, end);
    }
    for (size_t i = 0; i < job.before->attempts.size(); ++i) {
      for (const repo::StoredRun& run : job.before->attempts[i].runs) {
        if (run.first + run.ref.count > begin && run.first < end) old_[i + 1].push_back(run);
      }
    }
    return {};
  }

  // Of the reference. What of it is in this backup is counted anew when the file is done.
  void take_old_refs(const repo::Entry& entry, uint64_t first, const std::vector<repo::BlockRef>& refs,
                     uint64_t begin, uint64_t end) {
    const uint32_t block_size = pool_.options_.block_size;
    for (const repo::BlockRef& ref : refs) {
      uint64_t from = std::max(first, begin);
      uint64_t to = std::min(first + ref.count, end);
      if (from < to) {
        uint64_t bytes =
            std::min(uint64_t{ref.count} * block_size, entry.size - std::min(entry.size, first * block_size));
        old_[0].push_back({first, bytes, {}, ref});
        tally_.add(ref.frame.pack, -static_cast<int64_t>(to - from));
      }
      first += ref.count;
    }
  }

  // Where a block of the range comes from: read from the server, or referred to.
  static constexpr const repo::StoredRun* kRead = nullptr;

  // Decides about the blocks from `begin` to before `end`, all of which some map speaks of.
  void choose_sources(const FileJob& job, uint64_t begin, uint64_t end) {
    from_.assign(end - begin, kRead);
    auto take = [&](const OldRuns& runs, uint64_t mapped, const pg::BlockSet* changed) {
      uint64_t last = std::min(end, mapped);
      for (const repo::StoredRun& run : runs) {
        if (run.newest > pool_.options_.start) continue;
        uint64_t to = std::min(run.first + run.bytes / pool_.options_.block_size, last);
        for (uint64_t block = std::max(run.first, begin); block < to;) {
          uint64_t next = job.next_in(changed, block, to);
          for (; block < next; ++block) from_[block - begin] = &run;
          if (block < to) ++block;
        }
      }
    };
    take(old_[0], job.before->mapped_blocks, job.before->changed);
    if (const pg::BlockSet* carried = job.before->carried) {
      for (auto next = carried->next(static_cast<uint32_t>(begin)); next && *next < end;
           next = carried->next(*next + 1)) {
        const repo::StoredRun*& from = from_[*next - begin];
        if (from != kRead && is_emptied(from->ref)) from = kRead;
      }
    }
    for (size_t i = 0; i < job.before->attempts.size(); ++i) {
      const FileBefore::Attempted& attempt = job.before->attempts[i];
      take(old_[i + 1], attempt.mapped_blocks, attempt.changed);
    }
  }

  bool is_emptied(const repo::BlockRef& ref) const {
    return pool_.options_.carry != nullptr && pool_.options_.carry->empties(ref.frame.pack);
  }

  bool is_carried(const FileJob& job, uint64_t block, const repo::BlockRef& ref) const {
    const pg::BlockSet* carried = job.before->carried;
    return carried != nullptr && carried->contains(static_cast<uint32_t>(block)) && is_emptied(ref);
  }

  // Stretches of blocks that come from the same place; those to be read are at most a frame long.
  struct Stretch {
    uint64_t first = 0;
    uint32_t count = 0;
    const repo::StoredRun* from = nullptr;
  };
  std::vector<Stretch> stretches(uint64_t begin) const {
    std::vector<Stretch> found;
    for (size_t i = 0; i < from_.size(); ++i) {
      // A leaf of the block map ends a stretch (with small blocks a range has several).
      bool goes_on = !found.empty() && found.back().from == from_[i] &&
                     (begin + i) % repo::kMapLeafBlocks != 0 &&
                     (from_[i] != kRead || found.back().count < frame_blocks());
      if (goes_on) {
        ++found.back().count;
      } else {
        found.push_back({begin + i, 1, from_[i]});
      }
    }
    return found;
  }

  // The blocks from `begin` to before `end` that have changed; the others stay where they are. Scattered
  // blocks share frames, in the order of the file.
  Status copy_changed(FileJob& job, Part& part, uint64_t begin, uint64_t end) {
    if (begin == end) return {};
    choose_sources(job, begin, end);
    std::vector<Stretch> all = stretches(begin);
    announce(job, all);
    for (const Stretch& stretch : all) {
      TRY(stretch.from == kRead ? gather(job, part, stretch.first, stretch.count) : keep(job, part, stretch));
    }
    part.bytes += (end - begin) * pool_.options_.block_size;
    return flush(job, part);
  }

  void announce(FileJob& job, const std::vector<Stretch>& all) {
    std::vector<pg::FileRange> ranges;
    for (const Stretch& stretch : all) {
      if (stretch.from != kRead) continue;
      ranges.push_back(
          {stretch.first * pool_.options_.block_size, uint64_t{stretch.count} * pool_.options_.block_size});
    }
    if (!ranges.empty()) job.file->will_read(ranges);
  }

  // Refers to blocks that have not changed.
  Status keep(FileJob& job, Part& part, const Stretch& stretch) {
    part.refs.push_back(
        stretch.from->ref.part(static_cast<uint32_t>(stretch.first - stretch.from->first), stretch.count));
    return pool_.proves() ? prove(job, stretch.first, part.refs.back()) : Status();
  }

  // The blocks from `first` on are what `ref` refers to, but for hint bits (which leave the LSN alone) and
  // changes since this backup's start, which WAL replay makes again.
  Status prove(FileJob& job, uint64_t first, const repo::BlockRef& ref) {
    const uint32_t block_size = pool_.options_.block_size;
    proof_.resize(size_t{ref.count} * block_size);
    TRY_ASSIGN(size_t got, job.file->read(first * block_size, proof_));
    count_read(job, got);
    if (ref.whole() && got == proof_.size() && codec::hash128(proof_) == ref.hash) return {};
    TRY(old_packs_.read(ref.frame, old_frame_));
    for (uint32_t i = 0; size_t{i + 1} * block_size <= got; ++i) {
      ByteView now = ByteView(proof_).subspan(size_t{i} * block_size, block_size);
      size_t at = size_t{ref.first_block + i} * block_size;
      if (at + block_size > old_frame_.plain.size()) {
        return make_error(ErrorKind::damaged, job.tree_path,
                          cat("the reference's frame has no block ", first + i));
      }
      ByteView before = ByteView(old_frame_.plain).subspan(at, block_size);
      Lsn lsn = pg::page_lsn(now);
      if (lsn == pg::page_lsn(before) || lsn >= pool_.options_.prove->to) continue;
      return make_error(
                 ErrorKind::check_failed, job.tree_path,
                 cat("block ", first + i, " changed at ", lsn.to_string(), ", and the change map since ",
                     pool_.options_.prove->from.to_string(), " does not know it"))
          .with_hint("this is a bug of lifeboat: back up with --type full, and report it");
    }
    return {};
  }

  // Reads a run of changed blocks into the frame that is being gathered.
  Status gather(FileJob& job, Part& part, uint64_t first, uint32_t count) {
    TRY(pool_.stop_.check());
    const uint32_t block_size = pool_.options_.block_size;
    if (gathered_ + count > frame_blocks()) TRY(flush(job, part));
    MutableBytes into =
        MutableBytes(buffer_).subspan(size_t{gathered_} * block_size, size_t{count} * block_size);
    TRY(read_run(job, first * block_size, into));
    TRY_ASSIGN(Lsn newest, check_pages(job, first, into));
    newest_ = std::max(newest_, newest);
    repo::BlockRef ref;
    ref.first_block = gathered_;
    ref.count = count;
    ref.hash = codec::hash128(into);
    waiting_.push_back(part.refs.size());
    part.refs.push_back(ref);
    runs_.push_back({first, count, ref.hash});
    gathered_ += count;
    pool_.throttle(into.size());
    return {};
  }

  // Stores the gathered blocks as one frame.
  Status flush(FileJob& job, Part& part) {
    if (gathered_ == 0) return {};
    ByteView bytes = ByteView(buffer_).first(size_t{gathered_} * pool_.options_.block_size);
    TRY_ASSIGN(repo::FrameRef frame, packs_.append(bytes, {job.tree_path, runs_, newest_}));
    for (size_t index : waiting_) part.refs[index].frame = frame;
    waiting_.clear();
    runs_.clear();
    newest_ = {};
    gathered_ = 0;
    return {};
  }

  // Everything from block `begin` to before the byte `end`, frame by frame; what the reference has too is not
  // stored.
  Status copy_all(FileJob& job, Part& part, uint64_t begin, uint64_t end) {
    const uint64_t block_size = pool_.options_.block_size;
    const pg::FileRange range{begin * block_size, end - std::min(end, begin * block_size)};
    if (range.length != 0) job.file->will_read({&range, 1});
    for (uint64_t at = begin * block_size; at < end;) {
      TRY(pool_.stop_.check());
      size_t want = static_cast<size_t>(std::min(end, (at / kFrameBytes + 1) * kFrameBytes) - at);
      TRY_ASSIGN(size_t size, read_run(job, at, MutableBytes(buffer_).first(want)));
      if (size == 0) break;
      MutableBytes bytes = MutableBytes(buffer_).first(size);
      uint64_t block = at / block_size;
      TRY_ASSIGN(Lsn newest, check_pages(job, block, bytes));
      TRY_ASSIGN(repo::BlockRef ref, store_or_refer(job, block, bytes, newest));
      part.refs.push_back(std::move(ref));
      part.bytes += size;
      pool_.throttle(size);
      if (size < want) break;
      at += size;
    }
    return {};
  }

  Result<repo::BlockRef> store_or_refer(const FileJob& job, uint64_t block, ByteView bytes, Lsn newest) {
    const uint32_t block_size = pool_.options_.block_size;
    auto count = static_cast<uint32_t>((bytes.size() + block_size - 1) / block_size);
    for (const OldRuns& runs : old_) {
      auto old = std::ranges::lower_bound(runs, block, {}, &repo::StoredRun::first);
      // A short last block is the old one only when it is as long.
      bool comparable = old != runs.end() && old->first == block && old->ref.count == count &&
                        old->ref.whole() && old->bytes == bytes.size() && !is_carried(job, block, old->ref);
      if (comparable && codec::hash128(bytes) == old->ref.hash) return old->ref;
    }
    return store(job.tree_path, block, bytes, newest);
  }

  // A relation file that shrank since it was listed is filled up with zeros, as PostgreSQL's own base backup
  // does: the truncation is in the WAL after the start, and ranges of one file may be read before and after
  // it (T07). Any other file simply ends where it ends now.
  Result<size_t> read_run(FileJob& job, uint64_t offset, MutableBytes into) {
    TRY_ASSIGN(size_t got, job.file->read(offset, into));
    count_read(job, got);
    if (got == into.size() || !job.relation) return got;
    std::fill(into.begin() + static_cast<ptrdiff_t>(got), into.end(), uint8_t{0});
    return into.size();
  }

  void count_read(FileJob& job, size_t bytes) {
    job.read_bytes.fetch_add(bytes, std::memory_order_relaxed);
    pool_.read_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }

  Result<Lsn> check_pages(FileJob& job, uint64_t block, MutableBytes bytes) {
    if (!job.relation) return Lsn{};
    return pool_.checker_.check(job.tree_path, bytes, block, job.fork_first_block + block,
                                [&](uint64_t again, MutableBytes into) {
                                  return job.file->read(again * pool_.options_.block_size, into);
                                });
  }

  CopyPool& pool_;
  repo::PackWriter packs_;
  Bytes buffer_;
  // Of the frame that is being gathered:
  uint32_t gathered_ = 0;             // blocks in buffer_
  std::vector<repo::BlockRun> runs_;  // where they belong
  Lsn newest_;                        // of their pages
  std::vector<size_t> waiting_;       // refs that wait for the frame
  // Of the reference:
  repo::TreeReader tree_;
  repo::PackReaders old_packs_;
  repo::Frame old_frame_;
  Bytes proof_;
  std::vector<OldRuns> old_;  // that touch the range at hand
  std::vector<const repo::StoredRun*> from_;
  repo::UsageTally tally_;
  std::optional<repo::NodeRef> leaf_;
  std::vector<repo::BlockRef> leaf_refs_;
};

CopyPool::CopyPool(const repo::LineageRepo& repo, repo::PackNumbers& numbers, PageChecker& checker,
                   CopyOptions options, Reporter& reporter, StopToken& stop)
    : repo_(repo),
      backup_(numbers.backup()),
      nodes_(repo, numbers),
      checker_(checker),
      options_(options),
      reporter_(reporter),
      stop_(stop),
      old_tree_(repo),
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
  return std::make_shared<OpenDirectory>("", nullptr, 0, slots, nodes_);
}

std::shared_ptr<OpenDirectory> CopyPool::open_directory(const std::shared_ptr<OpenDirectory>& parent,
                                                        size_t slot, repo::Entry entry, size_t slots) {
  std::string path = parent->tree_path_.empty() ? entry.name : cat(parent->tree_path_, "/", entry.name);
  auto directory = std::make_shared<OpenDirectory>(std::move(path), parent, slot, slots, nodes_);
  std::lock_guard lock(parent->mutex_);
  parent->entries_[slot] = std::make_unique<repo::Entry>(std::move(entry));
  return directory;
}

void CopyPool::put_entry(const std::shared_ptr<OpenDirectory>& directory, size_t slot,
                         std::optional<repo::Entry> entry) {
  {
    std::lock_guard lock(directory->mutex_);
    if (entry) directory->entries_[slot] = std::make_unique<repo::Entry>(std::move(*entry));
    directory->done_[slot] = true;
    if (auto written = write_done(*directory); !written) return fail(std::move(written).error());
  }
  give_back(directory);
}

// Hands over the entries that are done up to the first that is not. The caller holds the directory's mutex.
Status CopyPool::write_done(OpenDirectory& directory) {
  for (size_t& next = directory.written_; next < directory.done_.size() && directory.done_[next]; ++next) {
    std::unique_ptr<repo::Entry> entry = std::move(directory.entries_[next]);
    if (entry) TRY(directory.writer_.add(std::move(*entry)));
  }
  return {};
}

Status CopyPool::put_content(const std::shared_ptr<OpenDirectory>& directory, size_t slot, repo::Entry entry,
                             ByteView content) {
  CHECK(content.size() <= kFrameBytes);
  entry.size = content.size();
  if (!content.empty()) {
    std::string path = cat(directory->tree_path_, "/", entry.name);
    TRY_ASSIGN(repo::BlockRef ref, workers_.back()->store(path, 0, content, {}));
    workers_.back()->tally().add(ref.frame.pack, ref.count);
    entry.blocks.push_back(std::move(ref));
  }
  files_.fetch_add(1, std::memory_order_relaxed);
  plain_bytes_.fetch_add(content.size(), std::memory_order_relaxed);
  read_bytes_.fetch_add(content.size(), std::memory_order_relaxed);
  put_entry(directory, slot, std::move(entry));
  return {};
}

// Counts one entry as done. When it was the last, the directory is finished and the same happens to its
// parent.
void CopyPool::give_back(std::shared_ptr<OpenDirectory> directory) {
  while (directory && directory->pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    auto node = directory->writer_.finish();
    if (!node) return fail(std::move(node).error());
    directories_.fetch_add(1, std::memory_order_relaxed);
    std::shared_ptr<OpenDirectory> parent = directory->parent_;
    if (!parent) {
      root_ = *node;
      return;
    }
    {
      std::lock_guard lock(parent->mutex_);
      parent->entries_[directory->slot_in_parent_]->directory = *node;
      parent->done_[directory->slot_in_parent_] = true;
      if (auto written = write_done(*parent); !written) return fail(std::move(written).error());
    }
    directory = std::move(parent);
  }
}

// --- files
// -------------------------------------------------------------------------------------------------------

Status CopyPool::copy_file(const std::shared_ptr<OpenDirectory>& directory, size_t slot,
                           std::unique_ptr<pg::SourceFile> file, repo::Entry entry, const pg::Entry& facts,
                           std::optional<FileBefore> before) {
  TRY(failure());
  if (!file) {  // its removal is in the WAL
    if (before) TRY(forget(before->entry));
    put_entry(directory, slot, std::nullopt);
    return {};
  }
  auto job = std::make_shared<FileJob>(directory, slot, std::move(entry), std::move(file));
  job->relation = facts.file_class == pg::FileClass::relation;
  job->fork_first_block = facts.first_block(options_.segment_blocks);
  job->tree_path = cat(directory->tree_path_, "/", job->entry.name);
  job->size = facts.size;
  job->before = std::move(before);
  find_old_leaves(*job);
  if (job->before && job->before->entry.size > facts.size) {
    TRY(forget_blocks(job->before->entry, (facts.size + options_.block_size - 1) / options_.block_size));
  }
  job->parts.resize(static_cast<size_t>((facts.size + kRangeBytes - 1) / kRangeBytes));
  std::vector<uint64_t> offsets;
  for (uint64_t offset = 0; offset < facts.size; offset += kRangeBytes) {
    if (!job->leaf_stays(offset / options_.block_size / repo::kMapLeafBlocks)) offsets.push_back(offset);
  }
  if (offsets.empty()) {
    finish_file(*job, *workers_.back());
    return {};
  }
  job->ranges_left = offsets.size();
  for (uint64_t offset : offsets) TRY(enqueue({job, offset, std::min(kRangeBytes, facts.size - offset)}));
  return {};
}

void CopyPool::put_unchanged(const std::shared_ptr<OpenDirectory>& directory, size_t slot, repo::Entry entry,
                             repo::Entry before) {
  entry.size = before.size;
  entry.blocks = std::move(before.blocks);
  entry.leaves = std::move(before.leaves);
  repo::ChangeCount count;
  count.files = 1;
  count.plain_bytes = entry.size;
  changes_.add(directory->tree_path(), entry.name, true, count);
  files_.fetch_add(1, std::memory_order_relaxed);
  plain_bytes_.fetch_add(entry.size, std::memory_order_relaxed);
  put_entry(directory, slot, std::move(entry));
}

// Leaves of the reference's block map that the new one takes over unread: full in both, and nothing in them
// changed.
void CopyPool::find_old_leaves(FileJob& job) const {
  // Ranges are not shared between leaves, whatever the block size.
  if (!job.before || !job.before->attempts.empty() || proves() ||
      kRangeBytes > uint64_t{repo::kMapLeafBlocks} * options_.block_size)
    return;
  const std::vector<repo::NodeRef>& leaves = job.before->entry.leaves;
  job.old_leaves.resize(leaves.size());
  for (uint64_t leaf = 0; leaf < leaves.size(); ++leaf) {
    uint64_t begin = leaf * repo::kMapLeafBlocks;
    uint64_t end = begin + repo::kMapLeafBlocks;
    bool full = end <= job.before->mapped_blocks && end * options_.block_size <= job.size;
    auto carried = job.before->carried != nullptr ? job.before->carried->next(static_cast<uint32_t>(begin))
                                                  : std::nullopt;
    if (!full || (carried && *carried < end) || job.next_in(job.before->changed, begin, end) != end) continue;
    job.old_leaves[leaf] = leaves[leaf];
  }
}

// Counts the blocks of a file that is not there any more, or not as long.
Status CopyPool::forget_blocks(const repo::Entry& gone, uint64_t from_block) {
  repo::UsageTally& tally = workers_.back()->tally();
  return old_tree_.blocks(gone, [&](uint64_t first, const std::vector<repo::BlockRef>& refs) -> Status {
    for (const repo::BlockRef& ref : refs) {
      uint64_t end = first + ref.count;
      if (end > from_block)
        tally.add(ref.frame.pack, -static_cast<int64_t>(end - std::max(first, from_block)));
      first = end;
    }
    return {};
  });
}

Status CopyPool::forget(const repo::Entry& gone) {
  if (gone.type == repo::EntryType::file) return forget_blocks(gone, 0);
  if (gone.type != repo::EntryType::directory) return {};
  std::vector<repo::Entry> below;
  TRY(old_tree_.list(gone.directory, [&](const repo::Entry& entry) -> Status {
    below.push_back(entry);
    return {};
  }));
  for (const repo::Entry& entry : below) TRY(forget(entry));
  return {};
}

void CopyPool::finish_file(FileJob& job, Worker& worker) {
  if (job.file->gone()) return put_entry(job.directory, job.slot, std::nullopt);
  if (auto written = write_map(job, worker.tally()); !written) return fail(std::move(written).error());
  files_.fetch_add(1, std::memory_order_relaxed);
  plain_bytes_.fetch_add(job.entry.size, std::memory_order_relaxed);
  put_entry(job.directory, job.slot, std::move(job.entry));
}

Status CopyPool::write_map(FileJob& job, repo::UsageTally& tally) {
  const uint64_t leaf_bytes = uint64_t{repo::kMapLeafBlocks} * options_.block_size;
  std::vector<repo::BlockRef> refs;  // since the last leaf
  uint64_t size = 0;
  uint64_t new_blocks = 0;
  auto write_leaf = [&]() -> Status {
    if (refs.empty()) return {};
    TRY_ASSIGN(repo::NodeRef leaf, nodes_.write(repo::encode_leaf(refs)));
    job.entry.leaves.push_back(leaf);
    refs.clear();
    return {};
  };
  bool taken_over = std::ranges::any_of(job.old_leaves, [](const auto& leaf) { return leaf.has_value(); });
  for (size_t i = 0; i < job.parts.size();) {
    uint64_t leaf = i * kRangeBytes / leaf_bytes;
    if (job.leaf_stays(leaf)) {
      TRY(write_leaf());
      job.entry.leaves.push_back(*job.old_leaves[leaf]);
      size += leaf_bytes;
      i += static_cast<size_t>(leaf_bytes / kRangeBytes);
      continue;
    }
    Part& part = job.parts[i];
    if (taken_over && size % leaf_bytes == 0) TRY(write_leaf());
    refs.insert(refs.end(), part.refs.begin(), part.refs.end());
    for (const repo::BlockRef& ref : part.refs) {
      tally.add(ref.frame.pack, ref.count);
      if (ref.frame.pack.backup == backup_) new_blocks += ref.count;
    }
    size += part.bytes;
    ++i;
    if (part.bytes < kRangeBytes) break;  // the end, or where a file that is no relation ends now
  }
  job.entry.size = size;
  count(job, new_blocks);
  if (taken_over) return write_leaf();
  return repo::write_block_map(nodes_, std::move(refs), job.entry);
}

void CopyPool::count(const FileJob& job, uint64_t new_blocks) {
  repo::ChangeCount count;
  count.files = 1;
  count.plain_bytes = job.entry.size;
  count.read_bytes = job.read_bytes;
  count.new_bytes = std::min(job.entry.size, new_blocks * options_.block_size);
  changes_.add(job.directory->tree_path(), job.entry.name, job.relation, count);
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
        finish_file(*task.job, worker);
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
  TRY(write_usage());
  return nodes_.finish();
}

Status CopyPool::write_usage() {
  repo::UsageTally all;
  for (const auto& worker : workers_) all.merge(worker->tally());
  const repo::PackUsage before = options_.carry != nullptr ? options_.carry->usage() : repo::PackUsage();
  TRY_ASSIGN(usage_, nodes_.write(repo::encode_usage(all.apply(before))));
  return {};
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
