// Makes the summary of one WAL segment from its bytes, in one pass.
//
// Which records say that files were made, cut or dropped follows src/backend/postmaster/walsummarizer.c of
// PostgreSQL 17, for all majors. Its differences: visibility maps are left out of the map (T15), and blocks
// past a limit stay in it.
//
// Thread rule: one builder belongs to one thread at a time.
#pragma once

#include <memory>
#include <optional>

#include "pg/wal/segment_summary.h"
#include "pg/wal/wal_reader.h"
#include "util/result.h"

namespace lifeboat::pg {

struct SummaryOptions {
  const VersionTraits* version = nullptr;  // required
  SegmentName segment;
  SegmentSize segment_size;
  uint32_t page_size = 8192;               // of data pages
  std::optional<SystemId> system_id = {};  // compared with the segment's when given
  size_t fragment_limit = kFragmentLimit;  // longer fragments are left out
  // Records that begin here or later are left out, and what holds them need not be whole: the segment is
  // being written. 0: the whole segment.
  Lsn until = {};
};

class SummaryBuilder {
 public:
  explicit SummaryBuilder(const SummaryOptions& options);
  ~SummaryBuilder();

  // Consecutive bytes of the file, from its beginning.
  void feed(ByteView bytes);
  // `until` was reached, or damage: the rest of the file is not needed.
  bool done() const;
  // Errors: `damaged` (what was fed is no whole, undamaged WAL of that segment, or ends before `until`),
  // `foreign` (system identifier, major or segment size), `unsupported`.
  Result<SegmentSummary> finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The same for one record that was put together from fragments: a summary of nothing but it.
Result<SegmentSummary> summarize_record(const SummaryOptions& options, Lsn lsn, Timeline timeline,
                                        ByteView record);

}  // namespace lifeboat::pg
