// What changed between two positions of a server's own history: the change map of an incremental backup.
//
// For each segment the summary that is stored is taken; where there is none, the segment is read (from the
// server's own pg_wal, which is plain and near, else from the repository) and its summary is stored for the
// next reader. Consecutive summaries are joined: records that cross a segment's end are put together again,
// and each first record must point to the last one before (T16). A hole, damage, a foreign segment or
// wal_level = minimal anywhere in the range is the answer `unusable` with its reason, never a smaller map.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "model/wal_name.h"
#include "ops/session.h"
#include "pg/format/timeline_history.h"
#include "pg/wal/change_map.h"
#include "pg/wal/segment_summary.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// The server's own pg_wal, near or through a connection.
class ServerWal {
 public:
  virtual ~ServerWal() = default;
  // Streams a segment file front to back; false: there is no such file. A recycled file may hold other WAL
  // than its name says: the caller checks every page.
  virtual Result<bool> read(const SegmentName& segment, const std::function<Status(ByteView)>& sink) = 0;
};

struct ChangesRequest {
  const ChosenLineage* lineage = nullptr;  // required
  pg::TimelineHistory history;             // of the server's timeline
  Lsn from;                                // the reference's start
  Lsn to;                           // this backup's start; every record before it is on the server's disk
  ServerWal* server_wal = nullptr;  // borrowed; may be null: the repository alone
  bool store = true;                // summaries of whole segments that had none
};

struct WalChanges {
  pg::ChangeMap map;      // every change of a record that begins in [from, to), perhaps some before and after
  std::string unusable;   // why the map proves nothing; empty: it is whole
  Lsn ended;              // `to`, or the beginning of the segment that cannot be taken in
  uint64_t segments = 0;  // in the range
  uint64_t summaries = 0;  // of them were taken from stored summaries
  uint64_t wal_bytes = 0;  // of WAL that had to be read
};

// The summaries themselves, in order; a record that a segment's end cuts comes as a summary of nothing but
// it, under the segment that it begins in and before what follows. Those of whole segments may hold records
// outside of the range. The map of the result stays empty, and wal_level does not matter; `unusable` says why
// it ended before `to`, and `ended` where.
using SummaryVisitor = std::function<void(const pg::SegmentSummary& summary)>;
Result<WalChanges> read_summaries(const ChangesRequest& request, const SummaryVisitor& visit,
                                  Reporter& reporter, StopToken& stop);

// Errors are those of the repository and of reading (unavailable, cancelled, …); what makes the map unusable
// is not one.
Result<WalChanges> read_changes(const ChangesRequest& request, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
