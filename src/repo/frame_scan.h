// Reads the frames of an object from the first to the last, past damaged ones, for verify.
#pragma once

#include <algorithm>
#include <optional>

#include "repo/object.h"

namespace lifeboat::repo {

// Reads the frames of an object one after the other through a window, so that small frames do not cost a read
// each.
class FrameScan {
 public:
  explicit FrameScan(FrameReader& reader) : reader_(reader) {}

  // The place of the next frame; nullopt when the rest cannot hold one.
  Result<std::optional<FramePlace>> place() {
    if (reader_.size() - at_ < 4) return std::optional<FramePlace>();
    TRY(need(at_, 4));
    uint32_t length = load_le<uint32_t>(window_.data() + (at_ - begin_));
    if (length > reader_.size() - at_ - 4) return std::optional<FramePlace>();
    return std::optional<FramePlace>(FramePlace{number_, at_ + 4, length});
  }
  // Decodes it. A read error is returned as such, damage as `damaged`; either way the scan may go on.
  Status decode(const FramePlace& place, Frame& frame) {
    at_ = place.offset + place.length;
    ++number_;
    TRY(need(place.offset, place.length));
    return reader_.decode(place, MutableBytes(window_.data() + (place.offset - begin_), place.length), frame);
  }
  uint64_t position() const { return at_; }

 private:
  static constexpr size_t kWindow = 1 << 20;

  Status need(uint64_t offset, size_t size) {
    if (offset >= begin_ && offset + size <= begin_ + filled_) return {};
    size_t want = static_cast<size_t>(std::min<uint64_t>(std::max(size, kWindow), reader_.size() - offset));
    if (window_.size() < want) window_.resize(want);
    filled_ = 0;
    TRY(reader_.read_raw(offset, MutableBytes(window_.data(), want)));
    begin_ = offset;
    filled_ = want;
    return {};
  }

  FrameReader& reader_;
  uint64_t at_ = kHeaderSize;
  uint32_t number_ = 0;
  Bytes window_;
  uint64_t begin_ = 0;
  size_t filled_ = 0;
};

}  // namespace lifeboat::repo
