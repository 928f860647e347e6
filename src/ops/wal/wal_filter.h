// The segments that a scan reads, with records that nobody needs made to do nothing (pg/wal/no_op.h): what
// recovers one table without replaying the changes of all others.
//
// A segment is handed on when whoever reads says so, after every record that begins in it was seen and
// judged: the last one may end in a later segment. Memory: the segments that one record spans, and at most
// kMostPending of them; a record that spans more is `unsupported`. And some 50 bytes for each changed record
// of those segments.
//
// The scan reads the very bytes that are handed on, so a record is changed only when its segment is.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "model/wal_name.h"
#include "ops/wal/scan.h"
#include "pg/wal/no_op.h"
#include "pg/wal/wal_record.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::ops {

// Thread rule: one thread, that of the scan.
class WalFilter : public WalTap {
 public:
  static constexpr size_t kMostPending = 8;
  using Needless = std::function<bool(const pg::WalRecord&)>;
  // A whole segment; they come in order. Its error ends the scan.
  using Place = std::function<Status(const SegmentName&, ByteView content)>;

  WalFilter(SegmentSize size, Needless needless, Place place)
      : size_(size), needless_(std::move(needless)), place_(std::move(place)) {}

  Status segment(const SegmentName& name) override;
  ByteView whole(Bytes& content) override;
  Status bytes(ByteView piece) override;
  void record(const pg::WalRecord& record) override;
  // Hands on the segments that end at or before `lsn`, before which every record was seen.
  Status pass(Lsn lsn);
  // Nothing is handed on any more, and nothing kept but the segment that is being read.
  void drop();
  // The scan has ended, and was judged: what is left is handed on, with zeros behind what was read of it.
  Status finish();

 private:
  struct Pending {
    SegmentName name;
    Bytes content;  // of the segment's size
    size_t filled = 0;
  };
  struct Change {
    Lsn lsn;  // of the record
    pg::NoOp instead;
  };
  // Carries out the changes of records before `lsn`.
  void change(Lsn lsn);
  void overwrite(Lsn lsn, ByteView bytes);
  Lsn start() const { return pending_.front().name.start(size_); }

  const SegmentSize size_;
  const Needless needless_;
  const Place place_;
  uint32_t page_ = 0;  // bytes of a WAL page
  std::deque<Pending> pending_;
  std::deque<Change> changes_;  // by position
  std::deque<Bytes> spare_;     // used again: fresh memory costs more than copying into it
  bool dropped_ = false;
};

}  // namespace lifeboat::ops
