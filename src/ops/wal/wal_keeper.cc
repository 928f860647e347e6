#include "ops/wal/wal_keeper.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "ops/wal/push.h"
#include "ops/wal/tail.h"
#include "util/check.h"
#include "util/fault.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kFirstPauseUs = 100'000;
constexpr int64_t kLongestPauseUs = 5'000'000;
constexpr int64_t kNoteAgainUs = 60'000'000;

WalFileName file_of(const SegmentName& segment) {
  auto file = WalFileName::parse(segment.to_string());
  CHECK(file.has_value());
  return *file;
}

// Does waiting heal it? What does not answer, has no room or is not there may come back; contents that
// contradict each other stay so.
bool passes(const Error& error) {
  switch (error.kind) {
    case ErrorKind::unavailable:
    case ErrorKind::timeout:
    case ErrorKind::space:
    case ErrorKind::permission:
    case ErrorKind::not_found:
    case ErrorKind::failed:
      return true;
    default:
      return false;
  }
}

}  // namespace

Result<std::unique_ptr<WalKeeper>> WalKeeper::create(const ChosenLineage& lineage,
                                                     const KeeperOptions& options, Reporter& reporter,
                                                     Clock& clock) {
  int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return errno_error(errno, "eventfd", "create");
  return std::unique_ptr<WalKeeper>(new WalKeeper(lineage, options, reporter, clock, Fd(fd)));
}

WalKeeper::WalKeeper(const ChosenLineage& lineage, const KeeperOptions& options, Reporter& reporter,
                     Clock& clock, Fd wake)
    : lineage_(lineage),
      options_(options),
      reporter_(reporter),
      clock_(clock),
      tails_(lineage.repo),
      wake_(std::move(wake)),
      tail_thread_([this] { store_tails(); }),
      segment_thread_([this] { store_segments(); }) {}

WalKeeper::~WalKeeper() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  tail_thread_.join();
  segment_thread_.join();
}

// --- the receiving thread

Status WalKeeper::begin(Timeline timeline, Lsn at) {
  const SegmentSize size = lineage_.record.segment_size;
  CHECK(at.value % size.bytes == 0);
  const SegmentName name = SegmentName::containing(timeline, at, size);
  {
    // Nobody works on the pieces while they are looked at.
    Lock lock(mutex_);
    CHECK(!waiting_for_tail() && !full_);
    current_ = nullptr;
    changed_.wait(lock, [&] { return !storing_tail_ && !storing_segment_; });
  }
  TRY_ASSIGN(std::vector<repo::TailPiece> pieces, tails_.find(name));
  Bytes image;
  if (repo::covered(pieces) > 0) {
    TRY_ASSIGN(image, read_tail(lineage_, name));
    TRY_ASSIGN(pieces, tails_.find(name));  // as they are now
  }
  TRY_ASSIGN(IncomingSegment segment, IncomingSegment::create(name, size));
  std::vector<repo::TailPiece> dropped;
  segment.pieces = least_cover(std::move(pieces), dropped);
  segment.stored = segment.pieces.empty() ? 0 : segment.pieces.back().end;
  segment.know(std::move(image));
  {
    std::lock_guard lock(mutex_);
    if (error_) return *error_;
    current_ = std::make_shared<IncomingSegment>(std::move(segment));
    durable_ = at;
    hurry_ = false;
  }
  remove_pieces(dropped);
  return {};
}

Result<size_t> WalKeeper::take(ByteView bytes) {
  size_t taken = 0;
  std::lock_guard lock(mutex_);
  CHECK(current_ != nullptr);
  if (error_) return *error_;
  while (taken < bytes.size()) {
    if (current_->room() == 0) {
      if (full_) break;
      full_ = current_;
      TRY_ASSIGN(IncomingSegment next,
                 IncomingSegment::create(current_->name().next(lineage_.record.segment_size),
                                         lineage_.record.segment_size));
      current_ = std::make_shared<IncomingSegment>(std::move(next));
    }
    IncomingSegment& segment = *current_;
    ByteView piece = bytes.subspan(taken);
    piece = piece.first(std::min<size_t>(piece.size(), segment.room()));
    if (segment.filled <= segment.stored) segment.waiting_since_us = clock_.monotonic_us();
    TRY(segment.append(piece));
    taken += piece.size();
  }
  // Full ones are stored at once, the first of the next segment need not have come.
  if (current_->room() == 0 && !full_) {
    full_ = current_;
    TRY_ASSIGN(IncomingSegment next, IncomingSegment::create(full_->name().next(lineage_.record.segment_size),
                                                             lineage_.record.segment_size));
    current_ = std::make_shared<IncomingSegment>(std::move(next));
  }
  publish();
  changed_.notify_all();
  return taken;
}

