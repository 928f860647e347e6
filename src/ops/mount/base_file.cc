#include "ops/mount/base_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "ops/mount/extents.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kBatchBytes = 8 << 20;  // that hydration asks for at once
constexpr int64_t kLateUs = 100'000;       // so long after a reader waited nothing is written beside it
constexpr size_t kMostAhead = 32;          // fetches of one file that are under way before more are begun

// pwritev2(2) until all is written.
Status write_through(int fd, uint64_t offset, ByteView bytes, int flags, std::string_view path) {
  while (!bytes.empty()) {
    iovec vector{const_cast<uint8_t*>(bytes.data()), bytes.size()};
    ssize_t written = pwritev2(fd, &vector, 1, static_cast<off_t>(offset), flags);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, std::string(path), "write");
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

}  // namespace

// --- marks

std::string FileMark::to_text() const {
  return cat(mount, " ", file, " ", limit);
}

std::optional<FileMark> FileMark::parse(std::string_view text) {
  std::vector<std::string_view> parts = split(text, ' ');
  if (parts.size() != 3) return std::nullopt;
  auto file = parse_u64(parts[1]);
  auto limit = parse_u64(parts[2]);
  if (!file || !limit) return std::nullopt;
  return FileMark{std::string(parts[0]), *file, *limit};
}

Result<std::optional<FileMark>> read_mark(int fd, std::string_view path) {
  std::array<char, 128> text{};
  ssize_t size = fgetxattr(fd, kMarkAttribute, text.data(), text.size());
  if (size < 0) {
    if (errno == ENODATA || errno == ENOTSUP) return std::optional<FileMark>();
    return errno_error(errno, std::string(path), "read the extended attribute of");
  }
  auto mark = FileMark::parse({text.data(), static_cast<size_t>(size)});
  if (!mark)
    return make_error(ErrorKind::damaged, std::string(path), cat("its ", kMarkAttribute, " is not ours"));
  return mark;
}

Status write_mark(int fd, const FileMark& mark, std::string_view path) {
  const std::string text = mark.to_text();
  if (fsetxattr(fd, kMarkAttribute, text.data(), text.size(), 0) == 0) return {};
  return errno_error(errno, std::string(path), "set an extended attribute of");
}

// --- loading

Result<std::shared_ptr<BaseFile>> BaseFile::load(Fd fd, FileMark mark, std::string path, BlockMap& map,
                                                 Shared& shared) {
  if (mark.file >= map.table().files())
    return make_error(ErrorKind::damaged, path,
                      cat("its mark names file ", mark.file, " of ", map.table().files()));
  TRY_ASSIGN(FileInfo info, stat_fd(fd.get(), path));
  const uint64_t blocks = (info.size + map.block_size() - 1) / map.block_size();
  if (mark.limit > blocks) {
    // Cut, and stopped before that was noted.
    mark.limit = blocks;
    TRY(write_mark(fd.get(), mark, path));
  }
  std::shared_ptr<BaseFile> file(new BaseFile(std::move(fd), std::move(mark), std::move(path), map, shared));
  TRY(file->find_data());
  return file;
}

Status BaseFile::find_data() {
  TRY_ASSIGN(uint64_t end, size());
  const uint64_t ours = blocks_.limit() * map_.block_size();
  TRY(each_extent(fd_.get(), path_, end, [&](uint64_t from, uint64_t to, ExtentKind kind) -> Status {
    if (kind == ExtentKind::written) {
      blocks_.add_data(from, to, end);
      return {};
    }
    // What a power cut left of a write. It becomes a hole, so that nothing ever takes it for zeros.
    to = std::min(to, ours);
    if (from < to && fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               static_cast<off_t>(from), static_cast<off_t>(to - from)) != 0)
      return errno_error(errno, path_, "make a hole in");
    return {};
  }));
  complete_ = blocks_.missing() == 0;
  return {};
}

