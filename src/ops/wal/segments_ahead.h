// Whole segments, read before they are asked for: one core decodes while another looks at records, and the
// waiting for a far store overlaps.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "model/wal_name.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::ops {

// Thread rule: one thread calls next(); `read` is called on threads of this.
class SegmentsAhead {
 public:
  using Sink = std::function<Status(ByteView)>;
  using Read = std::function<Status(const SegmentName&, const Sink&)>;
  // How many segments of this size may lie in memory; 0: too large for that, stream them.
  static size_t room_for(SegmentSize size);

  // Reads `row`, segments of `size`, in order, at most `ahead` of them (at least 1) before they are asked
  // for.
  SegmentsAhead(std::vector<SegmentName> row, SegmentSize size, size_t ahead, Read read);
  SegmentsAhead(const SegmentsAhead&) = delete;
  SegmentsAhead& operator=(const SegmentsAhead&) = delete;
  // Waits for what is being read.
  ~SegmentsAhead();
  // The next one of the row, which must not have ended; it holds until the next call, which uses its room
  // again: other room may be left in its place. Errors: those of `read`.
  Result<Bytes*> next();

 private:
  void work();
  const std::vector<SegmentName> row_;
  const SegmentSize size_;
  const size_t ahead_;
  const Read read_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  size_t begun_ = 0;
  size_t taken_ = 0;
  bool ended_ = false;
  std::map<size_t, Result<Bytes>> done_;  // by place in the row
  Bytes current_;                         // what next() gave last
  std::vector<Bytes> spare_;              // used again: fresh memory costs more than decoding into it
  std::vector<std::thread> threads_;
};

}  // namespace lifeboat::ops