Lsn WalKeeper::received() const {
  std::lock_guard lock(mutex_);
  return current_ ? current_->start() + current_->filled : Lsn{};
}

Lsn WalKeeper::durable() const {
  std::lock_guard lock(mutex_);
  return durable_;
}

void WalKeeper::hurry() {
  {
    std::lock_guard lock(mutex_);
    hurry_ = true;
  }
  changed_.notify_all();
}

Status WalKeeper::settle(const StopToken* stop, int64_t grace_us) {
  constexpr auto kLook = std::chrono::milliseconds(50);
  int64_t deadline_us = 0;
  Lock lock(mutex_);
  while (!rests()) {
    if (error_) return *error_;
    hurry_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, kLook);
    if (stop == nullptr || !stop->stopped()) continue;
    const int64_t now_us = clock_.monotonic_us();
    if (deadline_us == 0) deadline_us = now_us + grace_us;
    if (now_us < deadline_us) continue;
    // A segment that is durable piece by piece is stored whole by whoever receives next.
    if (durable_ == current_->start() + current_->filled) return {};
    Error error = make_error(ErrorKind::unavailable, lineage_.repo.store().url(),
                             cat("WAL from ", durable_.to_string(), " on is not stored"));
    if (last_failure_) error.cause = last_failure_->to_string();
    return std::move(error).with_hint("the server keeps it; the next wal receive goes on from there");
  }
  if (error_) return *error_;
  return {};
}

void WalKeeper::clear_wake() {
  uint64_t count = 0;
  (void)!::read(wake_.get(), &count, sizeof count);
}

std::optional<Error> WalKeeper::error() const {
  std::lock_guard lock(mutex_);
  return error_;
}

KeeperTotals WalKeeper::totals() const {
  std::lock_guard lock(mutex_);
  return totals_;
}

// --- under the lock

bool WalKeeper::rests() const {
  if (storing_tail_ || storing_segment_ || full_) return false;
  return !current_ || current_->filled <= current_->stored;
}