Result<uint64_t> BaseFile::size() const {
  TRY_ASSIGN(FileInfo info, stat_fd(fd_.get(), path_));
  return info.size;
}

Status BaseFile::lower_limit(uint64_t limit) {
  if (limit >= blocks_.limit()) return {};
  mark_.limit = limit;
  if (marked_) TRY(write_mark(fd_.get(), mark_, path_));
  blocks_.lower_limit(limit);
  if (blocks_.missing() == 0) complete_ = true;
  return {};
}

bool BaseFile::marked() {
  std::lock_guard lock(mutex_);
  return marked_;
}

uint64_t BaseFile::missing_bytes() {
  std::lock_guard lock(mutex_);
  return blocks_.missing() * map_.block_size();
}

// --- fetching

BlockRange BaseFile::blocks_of(const repo::Piece& piece) const {
  return blocks_.touched(piece.offset, piece.length);
}

bool BaseFile::is_needed(const repo::Piece& piece) const {
  BlockRange range = blocks_of(piece);
  return blocks_.first_missing(range.begin, range.end).has_value();
}

bool BaseFile::is_fresh(const repo::Piece& piece) const {
  FreshParts parts;
  return has_fresh_ && shared_.fresh.find(fresh_key_, piece.offset, piece.length, parts);
}

BaseFile::FetchPtr BaseFile::fetch_of(uint64_t leaf, const repo::FrameRef& frame, bool& is_new) {
  auto found = std::ranges::find_if(
      fetches_, [&](const FetchPtr& fetch) { return fetch->leaf == leaf && fetch->frame == frame; });
  is_new = found == fetches_.end();
  if (!is_new) return *found;
  auto fetch = std::make_shared<Fetch>();
  fetch->leaf = leaf;
  fetch->frame = frame;
  fetches_.push_back(fetch);
  return fetch;
}

bool BaseFile::is_late() const {
  return Clock::system().monotonic_us() - shared_.waited_us < kLateUs;
}

// `fetch` is running and this thread's. `for_write`: it has to be in the file.
void BaseFile::carry_out(const FetchPtr& fetch, const LeafPtr& leaf, FetchHands& hands, bool for_write) {
  std::vector<repo::Piece> pieces;
  uint64_t bytes = 0;
  bool sequential = false;
  {
    std::lock_guard lock(mutex_);
    sequential = ahead_.sequential();
    for (const repo::Piece& piece : leaf->pieces) {
      if (piece.ref->frame != fetch->frame || !is_needed(piece)) continue;
      pieces.push_back(piece);
      bytes += piece.length;
    }
  }
  Status done;
  if (!pieces.empty()) {
    // Before the read: who waits for its blocks goes on as soon as they are there.
    shared_.fetched_bytes += bytes;
    ++shared_.fetches;
    done = hands.pieces.read(pieces, {leaf->path}, nullptr, [&](repo::Piece& piece, ByteView plain) {
      const Cache cache = !sequential               ? Cache::keep
                          : for_write || !is_late() ? Cache::fresh
                                                    : Cache::fresh_only;
      return write_missing(piece, plain, cache);
    });
  }
  std::lock_guard lock(mutex_);
  if (!done) fetch->error = std::move(done).error();
  fetch->state = Fetch::State::done;
  std::erase(fetches_, fetch);
  fetched_.notify_all();
}

void BaseFile::submit(const FetchPtr& fetch, const LeafPtr& leaf, FetchPool& pool) {
  pool.submit([self = shared_from_this(), fetch, leaf](FetchHands& hands) {
    {
      std::lock_guard lock(self->mutex_);
      if (fetch->state != Fetch::State::queued) return;  // somebody who needed it was faster
      fetch->state = Fetch::State::running;
    }
    self->carry_out(fetch, leaf, hands, false);
  });
}

