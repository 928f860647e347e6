#include "ops/restore/tree_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "ops/restore/crc_combine.h"
#include "ops/restore/work_queue.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kQueuedTasks = 32;
constexpr uint64_t kBatchBytes = 2 << 20;  // small files are written in batches of about this much
constexpr size_t kBatchFiles = 256;
constexpr uint64_t kReadBytes = 4 << 20;  // most that is read from a pack at once
constexpr uint64_t kReadGap = 32 << 10;   // bytes between two frames that are rather read than skipped
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

// A run of blocks on its way.
struct Piece {
  size_t file = 0;      // index into the task's files
  uint64_t offset = 0;  // in the file
  uint64_t length = 0;
  const repo::BlockRef* ref = nullptr;
  uint32_t crc = 0;
};

uint64_t blocks_of(uint64_t size, uint32_t block_size) {
  return (size + block_size - 1) / block_size;
}

// Lays the refs out from `offset` on: T36. They must end at `end` exactly.
Status lay_out(const std::string& path, const std::vector<repo::BlockRef>& refs, size_t file, uint64_t offset,
               uint64_t end, uint32_t block_size, std::vector<Piece>& pieces) {
  for (const repo::BlockRef& ref : refs) {
    if (offset >= end) {
      return make_error(ErrorKind::damaged, path, cat("its block map goes on past its end at byte ", end));
    }
    uint64_t bytes = static_cast<uint64_t>(ref.count) * block_size;
    if (bytes > end - offset) {
      // Only the last block of a file may be short.
      if (bytes - (end - offset) >= block_size || end % block_size == 0) {
        return make_error(
            ErrorKind::damaged, path,
            cat("its block map has ", bytes, " bytes at byte ", offset, ", past its end at ", end));
      }
      bytes = end - offset;
    }
    pieces.push_back({file, offset, bytes, &ref, 0});
    offset += bytes;
  }
  if (offset != end) {
    return make_error(ErrorKind::damaged, path,
                      cat("its block map has a gap: it ends at byte ", offset, ", expected ", end));
  }
  return {};
}

// Reads pieces from packs: neighbouring frames with one read, each frame decoded once.
class PieceReader {
 public:
  PieceReader(const repo::LineageRepo& repo, uint32_t block_size)
      : packs_(repo, repo::PackKind::data), block_size_(block_size) {}

  // Calls `take` with the checked bytes of each piece, in the order of the packs.
  template <typename Take>
  Status read(std::span<Piece> pieces, const std::vector<std::string_view>& paths, const StopToken* stop,
              Take take) {
    order_.clear();
    for (Piece& piece : pieces) order_.push_back(&piece);
    std::sort(order_.begin(), order_.end(), [](const Piece* a, const Piece* b) {
      if (a->ref->frame != b->ref->frame) return a->ref->frame < b->ref->frame;
      return a->offset < b->offset;
    });
    for (size_t begin = 0; begin < order_.size();) {
      if (stop != nullptr) TRY(stop->check());
      size_t end = run_end(begin);
      TRY(read_run(begin, end, paths, take));
      begin = end;
    }
    return {};
  }

 private:
  // The first piece after `begin` that is not worth reading together with it.
  size_t run_end(size_t begin) const {
    const repo::FrameRef& first = order_[begin]->ref->frame;
    uint64_t to = first.place.offset + first.place.length;
    size_t at = begin + 1;
    for (; at < order_.size(); ++at) {
      const repo::FrameRef& frame = order_[at]->ref->frame;
      if (frame.pack != first.pack || frame.place.offset > to + kReadGap) break;
      uint64_t frame_end = frame.place.offset + frame.place.length;
      if (frame_end - first.place.offset > kReadBytes) break;
      to = std::max(to, frame_end);
    }
    return at;
  }

