#include "ops/restore/tree_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "ops/restore/crc_combine.h"
#include "ops/restore/existing_file.h"
#include "ops/work_queue.h"
#include "repo/block_reader.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kQueuedTasks = 32;
constexpr uint64_t kBatchBytes = 2 << 20;  // small files are written in batches of about this much
constexpr size_t kBatchFiles = 256;
// Pieces that are smaller than this on average are put together in memory, a window at a time: so many small
// writes would take longer. Backups gather scattered blocks from as much of a file into one frame, so that
// each is decoded once.
constexpr uint64_t kLeastPiece = 64 << 10;
constexpr uint64_t kWindowBytes = 8 << 20;

// A file that is being written. Shared by the tasks of its leaves.
struct OpenFile {
  std::string path;      // in the tree
  std::string absolute;  // on this host
  uint32_t mode = 0;
  uint64_t size = 0;
  int64_t mtime_us = 0;
  std::vector<repo::NodeRef> leaves;   // of a large file
  std::atomic<size_t> next_leaf{0};    // that nobody has taken
  std::atomic<size_t> leaves_left{0};  // to be written
  bool existed = false;                // and is compared
  std::vector<uint32_t> leaf_crcs;     // of a large file; each written by one worker
};

struct SmallFile {
  std::shared_ptr<OpenFile> file;
  std::vector<repo::BlockRef> blocks;
};

struct Task {
  std::vector<SmallFile> small;    // either a batch of small files
  std::shared_ptr<OpenFile> file;  // or a large one
};

uint64_t blocks_of(uint64_t size, uint32_t block_size) {
  return (size + block_size - 1) / block_size;
}

uint32_t crc_of(ByteView bytes) {
  return codec::crc32c(0xffffffff, bytes) ^ 0xffffffff;
}

// The sum of pieces that follow each other.
uint32_t fold_crcs(const std::vector<repo::Piece>& pieces, size_t begin, size_t end) {
  uint32_t crc = 0;  // of nothing
  for (size_t at = begin; at < end; ++at) crc = crc32c_combine(crc, pieces[at].crc, pieces[at].length);
  return crc;
}

class TreeWriter {
 public:
  TreeWriter(const repo::LineageRepo& repo, const TreeWriteOptions& options, Reporter& reporter,
             const StopToken& stop)
      : repo_(repo), options_(options), reporter_(reporter), stop_(stop), queue_(kQueuedTasks) {}

  Result<TreeWriteTotals> run(const repo::NodeRef& directory) {
    std::vector<std::thread> threads;
    for (int i = 0; i < std::max(1, options_.workers); ++i) threads.emplace_back([this] { work(); });
    Status walked = walk(directory);
    if (!walked) queue_.fail(walked.error());
    queue_.close();
    for (std::thread& thread : threads) thread.join();
    if (auto error = queue_.error()) return *error;
    totals_.files = files_;
    totals_.bytes = bytes_;
    totals_.compared = counters_.compared;
    totals_.unchanged = counters_.unchanged;
    totals_.fetched = counters_.fetched;
    totals_.written = counters_.written;
    totals_.fetched_stored = fetched_stored_;
    return totals_;
  }

 private:
  // --- the coordinating thread
  Status walk(const repo::NodeRef& directory) {
    repo::TreeReader tree(repo_);
    TRY(tree.walk(directory, [&](const std::string& path, const repo::Entry& entry) -> Status {
      TRY(stop_.check());
      return submit(path, entry);
    }));
    return flush_batch();
  }

  bool below_skipped(const std::string& path) const {
    return std::any_of(skipped_.begin(), skipped_.end(), [&](const std::string& skipped) {
      return path.size() > skipped.size() && path.starts_with(skipped) && path[skipped.size()] == '/';
    });
  }

  Status submit(const std::string& path, const repo::Entry& entry) {
    if (below_skipped(path)) return {};
    TreePlace place = options_.place(path, entry);
    if (place.action == TreePlace::Do::skip) {
      if (entry.type == repo::EntryType::directory) skipped_.push_back(path);
      return {};
    }
    if (place.action == TreePlace::Do::as_link) return make_link(place.path, place.link_target);
    switch (entry.type) {
      case repo::EntryType::directory:
        if (compares()) TRY(ready_directory(place.path, keeps_link(path)));
        return make_directory(place.path, entry);
      case repo::EntryType::symlink:
        return make_link(place.path, place.link_target.empty() ? entry.target : place.link_target);
      case repo::EntryType::file:
        return place.action == TreePlace::Do::as_hole ? make_hole(path, place.path, entry)
                                                      : submit_file(path, place.path, entry);
    }
    return {};
  }