Status BaseFile::write_missing(const repo::Piece& piece, ByteView plain, Cache cache) {
  std::lock_guard lock(mutex_);
  const uint64_t block_size = map_.block_size();
  BlockRange range = blocks_of(piece);
  while (auto run = blocks_.first_missing(range.begin, range.end)) {
    const uint64_t from = run->begin * block_size;
    uint64_t to = std::min(run->end * block_size, piece.offset + plain.size());
    if (run->end == blocks_.limit()) {
      // The file may have been cut within its last block.
      TRY_ASSIGN(uint64_t end, size());
      to = std::min(to, end);
    }
    const bool whole = from == piece.offset && to == piece.offset + plain.size();
    if (whole && cache == Cache::fresh_only) {
      shared_.fresh.add(fresh_key_, from, plain);
      has_fresh_ = true;
      return {};
    }
    if (to > from) {
      auto write = cache == Cache::keep ? pwrite_all : pwrite_bulk;
      TRY(write(fd_.get(), from, plain.subspan(from - piece.offset, to - from), path_));
    }
    // Where some of it was changed before it came, the file has what is newer.
    if (cache == Cache::fresh && whole) {
      shared_.fresh.add(fresh_key_, from, plain);
      has_fresh_ = true;
    }
    blocks_.set_local(run->begin, run->end);
    range.begin = run->end;
  }
  if (blocks_.missing() == 0) complete_ = true;
  return {};
}

// Before anything of the file changes.
void BaseFile::forget_fresh() {
  if (has_fresh_) shared_.fresh.forget(fresh_key_);
  has_fresh_ = false;
}

Status BaseFile::make_local(const Wanted& wanted, FetchHands& hands) {
  const uint64_t block_size = map_.block_size();
  const BlockRange range = wanted.range;
  bool fresh_will_do = wanted.fresh != nullptr;
  std::vector<repo::FrameRef> fetched;
  for (;;) {
    std::unique_lock lock(mutex_);
    auto missing = blocks_.first_missing(range.begin, range.end);
    if (!missing) return {};
    if (fresh_will_do && has_fresh_ &&
        shared_.fresh.find(fresh_key_, wanted.offset, wanted.length, *wanted.fresh))
      return {};
    lock.unlock();
    const uint64_t number = missing->begin / repo::kMapLeafBlocks;
    TRY_ASSIGN(LeafPtr leaf, map_.leaf(mark_.file, number, hands.tree));
    const uint64_t end = std::min(range.end, (number + 1) * repo::kMapLeafBlocks);
    auto [first, last] = leaf->overlapping(missing->begin * block_size, end * block_size);
    if (first == last) {
      return make_error(ErrorKind::damaged, leaf->path,
                        cat("its block map has nothing for block ", missing->begin));
    }
    FetchPtr mine;
    FetchPtr others;
    lock.lock();
    for (size_t i = first; i < last; ++i) {
      if (!is_needed(leaf->pieces[i]) || (fresh_will_do && is_fresh(leaf->pieces[i]))) continue;
      bool is_new = false;
      FetchPtr fetch = fetch_of(number, leaf->pieces[i].ref->frame, is_new);
      if (!mine && fetch->state == Fetch::State::queued) {
        fetch->state = Fetch::State::running;
        mine = fetch;
      } else if (is_new) {
        submit(fetch, leaf, hands.pool);
      } else if (!others && fetch != mine && fetch->state == Fetch::State::running) {
        others = fetch;
      }
    }
    FetchPtr waited = mine ? mine : others;
    if (mine) {
      lock.unlock();
      // What was fetched and is neither there nor in memory was forgotten meanwhile: through the file, then.
      if (std::ranges::find(fetched, mine->frame) != fetched.end()) fresh_will_do = false;
      fetched.push_back(mine->frame);
      carry_out(mine, leaf, hands, !fresh_will_do);
    } else if (others) {
      fetched_.wait(lock, [&] { return others->state == Fetch::State::done; });
    } else {
      fresh_will_do = false;  // each piece is in memory, and the whole was not a moment ago
    }
    if (waited && waited->error) return *waited->error;
  }
}

