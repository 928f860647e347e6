#include "ops/wal/wal_filter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::ops {

Status WalFilter::segment(const SegmentName& name) {
  if (dropped_) {
    pending_.clear();
    spare_.clear();
    return {};
  }
  if (pending_.size() == kMostPending) {
    return make_error(ErrorKind::unsupported, pending_.front().name.to_string(),
                      cat("a record goes through ", kMostPending, " segments"));
  }
  Pending next{name, {}, 0};
  if (!spare_.empty()) {
    next.content = std::move(spare_.front());
    spare_.pop_front();
  } else {
    next.content.resize(size_.bytes);
  }
  pending_.push_back(std::move(next));
  return {};
}

ByteView WalFilter::whole(Bytes& content) {
  if (dropped_ || content.size() != size_.bytes) return content;
  std::swap(pending_.back().content, content);
  return pending_.back().content;
}

Status WalFilter::bytes(ByteView piece) {
  if (dropped_) return {};
  Pending& last = pending_.back();
  CHECK(piece.size() <= last.content.size() - last.filled);
  uint8_t* const place = last.content.data() + last.filled;
  // By name: GCC 12 makes a loop of single bytes of std::ranges::copy.
  if (!piece.empty() && piece.data() != place) std::memcpy(place, piece.data(), piece.size());
  last.filled += piece.size();
  if (page_ == 0) {
    // What the reader finds wrong with it, it tells itself.
    auto header = pg::read_segment_header(ByteView(last.content).first(last.filled));
    page_ = header ? header->block_size : pg::WalReaderOptions().block_size;
  }
  return {};
}

void WalFilter::record(const pg::WalRecord& record) {
  if (!dropped_ && needless_(record)) changes_.push_back({record.lsn, pg::no_op_in_place_of(record.bytes)});
}

Status WalFilter::pass(Lsn lsn) {
  if (dropped_) return {};
  while (!pending_.empty() && pending_.front().name.end(size_) <= lsn) {
    Pending& done = pending_.front();
    change(done.name.end(size_));
    std::fill(done.content.begin() + static_cast<ptrdiff_t>(done.filled), done.content.end(), 0);
    TRY(place_(done.name, done.content));
    spare_.push_back(std::move(done.content));
    pending_.pop_front();
  }
  return {};
}

Status WalFilter::finish() {
  return pass(Lsn{UINT64_MAX});
}

void WalFilter::drop() {
  // The scan may be reading the last segment: its memory goes when the next one begins.
  dropped_ = true;
  changes_.clear();
}

void WalFilter::change(Lsn lsn) {
  for (; !changes_.empty() && changes_.front().lsn < lsn; changes_.pop_front())
    overwrite(changes_.front().lsn, changes_.front().instead.view());
}

// `bytes` take the place of the first ones of the record at `lsn`, around the headers of pages.
void WalFilter::overwrite(Lsn lsn, ByteView bytes) {
  uint64_t at = lsn.value;
  while (!bytes.empty()) {
    const uint64_t offset = at - start().value;
    Bytes& content = pending_[offset / size_.bytes].content;
    const size_t room = std::min<size_t>(bytes.size(), page_ - at % page_);
    std::memcpy(content.data() + offset % size_.bytes, bytes.data(), room);
    bytes = bytes.subspan(room);
    at += room;
    if (at % page_ == 0) at += at % size_.bytes == 0 ? pg::kSegmentHeaderSize : pg::kWalPageHeaderSize;
  }
}

}  // namespace lifeboat::ops
