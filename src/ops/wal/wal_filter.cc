#include "ops/wal/wal_filter.h"

#include <algorithm>
#include <utility>

#include "pg/wal/no_op.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::ops {

Status WalFilter::segment(const SegmentName& name) {
  if (dropped_) return {};
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

Status WalFilter::bytes(ByteView piece) {
  if (dropped_) return {};
  Pending& last = pending_.back();
  CHECK(piece.size() <= last.content.size() - last.filled);
  std::ranges::copy(piece, last.content.begin() + static_cast<ptrdiff_t>(last.filled));
  last.filled += piece.size();
  if (page_ == 0) {
    // What the reader finds wrong with it, it tells itself.
    auto header = pg::read_segment_header(ByteView(last.content).first(last.filled));
    page_ = header ? header->block_size : pg::WalReaderOptions().block_size;
  }
  return {};
}

void WalFilter::record(const pg::WalRecord& record) {
  if (!dropped_ && needless_(record)) overwrite(record.lsn, pg::no_op_in_place_of(record.bytes).view());
}

Status WalFilter::pass(Lsn lsn) {
  while (!pending_.empty() && pending_.front().name.end(size_) <= lsn) {
    Pending& done = pending_.front();
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
  dropped_ = true;
  pending_.clear();
  spare_.clear();
}

// `bytes` take the place of the first ones of the record at `lsn`, around the headers of pages.
void WalFilter::overwrite(Lsn lsn, ByteView bytes) {
  uint64_t at = lsn.value;
  while (!bytes.empty()) {
    const uint64_t offset = at - start().value;
    Bytes& content = pending_[offset / size_.bytes].content;
    const size_t room = std::min<size_t>(bytes.size(), page_ - at % page_);
    std::ranges::copy(bytes.first(room), content.begin() + static_cast<ptrdiff_t>(offset % size_.bytes));
    bytes = bytes.subspan(room);
    at += room;
    if (at % page_ == 0) at += at % size_.bytes == 0 ? pg::kSegmentHeaderSize : pg::kWalPageHeaderSize;
  }
}

}  // namespace lifeboat::ops
