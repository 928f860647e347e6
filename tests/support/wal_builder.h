// Tests only: builds WAL pages and records byte by byte, independently of the reader.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "model/lsn.h"
#include "pg/format/version.h"
#include "util/bytes.h"

namespace lifeboat::pg::testing {

// One record from its parts; xl_prev and the CRC are set when it is placed.
struct RecordSpec {
  uint8_t rmgr = 10;
  uint8_t info = 0;
  uint32_t xid = 700;
  Bytes body = {};  // everything behind the 24 bytes of XLogRecord
};

inline Bytes main_data(ByteView data) {
  Bytes body;
  ByteWriter out(body);
  if (data.size() < 256) {
    out.u8(255);
    out.u8(static_cast<uint8_t>(data.size()));
  } else {
    out.u8(254);
    out.u32(static_cast<uint32_t>(data.size()));
  }
  out.bytes(data);
  return body;
}

inline RecordSpec filler(size_t size, uint8_t seed = 1) {
  Bytes data(size);
  for (size_t i = 0; i < size; ++i) data[i] = static_cast<uint8_t>(i * 7 + seed);
  return {.rmgr = 21, .info = 0, .xid = 700, .body = main_data(data)};
}

class WalBuilder {
 public:
  static constexpr uint64_t kSystemId = 7424242424242424242;

  WalBuilder(int major, Lsn start, uint32_t segment_size = 1 << 20, uint32_t block_size = 8192)
      : version_(find_version(major)), start_(start), segment_size_(segment_size), block_size_(block_size) {}

  // Places a record, returns its LSN.
  Lsn add(const RecordSpec& spec) {
    Bytes raw;
    ByteWriter out(raw);
    out.u32(static_cast<uint32_t>(24 + spec.body.size()));
    out.u32(spec.xid);
    out.u64(prev_.value);
    out.u8(spec.info);
    out.u8(spec.rmgr);
    out.u16(0);
    out.u32(0);
    out.bytes(spec.body);
    uint32_t crc = codec::crc32c(0xffffffff, ByteView(raw).subspan(24));
    crc = codec::crc32c(crc, ByteView(raw).first(20)) ^ 0xffffffff;
    store_le(raw.data() + 20, crc);
    return add_raw(raw);
  }

  // Places a whole record as it is.
  Lsn add_raw(ByteView raw) {
    begin_page_if_needed(0);
    Lsn lsn = position();
    put(raw);
    prev_ = lsn;
    return lsn;
  }

  // The record's bytes up to the end of the page, then a page that gives it up (a crash).
  Lsn add_torn(const RecordSpec& spec) {
    Lsn keep = prev_;
    Lsn lsn = add(spec);
    size_t page = (lsn.value - start_.value) / block_size_ + 1;
    bytes_.resize(page * block_size_);
    prev_ = keep;
    next_flags_ = 0x0008;
    return lsn;
  }

  // XLOG_SWITCH: the rest of the segment stays zero.
  Lsn add_switch() {
    Lsn lsn = add({.rmgr = 0, .info = 0x40, .xid = 0, .body = {}});
    bytes_.resize((bytes_.size() + segment_size_ - 1) / segment_size_ * segment_size_);
    return lsn;
  }

  void set_timeline(uint32_t timeline) { timeline_ = timeline; }
  void set_prev(Lsn prev) { prev_ = prev; }
  void set_next_flags(uint16_t flags) { next_flags_ = flags; }  // of the next page
  Lsn position() const { return start_ + bytes_.size(); }
  Lsn prev() const { return prev_; }
  // Zeros up to the end of the segment, as in a segment that is being filled.
  Bytes padded() const {
    Bytes all = bytes_;
    all.resize((all.size() + segment_size_ - 1) / segment_size_ * segment_size_);
    return all;
  }
  const Bytes& bytes() const { return bytes_; }
  Bytes& bytes() { return bytes_; }
  size_t offset(Lsn lsn) const { return lsn.value - start_.value; }

 private:
  void begin_page_if_needed(uint32_t remaining) {
    if (bytes_.size() % block_size_ != 0) return;
    Lsn at = position();
    bool is_long = at.value % segment_size_ == 0;
    uint16_t flags = next_flags_;
    next_flags_ = 0;
    if (remaining != 0) flags |= 1;
    if (is_long) flags |= 2;
    ByteWriter out(bytes_);
    out.u16(version_->wal_magic);
    out.u16(flags);
    out.u32(timeline_);
    out.u64(at.value);
    out.u32(remaining);
    out.u32(0);
    if (is_long) {
      out.u64(kSystemId);
      out.u32(segment_size_);
      out.u32(block_size_);
    }
  }

  void put(ByteView raw) {
    while (!raw.empty()) {
      begin_page_if_needed(static_cast<uint32_t>(raw.size()));
      size_t room = block_size_ - bytes_.size() % block_size_;
      size_t take = std::min(room, raw.size());
      bytes_.insert(bytes_.end(), raw.begin(), raw.begin() + static_cast<ptrdiff_t>(take));
      raw = raw.subspan(take);
    }
    bytes_.resize((bytes_.size() + 7) / 8 * 8);
  }

  const VersionTraits* version_;
  Lsn start_;
  uint32_t segment_size_;
  uint32_t block_size_;
  uint32_t timeline_ = 1;
  uint16_t next_flags_ = 0;
  Lsn prev_;
  Bytes bytes_;
};

}  // namespace lifeboat::pg::testing
