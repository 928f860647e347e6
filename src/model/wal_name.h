// Names of files in pg_wal (src/include/access/xlog_internal.h, PostgreSQL 13 to 18).
//
// A segment is TTTTTTTTLLLLLLLLSSSSSSSS (timeline, log id, segment within the log id). How many segments a
// log id holds depends on wal_segment_size, so positions need it (T12).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/lsn.h"

namespace lifeboat {

// wal_segment_size in bytes: a power of two from 1 MiB to 1 GiB.
struct SegmentSize {
  uint32_t bytes = 16u << 20;
  static bool valid(uint64_t bytes);
  uint64_t segments_per_log_id() const { return 0x100000000ull / bytes; }
  bool operator==(const SegmentSize&) const = default;
};

struct SegmentName {
  Timeline timeline;
  uint32_t log_id = 0;
  uint32_t number = 0;  // within the log id

  static std::optional<SegmentName> parse(std::string_view text);  // exactly 24 upper-case hex digits
  // The segment that holds the byte at `lsn`.
  static SegmentName containing(Timeline timeline, Lsn lsn, SegmentSize size);
  std::string to_string() const;
  uint64_t index(SegmentSize size) const { return log_id * size.segments_per_log_id() + number; }
  Lsn start(SegmentSize size) const { return {index(size) * size.bytes}; }
  Lsn end(SegmentSize size) const { return {(index(size) + 1) * size.bytes}; }
  SegmentName next(SegmentSize size) const;
  auto operator<=>(const SegmentName&) const = default;
};

// Any file that the archiver hands over.
enum class WalFileKind : uint8_t { segment, partial, history, backup_label };
struct WalFileName {
  WalFileKind kind = WalFileKind::segment;
  std::string text;     // as PostgreSQL spells it
  Timeline timeline;    // of every kind
  SegmentName segment;  // of every kind but history

  // nullopt: not a name that PostgreSQL archives.
  static std::optional<WalFileName> parse(std::string_view text);
};

}  // namespace lifeboat