  template <typename Take>
  Status read_run(size_t begin, size_t end, const std::vector<std::string_view>& paths, Take& take) {
    const repo::FrameRef& first = order_[begin]->ref->frame;
    const repo::FrameRef& last = order_[end - 1]->ref->frame;
    TRY_ASSIGN(repo::FrameReader * reader, packs_.reader(first.pack));
    uint64_t from = first.place.offset;
    uint64_t to = last.place.offset + last.place.length;
    if (to > reader->size() || from > to) {
      return make_error(ErrorKind::damaged, reader->name(),
                        cat("frame ", last.place.number, " lies past its end, ", reader->size(), " bytes"));
    }
    if (stored_.size() < to - from) stored_.resize(to - from);
    TRY(reader->read_raw(from, MutableBytes(stored_).first(to - from)));
    const repo::FrameRef* decoded = nullptr;
    for (size_t at = begin; at < end; ++at) {
      Piece& piece = *order_[at];
      const repo::FrameRef& frame = piece.ref->frame;
      if (decoded == nullptr || *decoded != frame) {
        if (frame.place.offset < from || frame.place.offset + frame.place.length > to) {
          return make_error(ErrorKind::damaged, reader->name(),
                            cat("frame ", frame.place.number, ": references to it disagree"));
        }
        MutableBytes stored(stored_.data() + (frame.place.offset - from), frame.place.length);
        TRY(reader->decode(frame.place, stored, frame_));
        decoded = &frame;
        proven_.clear();
      }
      uint64_t skip = static_cast<uint64_t>(piece.ref->first_block) * block_size_;
      if (skip > frame_.plain.size() || piece.length > frame_.plain.size() - skip) {
        return make_error(ErrorKind::damaged, reader->name(),
                          cat("frame ", frame.place.number, " has ", frame_.plain.size(), " bytes, but ",
                              paths[piece.file], " needs ", skip, " to ", skip + piece.length, " of it"));
      }
      ByteView plain = ByteView(frame_.plain).subspan(skip, piece.length);
      if (!is_what_was_stored(*piece.ref, plain)) {
        return make_error(ErrorKind::damaged, reader->name(),
                          cat("frame ", frame.place.number, ": its content is not what ", paths[piece.file],
                              " had at byte ", piece.offset));
      }
      TRY(take(piece, plain));
    }
    return {};
  }

  // The hash of a run that is left in parts is taken once for all of them.
  bool is_what_was_stored(const repo::BlockRef& ref, ByteView part) {
    if (ref.whole()) return codec::hash128(part) == ref.hash;
    Proven run{ref.first_block - ref.before, ref.before + ref.count + ref.after, ref.hash};
    if (std::ranges::find(proven_, run) != proven_.end()) return true;
    std::optional<ByteView> bytes = ref.hashed(frame_.plain, block_size_);
    if (!bytes || codec::hash128(*bytes) != ref.hash) return false;
    proven_.push_back(run);
    return true;
  }

  struct Proven {
    uint32_t first = 0;
    uint32_t count = 0;
    codec::Hash128 hash{};
    bool operator==(const Proven&) const = default;
  };
  repo::PackReaders packs_;
  uint32_t block_size_;
  std::vector<Proven> proven_;  // runs of the decoded frame
  std::vector<Piece*> order_;
  Bytes stored_;
  repo::Frame frame_;
};

uint32_t crc_of(ByteView bytes) {
  return codec::crc32c(0xffffffff, bytes) ^ 0xffffffff;
}

