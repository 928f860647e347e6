// What one WAL segment changed, so that nobody has to read the segment to know.
//
// A record belongs to the segment it begins in. Those that end in it too are taken in here; the one that the
// segment's end cuts is kept as raw fragments, and who reads consecutive summaries puts it together again
// (ops/wal/changes.h). The chain (who names whom as the record before) lets readers prove that no record is
// missing between two summaries.
//
// The encoded form is the content of objects of kind 11: docs/format.md, "Change summaries". It is made once
// for a segment and never changes, so a reader must know every version that was ever written.
//
// Thread rule: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "model/wal_name.h"
#include "pg/wal/change_map.h"
#include "pg/wal/wal_record.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::pg {

// Rows by the heap's records, whatever became of their transaction. TOAST tables count for themselves.
struct RowCounts {
  uint64_t inserted = 0;
  uint64_t updated = 0;
  uint64_t deleted = 0;
  uint64_t total() const { return inserted + updated + deleted; }
  bool operator==(const RowCounts&) const = default;
};

struct RelationActivity {
  RelationLocator relation;
  RowCounts rows;
  bool created = false;  // its main fork, by a transaction that may have been rolled back
  bool dropped = false;  // at a commit
  bool truncated =
      false;  // cut short: VACUUM's truncation, or TRUNCATE of what was made in the same transaction
  bool operator==(const RelationActivity&) const = default;
};

// What one transaction did to one relation within the segment, kept when it is much, or when the transaction
// does not end in the segment and may do much in others. The first 16 rows of a transaction may be missing.
struct TransactionActivity {
  uint32_t xid = 0;  // of the subtransaction where there is one
  RelationLocator relation;
  RowCounts rows;
  bool operator==(const TransactionActivity&) const = default;
};
inline constexpr uint64_t kLargeTransactionRows = 128;

// The end of a transaction that somebody may look for: it dropped relations' files, or did much in this
// segment, or nothing of it before its end is in this segment (so it may have done much in earlier ones).
struct NotedEnd {
  uint32_t xid = 0;
  bool committed = false;
  Lsn lsn;  // where its record begins
  Timestamp time = {};
  Oid database = 0;  // 0: not recorded
  std::vector<uint32_t> subxids = {};
  std::vector<RelationLocator> dropped = {};  // by a commit
  bool operator==(const NotedEnd&) const = default;
};

enum class SummaryEventKind : uint8_t {  // stored: docs/format.md
  restore_point = 1,                     // time, name
  parameter_change = 2,
  end_of_recovery = 3,  // time
  database_create = 4,  // database, tablespace
  database_drop = 5,    // database, tablespace; one for each tablespace
  backup_end = 6,
};
struct SummaryEvent {
  SummaryEventKind kind = SummaryEventKind::restore_point;
  Lsn lsn;
  Timestamp time = {};
  Oid database = 0;
  Oid tablespace = 0;
  std::string name = {};
  bool operator==(const SummaryEvent&) const = default;
};

// The part in this segment of a record that the segment's beginning or end cuts, without page headers.
struct RecordFragment {
  uint64_t length = 0;    // bytes of the record that lie here
  bool left_out = false;  // they are not in `bytes`: whoever needs them reads the segment
  Bytes bytes;
  bool operator==(const RecordFragment&) const = default;
};
inline constexpr size_t kFragmentLimit = 512 << 10;  // a record of 33 page images has 270 kB

struct SegmentSummary {
  SegmentName segment;
  SegmentSize segment_size;
  Timeline first_timeline;  // of the first page: an ancestor's, where the segment was copied at a promotion

  // Records that begin and end here. `first` 0: there is none.
  Lsn first;
  Lsn first_prev;  // what the first one names as the record before
  Lsn last;
  uint64_t records = 0;

  // The rest of a record of an earlier segment. `continued`: bytes that were missing of it when this segment
  // began (xlp_rem_len); more than `leading.length`: it goes on in the next segment, or was given up.
  uint64_t continued = 0;
  RecordFragment leading;
  // A record of an earlier segment that a crash left unfinished: given up here, its fragments mean nothing.
  Lsn overwritten;

  // A record that begins here and goes on in the next segment. `trailing_lsn` 0: none.
  Lsn trailing_lsn;
  Timeline trailing_timeline;
  uint32_t trailing_record_length = 0;
  RecordFragment trailing;

  ChangeMap changes;
  // First and last record that say wal_level = minimal (T18); 0: none does.
  Lsn minimal_first;
  Lsn minimal_last;

  uint64_t commits = 0;
  uint64_t aborts = 0;
  Timestamp first_commit;  // lowest and highest time of a commit; unknown: there is none
  Timestamp last_commit;
  uint32_t lowest_xid = 0;  // of all that ended here, subtransactions with them; 0: none
  uint32_t highest_xid = 0;

  std::vector<RelationActivity> relations;        // ascending
  std::vector<TransactionActivity> transactions;  // ascending by xid, then relation; the large ones
  std::vector<NotedEnd> ends;                     // ascending by LSN
  std::vector<SummaryEvent> events;               // ascending by LSN

  Lsn start() const { return segment.start(segment_size); }
  Lsn end() const { return segment.end(segment_size); }
  bool operator==(const SegmentSummary&) const = default;
};

Bytes encode_summary(const SegmentSummary& summary);
// `damaged`: not what encode_summary makes; `unsupported`: a later version's. Safe on any bytes: memory is
// bounded by a small multiple of the input and of the segment's size.
Result<SegmentSummary> decode_summary(ByteView bytes);

// Large enough for every summary: what is longer than the segment itself is no use.
inline constexpr uint64_t kSummarySizeLimit = 1ull << 30;

}  // namespace lifeboat::pg
