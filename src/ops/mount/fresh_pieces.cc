#include "ops/mount/fresh_pieces.h"

#include <algorithm>
#include <utility>

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

const FreshPieces::Piece* FreshPieces::piece_at(uint64_t file, uint64_t offset) const {
  // What was added last is asked for first.
  auto found = std::ranges::find_if(pieces_.rbegin(), pieces_.rend(), [&](const Piece& piece) {
    return piece.file == file && offset >= piece.offset && offset - piece.offset < piece.plain->size();
  });
  return found == pieces_.rend() ? nullptr : &*found;
}

bool FreshPieces::find(uint64_t file, uint64_t offset, uint64_t length, FreshParts& parts) const {
  parts = {};
  std::lock_guard lock(mutex_);
  const uint64_t end = offset + length;
  while (offset < end) {
    const Piece* piece = piece_at(file, offset);
    if (piece == nullptr) {
      parts = {};
      return false;
    }
    const uint64_t skip = offset - piece->offset;
    const uint64_t size = std::min<uint64_t>(end - offset, piece->plain->size() - skip);
    parts.held.push_back(piece->plain);
    parts.views.push_back(ByteView(*piece->plain).subspan(skip, size));
    offset += size;
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