// The sum of pieces that follow each other.
uint32_t fold_crcs(const std::vector<Piece>& pieces, size_t begin, size_t end) {
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
        return make_directory(place.path, entry);
      case repo::EntryType::symlink:
        return make_link(place.path, place.link_target.empty() ? entry.target : place.link_target);
      case repo::EntryType::file:
        return submit_file(path, place.path, entry);
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

  Status make_link(const std::string& absolute, const std::string& target) {
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

  Status submit_file(const std::string& path, const std::string& absolute, const repo::Entry& entry) {
    auto file = std::make_shared<OpenFile>();
    file->path = path;
    file->absolute = absolute;
    file->mode = entry.mode & 07777;
    file->size = entry.size;
    file->mtime_us = entry.mtime_us;
    if (entry.leaves.empty()) {
      batch_bytes_ += entry.size;
      batch_.small.push_back({std::move(file), entry.blocks});
      if (batch_bytes_ < kBatchBytes && batch_.small.size() < kBatchFiles) return {};
      return flush_batch();
    }
    uint64_t expected =
        (blocks_of(entry.size, options_.block_size) + repo::kMapLeafBlocks - 1) / repo::kMapLeafBlocks;
    if (entry.leaves.size() != expected || !entry.blocks.empty()) {
      return make_error(ErrorKind::damaged, path,
                        cat("its block map has ", entry.leaves.size(), " leaves for ", entry.size,
                            " bytes, expected ", expected));
    }
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
    PieceReader reader;
    repo::TreeReader tree;
    std::unique_ptr<uint8_t[]> window;  // of kWindowBytes once one was put together
  };

  void work() {
    Hands hands{PieceReader(repo_, options_.block_size), repo::TreeReader(repo_), {}};
    auto done = [&]() -> Status {
      while (auto task = queue_.pop()) {
        TRY(task->file ? write_leaves(*task->file, hands) : write_batch(*task, hands.reader));
      }
      while (auto file = unfinished_file()) TRY(write_leaves(*file, hands));
      return {};
    }();
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

  Result<Fd> open_target(const OpenFile& file) const {
    TRY_ASSIGN(Fd fd, open_file(file.absolute, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
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

  Status write_pieces(const OpenFile& file, int fd, std::vector<Piece>& pieces, Hands& hands) {
    return hands.reader.read(pieces, {file.path}, &stop_, [&](Piece& piece, ByteView plain) -> Status {
      if (options_.written) piece.crc = crc_of(plain);
      // What fits one leaf stays in the page cache, catalogues and small tables among it: a server that
      // starts reads them.
      TRY(pwrite_bulk(fd, piece.offset, plain, file.absolute));
      wrote(piece.length);
      return {};
    });
  }

  Status write_scattered(const OpenFile& file, int fd, std::vector<Piece>& pieces, Hands& hands) {
    if (!hands.window) hands.window = std::make_unique_for_overwrite<uint8_t[]>(kWindowBytes);
    for (size_t first = 0; first < pieces.size();) {
      const uint64_t begin = pieces[first].offset;
      size_t last = first;  // behind the window's pieces
      while (last < pieces.size() && pieces[last].offset + pieces[last].length - begin <= kWindowBytes)
        ++last;
      std::span<Piece> inside(&pieces[first], last - first);
      if (inside.empty())
        return make_error(ErrorKind::damaged, file.path,
                          cat("its block map has a run of ", pieces[first].length, " bytes"));
      const uint64_t size = inside.back().offset + inside.back().length - begin;
      MutableBytes window(hands.window.get(), size);
      TRY(hands.reader.read(inside, {file.path}, &stop_, [&](Piece& piece, ByteView plain) -> Status {
        if (options_.written) piece.crc = crc_of(plain);
        std::ranges::copy(plain, window.begin() + static_cast<ptrdiff_t>(piece.offset - begin));
        return {};
      }));
      TRY(pwrite_bulk(fd, begin, window, file.absolute));
      wrote(size);
      first = last;
    }
    return {};
  }

  Status write_leaf(OpenFile& file, size_t number, Hands& hands) {
    TRY_ASSIGN(std::vector<repo::BlockRef> refs, hands.tree.leaf(file.leaves[number]));
    uint64_t leaf_bytes = static_cast<uint64_t>(repo::kMapLeafBlocks) * options_.block_size;
    uint64_t begin = number * leaf_bytes;
    uint64_t end = std::min(begin + leaf_bytes, file.size);
    std::vector<Piece> pieces;
    TRY(lay_out(file.path, refs, 0, begin, end, options_.block_size, pieces));
    TRY_ASSIGN(Fd fd, open_target(file));
    bool scattered = pieces.size() > 1 && pieces.size() * kLeastPiece > end - begin;
    TRY(scattered ? write_scattered(file, fd.get(), pieces, hands)
                  : write_pieces(file, fd.get(), pieces, hands));
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

  Status write_batch(Task& task, PieceReader& reader) {
    std::vector<Piece> pieces;
    std::vector<size_t> first_piece;
    std::vector<std::string_view> paths;
    for (size_t i = 0; i < task.small.size(); ++i) {
      const OpenFile& file = *task.small[i].file;
      first_piece.push_back(pieces.size());
      paths.push_back(file.path);
      TRY(lay_out(file.path, task.small[i].blocks, i, 0, file.size, options_.block_size, pieces));
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
    TRY(reader.read(pieces, paths, &stop_, [&](Piece& piece, ByteView plain) -> Status {
      const OpenFile& file = *task.small[piece.file].file;
      if (open_index != piece.file) {
        if (fd.valid()) TRY(fd.close(open_path));
        TRY_ASSIGN(fd, open_target(file));
        open_index = piece.file;
        open_path = file.absolute;
      }
      if (options_.written) piece.crc = crc_of(plain);
      TRY(pwrite_all(fd.get(), piece.offset, plain, file.absolute));
      wrote(piece.length);
      return {};
    }));
    if (fd.valid()) TRY(fd.close(open_path));
    for (size_t i = 0; i < task.small.size(); ++i) {
      TRY(complete(*task.small[i].file, fold_crcs(pieces, first_piece[i], first_piece[i + 1])));
    }
    return {};
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
  std::vector<Piece> pieces;
  TRY(lay_out(file.name, refs, 0, 0, file.size, block_size, pieces));
  Bytes content(file.size);
  PieceReader reader(repo, block_size);
  TRY(reader.read(pieces, {file.name}, nullptr, [&](const Piece& piece, ByteView plain) -> Status {
    std::copy(plain.begin(), plain.end(), content.begin() + static_cast<ptrdiff_t>(piece.offset));
    return {};
  }));
  return content;
}

}  // namespace lifeboat::ops
