// Does a WAL file belong to a lineage and to its name? Shared by push and get.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "model/names.h"
#include "model/wal_name.h"
#include "pg/format/timeline_history.h"
#include "pg/wal/wal_reader.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::ops {

// What a segment must agree with.
struct SegmentExpectation {
  Lineage lineage;
  SegmentSize segment_size;
};

// Compares the header in `head` (at least pg::kSegmentHeaderSize bytes, fewer are `damaged`) with the file's
// name and the lineage. The header's timeline may be lower than the name's: at a promotion the server copies
// the beginning of the old timeline's segment. `foreign`: another system identifier, version or segment size
// (T26); `damaged`: anything else.
Result<pg::SegmentHeader> check_segment_header(const std::string& object, const WalFileName& file,
                                               ByteView head, const SegmentExpectation& expected);
// A segment and a .partial file have exactly the segment's size (T30).
Status check_segment_size(const std::string& object, uint64_t size, SegmentSize expected);

// Measures how far a segment file holds together, piece by piece, without holding the file (T22: past that
// point the bytes of a .partial mean nothing).
class ValidPrefix : private pg::WalSink {
 public:
  explicit ValidPrefix(SegmentName segment, SegmentSize size);
  ~ValidPrefix() override;
  // Consecutive pieces from the file's beginning; the first has at least pg::kSegmentHeaderSize bytes.
  void add(ByteView piece);
  // How many bytes are valid; 0 when not even the header is. Call once, after the last piece.
  uint64_t finish();

 private:
  void record(const pg::WalRecord&) override {}
  void damage(const pg::WalDamage&) override { damaged_ = true; }

  Lsn start_;
  uint64_t size_;
  uint64_t seen_ = 0;
  bool damaged_ = false;
  bool unreadable_ = false;
  std::unique_ptr<pg::WalReader> reader_;
};

}  // namespace lifeboat::ops
