// Streams stored WAL through the record reader: segment by segment, frame by frame, without holding a
// segment.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ops/session.h"
#include "ops/wal/history.h"
#include "pg/wal/wal_reader.h"
#include "util/bytes.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class ScanNext : uint8_t { more, stop };

// Hears what a scan reads before its visitor does: the bytes as they are stored, from the beginning of the
// first segment on, and each record that the visitor is called for, and the one behind the last.
class WalTap {
 public:
  virtual ~WalTap() = default;
  virtual Status segment(const SegmentName& name) = 0;  // the bytes of this one come next
  // All of them lie in `content`, and the scan has done with that: it may be exchanged for room of the same
  // size. What is returned is read, in place, and stays as it is until the scan is past it.
  virtual ByteView whole(Bytes& content) { return content; }
  virtual Status bytes(ByteView piece) = 0;
  virtual void record(const pg::WalRecord& record) = 0;
};

struct ScanOptions {
  Reporter* reporter = nullptr;  // progress in bytes of WAL
  const StopToken* stop = nullptr;
  bool from_is_record = false;  // `from` is known to begin a record: anything else there is damage
  WalTap* tap = nullptr;
};

struct ScanResult {
  bool stopped = false;  // by the visitor
  Lsn end_of_records;    // just past the last good record, 0: none
  std::optional<pg::WalDamage>
      damage;  // what ended the scan early, other than the ordinary end of a last segment
};

// Calls `visit` for each record that begins at or after `from` and whose first byte lies before `to` (0: no
// bound), in order, along the path. The first record is found at a page boundary when `from` is not known to
// begin one. Ends at the end of the path. Errors: those of reading (damaged, unavailable, …), cancelled.
using RecordVisitor = std::function<ScanNext(const pg::WalRecord& record)>;
Result<ScanResult> scan_wal(const ChosenLineage& lineage, const WalPath& path, Lsn from, Lsn to,
                            const RecordVisitor& visit, const ScanOptions& options = {});

// Does the unfinished segment begin with WAL of its place in this lineage? One that nothing was written to is
// nothing to go on with. Errors: conflict (two contents are stored), damaged, not_found, those of reading.
Result<bool> begins_with_wal(const ChosenLineage& lineage, const PartialSegment& partial);

// How many bytes of an unfinished segment are valid WAL (segment_check.h).
Result<uint64_t> valid_size(const ChosenLineage& lineage, const PartialSegment& partial);

// The content of an unfinished segment, piece by piece.
Status read_partial(const ChosenLineage& lineage, const PartialSegment& partial,
                    const std::function<Status(ByteView)>& each);

// A hole in the chain of records, or bytes that do not hold together, in segments that are all stored.
struct WalBreak {
  SegmentName segment;
  Lsn lsn;
  std::string text;
};

// Reads all segments first … last of a timeline and checks every record and that each points to the one
// before, over segment ends too. The first 100 breaks; empty: none.
Result<std::vector<WalBreak>> check_segments_continuous(const ChosenLineage& lineage, Timeline timeline,
                                                        const SegmentRun& run,
                                                        const ScanOptions& options = {});

}  // namespace lifeboat::ops
