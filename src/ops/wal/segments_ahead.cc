#include "ops/wal/segments_ahead.h"

#include <algorithm>
#include <utility>

namespace lifeboat::ops {

namespace {

constexpr size_t kMostBytes = 64 << 20;
constexpr size_t kMostThreads = 4;

}  // namespace

size_t SegmentsAhead::room_for(SegmentSize size) {
  return std::min<size_t>(kMostThreads, kMostBytes / size.bytes);
}

SegmentsAhead::SegmentsAhead(std::vector<SegmentName> row, SegmentSize size, size_t ahead, Read read)
    : row_(std::move(row)), size_(size), ahead_(std::max<size_t>(ahead, 1)), read_(std::move(read)) {
  const size_t threads = std::min({ahead_, kMostThreads, row_.size()});
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

SegmentsAhead::~SegmentsAhead() {
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void SegmentsAhead::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ended_ || begun_ == row_.size() || begun_ < taken_ + ahead_; });
    if (ended_ || begun_ == row_.size()) return;
    const size_t place = begun_++;
    Bytes content;
    if (!spare_.empty()) {
      content = std::move(spare_.back());
      spare_.pop_back();
      content.clear();
    }
    lock.unlock();
    content.reserve(size_.bytes);
    Status read = read_(row_[place], [&](ByteView piece) -> Status {
      content.insert(content.end(), piece.begin(), piece.end());
      std::lock_guard stopped(mutex_);
      return ended_ ? Status(make_error(ErrorKind::cancelled, "", "nobody wants it any more")) : Status();
    });
    lock.lock();
    done_.emplace(place, read ? Result<Bytes>(std::move(content)) : Result<Bytes>(std::move(read).error()));
    changed_.notify_all();
  }
}

Result<Bytes*> SegmentsAhead::next() {
  std::unique_lock lock(mutex_);
  CHECK(taken_ < row_.size());
  if (current_.capacity() > 0) spare_.push_back(std::move(current_));
  changed_.wait(lock, [&] { return done_.contains(taken_); });
  Result<Bytes> content = std::move(done_.extract(taken_).mapped());
  ++taken_;
  changed_.notify_all();
  if (!content) return std::move(content).error();
  current_ = std::move(*content);
  return &current_;
}

}  // namespace lifeboat::ops
