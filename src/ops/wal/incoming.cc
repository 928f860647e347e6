#include "ops/wal/incoming.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::ops {

Result<Fd> memory_file(const std::string& name) {
  int fd = ::memfd_create(name.c_str(), MFD_CLOEXEC);
  if (fd < 0) return errno_error(errno, name, "hold in memory");
  return Fd(fd);
}

Result<IncomingSegment> IncomingSegment::create(SegmentName name, SegmentSize size) {
  TRY_ASSIGN(Fd fd, memory_file(name.to_string()));
  return IncomingSegment(name, size, std::move(fd));
}

Status IncomingSegment::append(ByteView bytes) {
  CHECK(bytes.size() <= room());
  if (filled < known_.size()) {
    ByteView known = ByteView(known_).subspan(filled);
    known = known.first(std::min(known.size(), bytes.size()));
    auto [ours, theirs] = std::ranges::mismatch(known, bytes.first(known.size()));
    if (ours != known.end()) {
      Lsn at = start() + filled + static_cast<uint64_t>(ours - known.begin());
      return make_error(
                 ErrorKind::conflict, name_.to_string(),
                 cat("the server sends other WAL at ", at.to_string(), " than is stored of that segment"))
          .with_hint(
              "the server lost WAL, or two servers have one identity (split brain or a clone); nothing was "
              "stored or replaced");
    }
  }
  TRY(pwrite_all(fd_.get(), filled, bytes, name_.to_string()));
  filled += static_cast<uint32_t>(bytes.size());
  return {};
}

repo::WalSource IncomingSegment::source(uint32_t begin, uint32_t end) const {
  return {end - begin, [this, begin](uint64_t offset, MutableBytes out) {
            return pread_exact(fd_.get(), begin + offset, out, name_.to_string());
          }};
}

// --- MemoryWal

Result<WalPlace::File> MemoryWal::open(const WalFileName& file) {
  if (segment_ != nullptr && file.kind == WalFileKind::segment && file.segment == segment_->name()) {
    int fd = ::fcntl(segment_->fd(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return errno_error(errno, file.text, "open");
    return File{Fd(fd), segment_->filled, file.text};
  }
  for (const auto& [name, text] : files_) {
    if (name.text != file.text) continue;
    TRY_ASSIGN(Fd fd, memory_file(name.text));
    TRY(pwrite_all(fd.get(), 0, as_bytes(text), name.text));
    return File{std::move(fd), text.size(), name.text};
  }
  return make_error(ErrorKind::not_found, file.text, "was not received");
}

Result<Bytes> MemoryWal::head(const WalFileName& file, size_t size) {
  TRY_ASSIGN(File opened, open(file));
  Bytes bytes(size);
  TRY_ASSIGN(size_t got, pread_some(opened.fd.get(), 0, bytes, opened.path));
  bytes.resize(got);
  return bytes;
}

// --- pieces

std::optional<size_t> merge_from(const std::vector<repo::TailPiece>& pieces) {
  if (pieces.size() <= kMostPieces) return std::nullopt;
  size_t first = pieces.size() - 1;
  uint64_t size = pieces[first].size();
  while (first > 0 && (first >= kPiecesLeft || pieces[first - 1].size() <= 2 * size)) {
    --first;
    size += pieces[first].size();
  }
  return first;
}

std::vector<repo::TailPiece> least_cover(std::vector<repo::TailPiece> pieces,
                                         std::vector<repo::TailPiece>& dropped) {
  std::vector<repo::TailPiece> chosen;
  uint32_t end = 0;
  while (true) {
    auto best = pieces.end();
    for (auto piece = pieces.begin(); piece != pieces.end(); ++piece) {
      if (piece->begin > end || piece->end <= end) continue;
      if (best == pieces.end() || piece->end > best->end) best = piece;
    }
    if (best == pieces.end()) break;
    end = best->end;
    chosen.push_back(std::move(*best));
    pieces.erase(best);
  }
  for (repo::TailPiece& piece : pieces) {
    if (piece.end <= end) dropped.push_back(std::move(piece));
  }
  return chosen;
}

Status remove_tail(const repo::TailStore& tails, const IncomingSegment& segment, Reporter& reporter) {
  TRY_ASSIGN(std::vector<repo::TailPiece> pieces, tails.find(segment.name()));
  for (const repo::TailPiece& piece : pieces) {
    uint32_t at = piece.begin;
    Bytes ours;
    bool equal = true;
    TRY(tails.read(piece, [&](ByteView theirs) -> Status {
      ours.resize(theirs.size());
      TRY(pread_exact(segment.fd(), at, ours, segment.name().to_string()));
      equal = equal && std::ranges::equal(ours, theirs);
      at += static_cast<uint32_t>(theirs.size());
      return {};
    }));
    if (equal) {
      TRY(tails.remove(piece));
    } else {
      reporter.note(NoteLevel::warning, cat(piece.object,
                                            " holds other WAL than the segment that is stored: "
                                            "two servers have one identity"));
    }
  }
  return {};
}

}  // namespace lifeboat::ops