Result<BaseFile::Found> BaseFile::prepare_read(uint64_t offset, uint64_t length, FreshParts& fresh,
                                               FetchHands* hands) {
  if (complete_ && !has_fresh_) return Found::in_file;
  BlockRange range;
  {
    std::lock_guard lock(mutex_);
    if (has_fresh_ && shared_.fresh.find(fresh_key_, offset, length, fresh)) return Found::fresh;
    range = blocks_.touched(offset, length);
    if (!blocks_.first_missing(range.begin, range.end)) return Found::in_file;
  }
  if (hands == nullptr) return Found::needs_hands;
  shared_.waited_us = Clock::system().monotonic_us();
  TRY(make_local({range, offset, length, &fresh}, *hands));
  return fresh.views.empty() ? Found::in_file : Found::fresh;
}

void BaseFile::read_ahead(uint64_t offset, uint64_t length, FetchPool& pool) {
  if (complete_) return;
  std::optional<ReadAhead::Range> range;
  {
    std::lock_guard lock(mutex_);
    range = ahead_.observe(offset, length);
    if (!range || fetches_.size() >= kMostAhead) return;
    BlockRange blocks = blocks_.touched(range->begin, range->end - range->begin);
    if (!blocks_.first_missing(blocks.begin, blocks.end)) return;
  }
  pool.submit([self = shared_from_this(), range](FetchHands& hands) {
    // Who needs these blocks will meet the same error and report it.
    (void)self->fetch_ahead(range->begin, range->end, hands);
  });
}

Status BaseFile::fetch_ahead(uint64_t begin, uint64_t end, FetchHands& hands) {
  const uint64_t block_size = map_.block_size();
  const uint64_t leaf_bytes = repo::kMapLeafBlocks * block_size;
  BlockRange range = blocks_.touched(begin, end - begin);
  while (range.begin < range.end) {
    std::unique_lock lock(mutex_);
    auto missing = blocks_.first_missing(range.begin, range.end);
    if (!missing) return {};
    lock.unlock();
    const uint64_t number = missing->begin / repo::kMapLeafBlocks;
    TRY_ASSIGN(LeafPtr leaf, map_.leaf(mark_.file, number, hands.tree));
    const uint64_t stop = std::min(range.end * block_size, (number + 1) * leaf_bytes);
    auto [first, last] = leaf->overlapping(missing->begin * block_size, stop);
    lock.lock();
    for (size_t i = first; i < last && fetches_.size() < kMostAhead; ++i) {
      // A frame may lie in what was fetched ahead before, too.
      if (!is_needed(leaf->pieces[i]) || is_fresh(leaf->pieces[i])) continue;
      bool is_new = false;
      FetchPtr fetch = fetch_of(number, leaf->pieces[i].ref->frame, is_new);
      if (is_new) submit(fetch, leaf, hands.pool);
    }
    range.begin = (number + 1) * repo::kMapLeafBlocks;
  }
  return {};
}

// --- changing

// The block in whose middle a file of `size` bytes ends, when it is missing: growing needs its content first.
std::optional<uint64_t> BaseFile::missing_end(uint64_t size) const {
  const uint64_t block = size / map_.block_size();
  if (size % map_.block_size() == 0 || !blocks_.is_missing(block)) return std::nullopt;
  return block;
}

// What is at or past `size`, and the block in whose middle that lies, is the file's own from now on: before
// the file grows there, or what is behind its old end would be taken for missing after the next load; and
// after it was cut there. That block is made durable first: past the limit the hole of a power cut is zeros.
Status BaseFile::own_from(uint64_t size) {
  const uint64_t limit = size / map_.block_size();
  if (size % map_.block_size() != 0 && limit < blocks_.limit()) TRY(fsync_file(fd_.get(), path_));
  return lower_limit(limit);
}

