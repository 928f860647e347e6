#include "repo/block_reader.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr uint64_t kReadBytes = 4 << 20;  // most that is read from a pack at once
constexpr uint64_t kReadGap = 32 << 10;   // bytes between two frames that are rather read than skipped

}  // namespace

Status lay_out(std::string_view path, const std::vector<BlockRef>& refs, size_t file, uint64_t offset,
               uint64_t end, uint32_t block_size, std::vector<Piece>& pieces) {
  for (const BlockRef& ref : refs) {
    if (offset >= end) {
      return make_error(ErrorKind::damaged, std::string(path),
                        cat("its block map goes on past its end at byte ", end));
    }
    uint64_t bytes = static_cast<uint64_t>(ref.count) * block_size;
    if (bytes > end - offset) {
      // Only the last block of a file may be short.
      if (bytes - (end - offset) >= block_size || end % block_size == 0) {
        return make_error(
            ErrorKind::damaged, std::string(path),
            cat("its block map has ", bytes, " bytes at byte ", offset, ", past its end at ", end));
      }
      bytes = end - offset;
    }
    pieces.push_back({file, offset, bytes, &ref, 0});
    offset += bytes;
  }
  if (offset != end) {
    return make_error(ErrorKind::damaged, std::string(path),
                      cat("its block map has a gap: it ends at byte ", offset, ", expected ", end));
  }
  return {};
}

Status PieceReader::read(std::span<Piece> pieces, const std::vector<std::string_view>& paths,
                         const StopToken* stop, const Take& take) {
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

// The first piece after `begin` that is not worth reading together with it.
size_t PieceReader::run_end(size_t begin) const {
  const FrameRef& first = order_[begin]->ref->frame;
  uint64_t to = first.place.offset + first.place.length;
  size_t at = begin + 1;
  for (; at < order_.size(); ++at) {
    const FrameRef& frame = order_[at]->ref->frame;
    if (frame.pack != first.pack || frame.place.offset > to + kReadGap) break;
    uint64_t frame_end = frame.place.offset + frame.place.length;
    if (frame_end - first.place.offset > kReadBytes) break;
    to = std::max(to, frame_end);
  }
  return at;
}

Status PieceReader::read_run(size_t begin, size_t end, const std::vector<std::string_view>& paths,
                             const Take& take) {
  const FrameRef& first = order_[begin]->ref->frame;
  const FrameRef& last = order_[end - 1]->ref->frame;
  TRY_ASSIGN(FrameReader * reader, packs_.reader(first.pack));
  uint64_t from = first.place.offset;
  uint64_t to = last.place.offset + last.place.length;
  if (to > reader->size() || from > to) {
    return make_error(ErrorKind::damaged, reader->name(),
                      cat("frame ", last.place.number, " lies past its end, ", reader->size(), " bytes"));
  }
  if (stored_.size() < to - from) stored_.resize(to - from);
  TRY(reader->read_raw(from, MutableBytes(stored_).first(to - from)));
  stored_bytes_ += to - from;
  const FrameRef* decoded = nullptr;
  for (size_t at = begin; at < end; ++at) {
    Piece& piece = *order_[at];
    const FrameRef& frame = piece.ref->frame;
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
bool PieceReader::is_what_was_stored(const BlockRef& ref, ByteView part) {
  if (ref.whole()) return codec::hash128(part) == ref.hash;
  Proven run{ref.first_block - ref.before, ref.before + ref.count + ref.after, ref.hash};
  if (std::ranges::find(proven_, run) != proven_.end()) return true;
  std::optional<ByteView> bytes = ref.hashed(frame_.plain, block_size_);
  if (!bytes || codec::hash128(*bytes) != ref.hash) return false;
  proven_.push_back(run);
  return true;
}

}  // namespace lifeboat::repo