  Status make_directory(const std::string& absolute, const repo::Entry& entry) {
    // Owner rights are kept so that files can be made in it.
    mode_t mode = (entry.mode & 07777) | 0700;
    if (mkdir(absolute.c_str(), mode) != 0 && errno != EEXIST) return errno_error(errno, absolute, "create");
    if (chmod(absolute.c_str(), mode) != 0) return errno_error(errno, absolute, "set the mode of");
    TRY(give_away(absolute));
    ++totals_.directories;
    return {};
  }

  bool compares() const { return options_.existing != Existing::nothing; }

  bool keeps_link(const std::string& path) const {
    return options_.existing == Existing::compared_links && path.find('/') == std::string::npos;
  }

  Status make_link(const std::string& absolute, const std::string& target) {
    if (compares()) {
      TRY_ASSIGN(bool there, ready_link(absolute, target));
      if (there) return give_away(absolute);
    }
    if (symlink(target.c_str(), absolute.c_str()) != 0)
      return errno_error(errno, absolute, "create symbolic link");
    return give_away(absolute);
  }

  Status give_away(const std::string& absolute) const {
    if (geteuid() != 0) return {};
    if (lchown(absolute.c_str(), options_.uid, options_.gid) != 0) {
      return errno_error(errno, absolute, "set the owner of");
    }
    return {};
  }

  Status check_leaves(const std::string& path, const repo::Entry& entry) const {
    if (entry.leaves.empty()) return {};
    uint64_t expected =
        (blocks_of(entry.size, options_.block_size) + repo::kMapLeafBlocks - 1) / repo::kMapLeafBlocks;
    if (entry.leaves.size() == expected && entry.blocks.empty()) return {};
    return make_error(ErrorKind::damaged, path,
                      cat("its block map has ", entry.leaves.size(), " leaves for ", entry.size,
                          " bytes, expected ", expected));
  }

  Status make_hole(const std::string& path, const std::string& absolute, const repo::Entry& entry) {
    TRY(check_leaves(path, entry));
    OpenFile file;
    file.absolute = absolute;
    file.mode = entry.mode & 07777;
    TRY_ASSIGN(Fd fd, open_target(file, O_RDWR));
    TRY(options_.hole(path, entry, absolute, fd.get()));
    TRY(fd.close(absolute));
    files_.fetch_add(1, std::memory_order_relaxed);
    return {};
  }

  Status submit_file(const std::string& path, const std::string& absolute, const repo::Entry& entry) {
    auto file = std::make_shared<OpenFile>();
    file->path = path;
    file->absolute = absolute;
    file->mode = entry.mode & 07777;
    file->size = entry.size;
    file->mtime_us = entry.mtime_us;
    if (compares()) {
      TRY_ASSIGN(file->existed, ready_file(absolute, entry.size));
    }
    if (entry.leaves.empty()) {
      batch_bytes_ += entry.size;
      batch_.small.push_back({std::move(file), entry.blocks});
      if (batch_bytes_ < kBatchBytes && batch_.small.size() < kBatchFiles) return {};
      return flush_batch();
    }
    TRY(check_leaves(path, entry));
    file->leaves = entry.leaves;
    file->leaves_left = entry.leaves.size();
    file->leaf_crcs.resize(entry.leaves.size());
    {
      std::lock_guard lock(large_mutex_);
      forget_taken();
      large_.push_back(file);
    }
    return queue_.push({{}, std::move(file)});
  }

  Status flush_batch() {
    if (batch_.small.empty()) return {};
    Task task = std::move(batch_);
    batch_ = {};
    batch_bytes_ = 0;
    return queue_.push(std::move(task));
  }

  // --- workers
  // What one of them works with.
  struct Hands {
    repo::PieceReader reader;
    repo::TreeReader tree;
    std::unique_ptr<uint8_t[]> window;  // of kWindowBytes once one was put together
    Bytes there;                        // of an existing file
  };

  void work() {
    Hands hands{repo::PieceReader(repo_, options_.block_size), repo::TreeReader(repo_), {}, {}};
    auto done = [&]() -> Status {
      while (auto task = queue_.pop()) {
        TRY(task->file ? write_leaves(*task->file, hands) : write_batch(*task, hands));
      }
      while (auto file = unfinished_file()) TRY(write_leaves(*file, hands));
      return {};
    }();
    fetched_stored_.fetch_add(hands.reader.stored_bytes(), std::memory_order_relaxed);
    if (!done) queue_.fail(std::move(done).error());
  }

