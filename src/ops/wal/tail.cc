#include "ops/wal/tail.h"

#include <algorithm>

#include "repo/wal_store.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// How often the pieces may change under our hands before it counts as an outage.
constexpr int kTries = 10;

WalFileName file_of(const SegmentName& segment) {
  auto file = WalFileName::parse(segment.to_string());
  CHECK(file.has_value());
  return *file;
}

// Adds a piece to the image of the segment's begin; false: it does not adjoin.
Result<bool> add_piece(const repo::TailStore& store, const repo::TailPiece& piece, Bytes& image) {
  if (piece.begin > image.size()) return false;
  uint64_t at = piece.begin;
  TRY(store.read(piece, [&](ByteView bytes) -> Status {
    size_t known = std::min<size_t>(bytes.size(), image.size() - std::min<size_t>(at, image.size()));
    if (!std::ranges::equal(bytes.first(known),
                            ByteView(image).subspan(std::min<size_t>(at, image.size()), known))) {
      return make_error(ErrorKind::conflict, piece.object, "differs from another piece of the same segment")
          .with_hint("two servers with one identity were received from (split brain or a clone)");
    }
    image.insert(image.end(), bytes.begin() + static_cast<ptrdiff_t>(known), bytes.end());
    at += bytes.size();
    return {};
  }));
  return true;
}

Result<Bytes> read_whole(const repo::WalStore& store, const repo::WalObject& object) {
  Bytes image;
  TRY(store.get_object(object, [&](ByteView bytes) -> Status {
    image.insert(image.end(), bytes.begin(), bytes.end());
    return {};
  }));
  return image;
}

}  // namespace

Result<std::vector<SegmentTail>> list_tails(const ChosenLineage& lineage, Timeline timeline) {
  TRY_ASSIGN(std::vector<repo::TailPiece> pieces, repo::TailStore(lineage.repo).list(timeline));
  std::vector<SegmentTail> tails;
  for (size_t first = 0; first < pieces.size();) {
    size_t last = first;
    while (last < pieces.size() && pieces[last].segment == pieces[first].segment) ++last;
    uint32_t size = repo::covered(
        {pieces.begin() + static_cast<ptrdiff_t>(first), pieces.begin() + static_cast<ptrdiff_t>(last)});
    if (size > 0) tails.push_back({pieces[first].segment, size});
    first = last;
  }
  return tails;
}

Result<Bytes> read_tail(const ChosenLineage& lineage, const SegmentName& segment) {
  repo::WalStore wal(lineage.repo);
  repo::TailStore tails(lineage.repo);
  for (int tries = 1;; ++tries) {
    // The pieces are listed first: they go only after the whole segment has come.
    TRY_ASSIGN(std::vector<repo::TailPiece> pieces, tails.find(segment));
    TRY_ASSIGN(std::optional<repo::WalObject> whole, wal.find(file_of(segment)));
    if (whole) return read_whole(wal, *whole);
    if (repo::covered(pieces) == 0)
      return make_error(ErrorKind::not_found, segment.to_string(), "nothing is stored of it");
    Bytes image;
    Status read;
    for (const repo::TailPiece& piece : pieces) {
      auto added = add_piece(tails, piece, image);
      if (added && *added) continue;
      if (!added) read = std::move(added).error();
      break;
    }
    if (read) return image;
    // Merged meanwhile: then a larger piece is there.
    if (read.error().kind != ErrorKind::not_found || tries == kTries) return std::move(read).error();
  }
}

Result<bool> tail_ends_archive(const ChosenLineage& lineage, const SegmentName& segment) {
  repo::WalStore store(lineage.repo);
  bool later = false;
  TRY(store.list_segments(segment.timeline, {segment, std::nullopt}, [&](const SegmentName&, int) -> Status {
    later = true;
    return {};
  }));
  if (later) return false;
  Lsn begin = segment.start(lineage.record.segment_size);
  TRY_ASSIGN(std::vector<Timeline> timelines, store.timelines());
  for (Timeline timeline : timelines) {
    if (timeline <= segment.timeline) continue;
    auto history = store.history(timeline);
    if (!history) {
      // Its ancestry is not known, so it may be one.
      ErrorKind kind = history.error().kind;
      if (kind == ErrorKind::not_found || kind == ErrorKind::conflict || kind == ErrorKind::damaged)
        return false;
      return std::move(history).error();
    }
    bool leads_on = std::ranges::any_of(*history, [&](const repo::HistoryLine& line) {
      return line.timeline == segment.timeline && line.switch_point > begin;
    });
    if (leads_on) return false;
  }
  return true;
}

}  // namespace lifeboat::ops