Result<Outcome> BaseFile::write(uint64_t offset, ByteView bytes, int flags, FetchHands* hands) {
  if (bytes.empty()) return Outcome::done;
  const uint64_t end = offset + bytes.size();
  for (;;) {
    std::optional<uint64_t> wanted;
    {
      std::lock_guard lock(mutex_);
      TRY_ASSIGN(uint64_t old_size, size());
      const BlockRange touched = blocks_.touched(offset, bytes.size());
      const BlockRange covered = blocks_.covered(offset, bytes.size(), std::max(old_size, end));
      for (uint64_t edge : {touched.begin, touched.end - 1}) {
        bool whole = edge >= covered.begin && edge < covered.end;
        if (!whole && blocks_.is_missing(edge)) wanted = edge;
      }
      if (!wanted && end > old_size) wanted = missing_end(old_size);
      if (!wanted) {
        if (end > old_size) TRY(own_from(old_size));
        forget_fresh();
        TRY(write_through(fd_.get(), offset, bytes, flags, path_));
        blocks_.set_local(covered.begin, covered.end);
        if (blocks_.missing() == 0) complete_ = true;
        return Outcome::done;
      }
    }
    if (hands == nullptr) return Outcome::needs_hands;
    TRY(make_local({{*wanted, *wanted + 1}}, *hands));
  }
}

Result<Outcome> BaseFile::truncate(uint64_t new_size, FetchHands* hands) {
  for (;;) {
    std::optional<uint64_t> wanted;
    {
      std::lock_guard lock(mutex_);
      TRY_ASSIGN(uint64_t old_size, size());
      wanted = missing_end(std::min(old_size, new_size));
      if (!wanted) {
        if (new_size > old_size) TRY(own_from(old_size));
        forget_fresh();
        if (ftruncate(fd_.get(), static_cast<off_t>(new_size)) != 0)
          return errno_error(errno, path_, "truncate");
        if (new_size < old_size) TRY(own_from(new_size));
        return Outcome::done;
      }
    }
    if (hands == nullptr) return Outcome::needs_hands;
    TRY(make_local({{*wanted, *wanted + 1}}, *hands));
  }
}

Result<Outcome> BaseFile::allocate(int mode, uint64_t offset, uint64_t length, FetchHands* hands) {
  const uint64_t end = offset + length;
  for (;;) {
    std::optional<uint64_t> wanted;
    {
      std::lock_guard lock(mutex_);
      TRY_ASSIGN(uint64_t old_size, size());
      bool grows = end > old_size && (mode & FALLOC_FL_KEEP_SIZE) == 0;
      if (grows) wanted = missing_end(old_size);
      if (!wanted) {
        if (grows) TRY(own_from(old_size));
        // Space for missing blocks is taken when they are brought: allocated ones could be mistaken for data.
        uint64_t begin = std::max(offset, blocks_.limit() * map_.block_size());
        if (begin >= end) return Outcome::done;
        if (fallocate(fd_.get(), mode, static_cast<off_t>(begin), static_cast<off_t>(end - begin)) != 0)
          return errno_error(errno, path_, "allocate space in");
        return Outcome::done;
      }
    }
    if (hands == nullptr) return Outcome::needs_hands;
    TRY(make_local({{*wanted, *wanted + 1}}, *hands));
  }
}

// --- standing alone

Status BaseFile::hydrate(FetchHands& hands, const StopToken& stop,
                         const std::function<void(uint64_t)>& brought) {
  for (;;) {
    TRY(stop.check());
    std::optional<BlockRange> missing;
    {
      std::lock_guard lock(mutex_);
      missing = blocks_.first_missing(0, blocks_.limit());
    }
    if (!missing) return {};
    TRY_ASSIGN(LeafPtr leaf, map_.leaf(mark_.file, missing->begin / repo::kMapLeafBlocks, hands.tree));
    std::vector<repo::Piece> pieces;
    uint64_t bytes = 0;
    {
      std::lock_guard lock(mutex_);
      for (const repo::Piece& piece : leaf->pieces) {
        if (bytes >= kBatchBytes) break;
        if (!is_needed(piece)) continue;
        pieces.push_back(piece);
        bytes += piece.length;
      }
    }
    if (pieces.empty()) {
      std::lock_guard lock(mutex_);
      if (blocks_.is_missing(missing->begin))
        return make_error(ErrorKind::damaged, leaf->path,
                          cat("its block map has nothing for block ", missing->begin));
      continue;
    }
    TRY(hands.pieces.read(pieces, {leaf->path}, &stop, [&](repo::Piece& piece, ByteView plain) -> Status {
      TRY(write_missing(piece, plain, Cache::leave));
      brought(piece.length);
      return {};
    }));
    shared_.fetched_bytes += bytes;
    shared_.fetches += 1;
  }
}

