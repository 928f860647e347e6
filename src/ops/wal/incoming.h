// WAL on its way into the repository, held in memory: the segment that is being filled and, while it is
// stored, the one before. Nothing of it touches this host's disks: a receiver needs no spool, because the
// server keeps what we have not acknowledged.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/wal_name.h"
#include "ops/wal/push.h"
#include "repo/wal_tail.h"
#include "util/files.h"
#include "util/reporter.h"
#include "util/result.h"

namespace lifeboat::ops {

// A file without a place on any disk (memfd_create(2)).
Result<Fd> memory_file(const std::string& name);

// Thread rule: one thread fills it; what lies before `filled`, as the filling thread has published it under a
// lock, may be read by others.
class IncomingSegment {
 public:
  static Result<IncomingSegment> create(SegmentName name, SegmentSize size);

  const SegmentName& name() const { return name_; }
  Lsn start() const { return name_.start(size_); }
  uint32_t size() const { return size_.bytes; }
  uint32_t room() const { return size_.bytes - filled; }
  int fd() const { return fd_.get(); }
  // Appends; `bytes` are not more than there is room for (CHECKed). What is known of the segment is compared:
  // `conflict` when the server now sends something else there.
  Status append(ByteView bytes);
  // What the repository holds of it.
  void know(Bytes image) { known_ = std::move(image); }
  repo::WalSource source(uint32_t begin, uint32_t end) const;

  uint32_t filled = 0;
  uint32_t stored = 0;                  // the pieces cover so much of it
  std::vector<repo::TailPiece> pieces;  // adjoining, from the begin on
  bool whole = false;                   // stored as a segment
  int64_t waiting_since_us = 0;         // when the first byte arrived that is in no piece

 private:
  IncomingSegment(SegmentName name, SegmentSize size, Fd fd) : name_(name), size_(size), fd_(std::move(fd)) {}
  SegmentName name_;
  SegmentSize size_;
  Fd fd_;
  Bytes known_;
};

// Segments and history files in memory, for store_wal_file().
class MemoryWal : public WalPlace {
 public:
  // Borrows the segment.
  explicit MemoryWal(const IncomingSegment* segment = nullptr) : segment_(segment) {}
  void add(const WalFileName& file, std::string text) { files_.emplace_back(file, std::move(text)); }

  Result<File> open(const WalFileName& file) override;
  Result<Bytes> head(const WalFileName& file, size_t size) override;

 private:
  const IncomingSegment* segment_;
  std::vector<std::pair<WalFileName, std::string>> files_;
};

// Which adjoining pieces to store again as one, so that few are live: those from the returned index on.
// nullopt: few enough. Small ones go together as they age, large ones seldom, so that each byte is stored a
// few times only.
inline constexpr size_t kMostPieces = 16;
inline constexpr size_t kPiecesLeft = 8;  // at most, after they were merged
std::optional<size_t> merge_from(const std::vector<repo::TailPiece>& pieces);

// The fewest of the pieces that cover what all of them do, adjoining as far as that goes; the others go to
// `dropped`. Any order.
std::vector<repo::TailPiece> least_cover(std::vector<repo::TailPiece> pieces,
                                         std::vector<repo::TailPiece>& dropped);

// Removes the pieces of a segment that is stored whole. Those that say something else stay, and are told:
// they are all that there is of another history (T46).
Status remove_tail(const repo::TailStore& tails, const IncomingSegment& segment, Reporter& reporter);

}  // namespace lifeboat::ops