  // A large file is one worker's as long as there are others to write: the kernel lets one at a time write to
  // a file.
  Status write_leaves(OpenFile& file, Hands& hands) {
    for (;;) {
      size_t leaf = file.next_leaf.fetch_add(1, std::memory_order_relaxed);
      if (leaf >= file.leaves.size()) return {};
      TRY(write_leaf(file, leaf, hands));
    }
  }

  // At the end everybody helps with what is left. nullptr: nothing is, or somebody failed.
  std::shared_ptr<OpenFile> unfinished_file() {
    if (queue_.error()) return nullptr;
    std::lock_guard lock(large_mutex_);
    forget_taken();
    return large_.empty() ? nullptr : large_.front();
  }

  void forget_taken() {
    std::erase_if(large_, [](const auto& file) {
      return file->next_leaf.load(std::memory_order_relaxed) >= file->leaves.size();
    });
  }

  Result<Fd> open_target(const OpenFile& file, int access = O_WRONLY) const {
    TRY_ASSIGN(Fd fd, open_file(file.absolute, access | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    // Whatever the umask is; set before the content is there.
    if (fchmod(fd.get(), file.mode) != 0) return errno_error(errno, file.absolute, "set the mode of");
    if (geteuid() == 0 && fchown(fd.get(), options_.uid, options_.gid) != 0) {
      return errno_error(errno, file.absolute, "set the owner of");
    }
    return fd;
  }

  void wrote(uint64_t bytes) {
    uint64_t now = bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    reporter_.progress("copying", now, options_.total_bytes, ProgressUnit::bytes);
  }

  Status write_pieces(const OpenFile& file, int fd, std::vector<repo::Piece>& pieces, Hands& hands) {
    return hands.reader.read(pieces, {file.path}, &stop_, [&](repo::Piece& piece, ByteView plain) -> Status {
      if (options_.written) piece.crc = crc_of(plain);
      // What fits one leaf stays in the page cache, catalogues and small tables among it: a server that
      // starts reads them.
      TRY(pwrite_bulk(fd, piece.offset, plain, file.absolute));
      wrote(piece.length);
      return {};
    });
  }

  Status write_scattered(const OpenFile& file, int fd, std::vector<repo::Piece>& pieces, Hands& hands) {
    if (!hands.window) hands.window = std::make_unique_for_overwrite<uint8_t[]>(kWindowBytes);
    for (size_t first = 0; first < pieces.size();) {
      const uint64_t begin = pieces[first].offset;
      size_t last = first;  // behind the window's pieces
      while (last < pieces.size() && pieces[last].offset + pieces[last].length - begin <= kWindowBytes)
        ++last;
      std::span<repo::Piece> inside(&pieces[first], last - first);
      if (inside.empty())
        return make_error(ErrorKind::damaged, file.path,
                          cat("its block map has a run of ", pieces[first].length, " bytes"));
      const uint64_t size = inside.back().offset + inside.back().length - begin;
      MutableBytes window(hands.window.get(), size);
      TRY(hands.reader.read(inside, {file.path}, &stop_, [&](repo::Piece& piece, ByteView plain) -> Status {
        if (options_.written) piece.crc = crc_of(plain);
        // std::ranges::copy becomes a loop of single bytes (GCC 12).
        if (!plain.empty()) std::memcpy(window.data() + (piece.offset - begin), plain.data(), plain.size());
        return {};
      }));
      TRY(pwrite_bulk(fd, begin, window, file.absolute));
      wrote(size);
      first = last;
    }
    return {};
  }

  void count_new(uint64_t bytes) {
    counters_.fetched.fetch_add(bytes, std::memory_order_relaxed);
    counters_.written.fetch_add(bytes, std::memory_order_relaxed);
  }

  // Indexes of the pieces that a file which was there does not hold.
  Result<std::vector<size_t>> compare(const OpenFile& file, int fd, std::span<repo::Piece> pieces,
                                      Hands& hands) {
    TRY_ASSIGN(std::vector<size_t> differing,
               differing_pieces(fd, file.absolute, pieces, hands.there, counters_));
    uint64_t held = 0;
    for (const repo::Piece& piece : pieces) held += piece.length;
    for (size_t at : differing) held -= pieces[at].length;
    wrote(held);
    return differing;
  }

  // Whether the file needs no writing of a piece that was fetched: of a part that is known only now.
  bool held(const OpenFile& file, int fd, const repo::Piece& piece, ByteView plain, Hands& hands) {
    counters_.fetched.fetch_add(piece.length, std::memory_order_relaxed);
    if (!piece.ref->whole() && holds_already(fd, file.absolute, piece.offset, plain, hands.there))
      return true;
    counters_.written.fetch_add(piece.length, std::memory_order_relaxed);
    return false;
  }

  // Reads some of the pieces, whose crc gets into them.
  Status read_wanted(std::span<repo::Piece> pieces, const std::vector<size_t>& wanted,
                     const std::vector<std::string_view>& paths, Hands& hands,
                     const repo::PieceReader::Take& take) {
    std::vector<repo::Piece> chosen;
    chosen.reserve(wanted.size());
    for (size_t at : wanted) chosen.push_back(pieces[at]);
    return hands.reader.read(chosen, paths, &stop_, [&](repo::Piece& piece, ByteView plain) -> Status {
      TRY(take(piece, plain));
      pieces[wanted[static_cast<size_t>(&piece - chosen.data())]].crc = piece.crc;
      return {};
    });
  }

  // Of a file that was there: what it does not hold already.
  Status write_differing(const OpenFile& file, int fd, std::span<repo::Piece> pieces, Hands& hands) {
    TRY_ASSIGN(std::vector<size_t> differing, compare(file, fd, pieces, hands));
    return read_wanted(pieces, differing, {file.path}, hands,
                       [&](repo::Piece& piece, ByteView plain) -> Status {
                         if (options_.written) piece.crc = crc_of(plain);
                         wrote(piece.length);
                         if (held(file, fd, piece, plain, hands)) return {};
                         return pwrite_bulk(fd, piece.offset, plain, file.absolute);
                       });
  }

  Status write_leaf(OpenFile& file, size_t number, Hands& hands) {
    TRY_ASSIGN(std::vector<repo::BlockRef> refs, hands.tree.leaf(file.leaves[number]));
    uint64_t leaf_bytes = static_cast<uint64_t>(repo::kMapLeafBlocks) * options_.block_size;
    uint64_t begin = number * leaf_bytes;
    uint64_t end = std::min(begin + leaf_bytes, file.size);
    std::vector<repo::Piece> pieces;
    TRY(repo::lay_out(file.path, refs, 0, begin, end, options_.block_size, pieces));
    TRY_ASSIGN(Fd fd, open_target(file, file.existed ? O_RDWR : O_WRONLY));
    if (file.existed) {
      TRY(write_differing(file, fd.get(), pieces, hands));
    } else {
      count_new(end - begin);
      bool scattered = pieces.size() > 1 && pieces.size() * kLeastPiece > end - begin;
      TRY(scattered ? write_scattered(file, fd.get(), pieces, hands)
                    : write_pieces(file, fd.get(), pieces, hands));
    }
    file.leaf_crcs[number] = fold_crcs(pieces, 0, pieces.size());
    start_writeback(fd.get(), begin, end - begin);
    TRY(fd.close(file.absolute));
    if (file.leaves_left.fetch_sub(1, std::memory_order_acq_rel) != 1) return {};
    uint32_t crc = 0;
    for (size_t leaf = 0; leaf < file.leaf_crcs.size(); ++leaf) {
      uint64_t length = std::min(leaf_bytes, file.size - leaf * leaf_bytes);
      crc = crc32c_combine(crc, file.leaf_crcs[leaf], length);
    }
    return complete(file, crc);
  }

  Status write_batch(Task& task, Hands& hands) {
    std::vector<repo::Piece> pieces;
    std::vector<size_t> first_piece;
    std::vector<std::string_view> paths;
    for (size_t i = 0; i < task.small.size(); ++i) {
      const OpenFile& file = *task.small[i].file;
      first_piece.push_back(pieces.size());
      paths.push_back(file.path);
      TRY(repo::lay_out(file.path, task.small[i].blocks, i, 0, file.size, options_.block_size, pieces));
      if (file.size == 0) {
        TRY_ASSIGN(Fd empty, open_target(file));
        TRY(empty.close(file.absolute));
      }
    }
    first_piece.push_back(pieces.size());
    // One file is open at a time: the pieces of a small file nearly always lie together.
    Fd fd;
    std::string_view open_path;
    size_t open_index = SIZE_MAX;
    auto write = [&](repo::Piece& piece, ByteView plain) -> Status {
      const OpenFile& file = *task.small[piece.file].file;
      if (open_index != piece.file) {
        if (fd.valid()) TRY(fd.close(open_path));
        TRY_ASSIGN(fd, open_target(file, file.existed ? O_RDWR : O_WRONLY));
        open_index = piece.file;
        open_path = file.absolute;
      }
      if (options_.written) piece.crc = crc_of(plain);
      wrote(piece.length);
      if (file.existed && held(file, fd.get(), piece, plain, hands)) return {};
      return pwrite_all(fd.get(), piece.offset, plain, file.absolute);
    };
    if (compares()) {
      TRY_ASSIGN(std::vector<size_t> wanted, wanted_of_batch(task, pieces, first_piece, hands));
      TRY(read_wanted(pieces, wanted, paths, hands, write));
    } else {
      TRY(hands.reader.read(pieces, paths, &stop_, write));
    }
    if (fd.valid()) TRY(fd.close(open_path));
    for (size_t i = 0; i < task.small.size(); ++i) {
      TRY(complete(*task.small[i].file, fold_crcs(pieces, first_piece[i], first_piece[i + 1])));
    }
    return {};
  }

  // Of the pieces of a batch, those that the files do not hold already.
  Result<std::vector<size_t>> wanted_of_batch(const Task& task, std::span<repo::Piece> pieces,
                                              const std::vector<size_t>& first_piece, Hands& hands) {
    std::vector<size_t> wanted;
    for (size_t i = 0; i < task.small.size(); ++i) {
      TRY(stop_.check());
      const OpenFile& file = *task.small[i].file;
      const size_t first = first_piece[i];
      std::span<repo::Piece> its = pieces.subspan(first, first_piece[i + 1] - first);
      if (!file.existed) {
        count_new(file.size);
        for (size_t at = 0; at < its.size(); ++at) wanted.push_back(first + at);
        continue;
      }
      // Also where nothing differs: for mode and owner.
      TRY_ASSIGN(Fd fd, open_target(file, O_RDWR));
      TRY_ASSIGN(std::vector<size_t> differing, compare(file, fd.get(), its, hands));
      TRY(fd.close(file.absolute));
      for (size_t at : differing) wanted.push_back(first + at);
    }
    return wanted;
  }

  Status complete(const OpenFile& file, uint32_t crc) {
    files_.fetch_add(1, std::memory_order_relaxed);
    if (!options_.written) return {};
    std::lock_guard lock(written_mutex_);
    return options_.written({file.path, file.size, file.mtime_us, crc});
  }

  repo::LineageRepo repo_;
  const TreeWriteOptions& options_;
  Reporter& reporter_;
  const StopToken& stop_;
  WorkQueue<Task> queue_;
  Task batch_;
  uint64_t batch_bytes_ = 0;
  std::vector<std::string> skipped_;
  TreeWriteTotals totals_;
  std::atomic<uint64_t> files_{0};
  std::atomic<uint64_t> bytes_{0};
  CompareCounters counters_;
  std::atomic<uint64_t> fetched_stored_{0};
  std::mutex written_mutex_;
  std::mutex large_mutex_;
  std::vector<std::shared_ptr<OpenFile>> large_;  // files with leaves that nobody has taken
};

}  // namespace

Result<TreeWriteTotals> write_tree(const repo::LineageRepo& repo, const repo::NodeRef& directory,
                                   const TreeWriteOptions& options, Reporter& reporter,
                                   const StopToken& stop) {
  return TreeWriter(repo, options, reporter, stop).run(directory);
}

Result<Bytes> read_tree_file(const repo::LineageRepo& repo, const repo::Entry& file, uint32_t block_size,
                             uint64_t limit) {
  if (file.type != repo::EntryType::file)
    return make_error(ErrorKind::damaged, file.name, "not a file in the tree");
  if (file.size > limit) {
    return make_error(ErrorKind::damaged, file.name,
                      cat("has ", file.size, " bytes, expected at most ", limit));
  }
  std::vector<repo::BlockRef> refs = file.blocks;
  if (!file.leaves.empty()) {
    repo::TreeReader tree(repo);
    for (const repo::NodeRef& node : file.leaves) {
      TRY_ASSIGN(std::vector<repo::BlockRef> leaf, tree.leaf(node));
      std::move(leaf.begin(), leaf.end(), std::back_inserter(refs));
    }
  }
  std::vector<repo::Piece> pieces;
  TRY(repo::lay_out(file.name, refs, 0, 0, file.size, block_size, pieces));
  Bytes content(file.size);
  repo::PieceReader reader(repo, block_size);
  TRY(reader.read(pieces, {file.name}, nullptr, [&](const repo::Piece& piece, ByteView plain) -> Status {
    std::copy(plain.begin(), plain.end(), content.begin() + static_cast<ptrdiff_t>(piece.offset));
    return {};
  }));
  return content;
}

}  // namespace lifeboat::ops
