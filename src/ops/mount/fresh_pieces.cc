#include "ops/mount/fresh_pieces.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace lifeboat::ops {

void FreshPieces::add(uint64_t file, uint64_t offset, ByteView plain) {
  if (plain.empty() || plain.size() > kMost) return;
  auto memory = std::make_shared<const Bytes>(plain.begin(), plain.end());
  std::lock_guard lock(mutex_);
  bytes_ += plain.size();
  while (bytes_ > kMost) {
    bytes_ -= pieces_.front().plain->size();
    pieces_.pop_front();
  }
  pieces_.push_back({file, offset, std::move(memory)});
}

const FreshPieces::Piece* FreshPieces::find(uint64_t file, uint64_t offset) const {
  auto found = std::ranges::find_if(pieces_, [&](const Piece& piece) {
    return piece.file == file && offset >= piece.offset && offset - piece.offset < piece.plain->size();
  });
  return found == pieces_.end() ? nullptr : &*found;
}

bool FreshPieces::copy(uint64_t file, uint64_t offset, MutableBytes out) const {
  std::vector<Piece> parts;
  {
    std::lock_guard lock(mutex_);
    for (uint64_t at = offset; at < offset + out.size();) {
      const Piece* piece = find(file, at);
      if (piece == nullptr) return false;
      parts.push_back(*piece);
      at = piece->offset + piece->plain->size();
    }
  }
  for (const Piece& part : parts) {
    const size_t skip = static_cast<size_t>(offset - part.offset);
    const size_t size = std::min(out.size(), part.plain->size() - skip);
    std::memcpy(out.data(), part.plain->data() + skip, size);
    offset += size;
    out = out.subspan(size);
  }
  return true;
}

void FreshPieces::forget(uint64_t file) {
  std::lock_guard lock(mutex_);
  std::erase_if(pieces_, [&](const Piece& piece) {
    if (piece.file != file) return false;
    bytes_ -= piece.plain->size();
    return true;
  });
}

}  // namespace lifeboat::ops