void WalKeeper::wake() {
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void WalKeeper::publish() {
  Lsn durable = durable_;
  auto reach = [&](const IncomingSegment& segment) {
    uint32_t size = segment.whole ? segment.filled : std::min(segment.filled, segment.stored);
    durable = std::max(durable, segment.start() + size);
    return size == segment.size();
  };
  if (!full_ || reach(*full_)) reach(*current_);
  if (durable == durable_) return;
  durable_ = durable;
  wake();
}

WalKeeper::Shared WalKeeper::waiting_for_tail() const {
  for (const Shared& segment : {full_, current_}) {
    if (segment && !segment->whole && segment->filled > segment->stored) return segment;
  }
  return nullptr;
}

bool WalKeeper::tail_is_due(const IncomingSegment& segment) const {
  return options_.at_once || hurry_ ||
         clock_.monotonic_us() - segment.waiting_since_us >= options_.interval_us;
}

bool WalKeeper::bear(Lock& lock, Error error, int& failures) {
  if (!passes(error)) {
    error_ = std::move(error);
    wake();
    changed_.notify_all();
    return false;
  }
  ++totals_.failures;
  const int64_t now_us = clock_.monotonic_us();
  if (failures == 0 || now_us - noted_us_ > kNoteAgainUs) {
    noted_us_ = now_us;
    reporter_.note(NoteLevel::warning, cat("WAL cannot be stored: ", error.to_string(),
                                           "; nothing is acknowledged to the server until it can"));
  }
  last_failure_ = std::move(error);
  int64_t pause_us = std::min(kFirstPauseUs << std::min(failures, 10), kLongestPauseUs);
  ++failures;
  changed_.wait_for(lock, std::chrono::microseconds(pause_us), [&] { return ending_; });
  return !ending_;
}

// --- the thread that stores tails

void WalKeeper::store_tails() {
  int failures = 0;
  Lock lock(mutex_);
  while (!ending_) {
    Shared segment = waiting_for_tail();
    if (!segment) {
      hurry_ = false;
      changed_.notify_all();
      changed_.wait(lock);
      continue;
    }
    if (!tail_is_due(*segment)) {
      int64_t left_us = segment->waiting_since_us + options_.interval_us - clock_.monotonic_us();
      changed_.wait_for(lock, std::chrono::microseconds(std::max<int64_t>(left_us, 1000)));
      continue;
    }
    storing_tail_ = true;
    Status stored = store_piece(lock, segment);
    storing_tail_ = false;
    if (stored) {
      if (failures > 0) reporter_.note(NoteLevel::info, "WAL is stored again");
      failures = 0;
      changed_.notify_all();
    } else if (!bear(lock, std::move(stored).error(), failures)) {
      return;
    }
  }
}

Status WalKeeper::store_piece(Lock& lock, const Shared& segment) {
  const uint32_t begin = segment->stored;
  const uint32_t end = segment->filled;
  const int64_t began_us = clock_.monotonic_us();
  lock.unlock();
  uint64_t point = fault::point("receive.tail");
  auto piece = tails_.put(segment->name(), begin, segment->source(begin, end));
  Status there = piece ? check_marker() : Status();
  if (piece) fault::passed(point);
  lock.lock();
  TRY(piece);
  TRY(there);
  ++totals_.pieces;
  if (segment->whole) {
    // Its segment came in between, and its pieces were removed.
    lock.unlock();
    remove_pieces({*piece});
    lock.lock();
    return {};
  }
  segment->pieces.push_back(*std::move(piece));
  segment->stored = end;
  segment->waiting_since_us = began_us;
  hurry_ = false;
  publish();
  return {};
}

// --- the thread that stores segments

void WalKeeper::store_segments() {
  int failures = 0;
  Lock lock(mutex_);
  while (!ending_) {
    Shared segment = full_ ? full_ : current_;
    std::optional<size_t> merge;
    // What is only known from the repository is not in memory yet.
    if (!full_ && segment && segment->stored <= segment->filled) merge = merge_from(segment->pieces);
    if (!full_ && !merge) {
      changed_.wait(lock);
      continue;
    }
    storing_segment_ = true;
    Status stored = full_ ? store_whole(lock, segment) : merge_pieces(lock, segment, *merge);
    storing_segment_ = false;
    if (stored) {
      failures = 0;
      changed_.notify_all();
    } else if (!bear(lock, std::move(stored).error(), failures)) {
      return;
    }
  }
}

Status WalKeeper::store_whole(Lock& lock, const Shared& segment) {
  lock.unlock();
  MemoryWal place(segment.get());
  uint64_t point = fault::point("receive.segment");
  auto stored = store_wal_file(lineage_, file_of(segment->name()), place);
  Status there = stored ? check_marker() : Status();
  if (stored) fault::passed(point);
  lock.lock();
  TRY(stored);
  TRY(there);
  ++totals_.segments;
  segment->whole = true;
  std::vector<repo::TailPiece> pieces = std::move(segment->pieces);
  publish();
  full_ = nullptr;
  wake();
  changed_.notify_all();
  lock.unlock();
  remove_pieces(pieces);
  Status removed = remove_tail(tails_, *segment, reporter_);
  lock.lock();
  if (!removed)
    reporter_.note(NoteLevel::debug, cat("a tail is left to expire: ", removed.error().to_string()));
  return {};
}

Status WalKeeper::merge_pieces(Lock& lock, const Shared& segment, size_t first) {
  const size_t last = segment->pieces.size();
  const uint32_t begin = segment->pieces[first].begin;
  const uint32_t end = segment->pieces[last - 1].end;
  lock.unlock();
  auto piece = tails_.put(segment->name(), begin, segment->source(begin, end));
  Status there = piece ? check_marker() : Status();
  lock.lock();
  TRY(piece);
  TRY(there);
  ++totals_.merged;
  // Only this thread takes pieces away; the other one adds behind them.
  auto from = segment->pieces.begin() + static_cast<ptrdiff_t>(first);
  auto to = segment->pieces.begin() + static_cast<ptrdiff_t>(last);
  std::vector<repo::TailPiece> old(from, to);
  *from = *std::move(piece);
  segment->pieces.erase(from + 1, to);
  lock.unlock();
  remove_pieces(old);
  lock.lock();
  return {};
}

void WalKeeper::remove_pieces(const std::vector<repo::TailPiece>& pieces) {
  for (const repo::TailPiece& piece : pieces) {
    Status removed = tails_.remove(piece);
    // What stays for another reason goes with its segment, or with the next receiver.
    if (removed || removed.error().kind != ErrorKind::permission) continue;
    std::lock_guard lock(mutex_);
    if (!may_remove_) continue;
    may_remove_ = false;
    reporter_.note(NoteLevel::warning, cat("tails of segments cannot be removed and are left to expire: ",
                                           removed.error().to_string()));
  }
}

Status WalKeeper::check_marker() const {
  const repo::Repository& repository = lineage_.repo.repository();
  auto marker = repo::Repository::read_marker(repository.store());
  if (!marker) return std::move(marker).error().within("looking whether the repository is still there");
  if (marker->repository_id == repository.marker().repository_id) return {};
  return make_error(ErrorKind::unavailable, repository.store().url(),
                    "another repository stands in its place");
}

}  // namespace lifeboat::ops