Result<std::shared_ptr<const MapLeaf>> BaseFile::add_missing(size_t index, std::vector<repo::Piece>& pieces,
                                                             FetchHands& hands) {
  if (complete_) return LeafPtr();
  TRY_ASSIGN(LeafPtr leaf, map_.leaf(mark_.file, 0, hands.tree));
  std::lock_guard lock(mutex_);
  for (const repo::Piece& piece : leaf->pieces) {
    if (!is_needed(piece)) continue;
    pieces.push_back(piece);
    pieces.back().file = index;
  }
  return leaf;
}

Status BaseFile::accept(const repo::Piece& piece, ByteView plain) {
  shared_.fetched_bytes += plain.size();
  return write_missing(piece, plain, Cache::keep);
}

Result<bool> BaseFile::release() {
  {
    std::lock_guard lock(mutex_);
    if (blocks_.missing() > 0) return false;
    if (!marked_) return true;
  }
  // Only what is durable may do without its mark: the holes of a power cut would be read as zeros.
  TRY(fsync_file(fd_.get(), path_));
  std::lock_guard lock(mutex_);
  if (fremovexattr(fd_.get(), kMarkAttribute) != 0 && errno != ENODATA)
    return errno_error(errno, path_, "remove the extended attribute of");
  marked_ = false;
  // From now on the kernel may write to it past us.
  forget_fresh();
  return true;
}

// --- by inode

Result<std::shared_ptr<BaseFile>> BaseFiles::of(int fd, std::string_view path,
                                                const std::function<Result<Fd>()>& reopen) {
  TRY_ASSIGN(FileInfo info, stat_fd(fd, path));
  const Identity identity{info.device, info.inode};
  std::lock_guard lock(mutex_);
  if (auto known = known_.find(identity); known != known_.end()) {
    // As long as its state lives, so does a descriptor of it, and nobody else can get its inode.
    if (auto file = known->second.lock()) return file;
  }
  TRY_ASSIGN(std::optional<FileMark> mark, read_mark(fd, path));
  if (!mark) return std::shared_ptr<BaseFile>();
  if (mark->mount != mount_)
    return make_error(ErrorKind::damaged, std::string(path), cat("belongs to another mount, ", mark->mount));
  TRY_ASSIGN(Fd own, reopen());
  TRY_ASSIGN(std::shared_ptr<BaseFile> file,
             BaseFile::load(std::move(own), *mark, std::string(path), map_, shared_));
  if (known_.size() >= sweep_at_) {
    std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
    sweep_at_ = std::max<size_t>(1024, known_.size() * 2);
  }
  known_[identity] = file;
  recent_.emplace_front(identity, file);
  if (recent_.size() > most_recent_) recent_.pop_back();
  return file;
}

std::vector<std::shared_ptr<BaseFile>> BaseFiles::recent() {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<BaseFile>> files;
  for (const auto& entry : recent_) files.push_back(entry.second);
  return files;
}

void BaseFiles::forget(uint64_t device, uint64_t inode) {
  const Identity identity{device, inode};
  std::lock_guard lock(mutex_);
  std::erase_if(recent_, [&](const auto& entry) { return entry.first == identity; });
}

}  // namespace lifeboat::ops
