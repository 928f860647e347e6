#include "ops/wal/segment_check.h"

#include <algorithm>

#include "pg/format/version.h"
#include "util/strings.h"

namespace lifeboat::ops {

Result<pg::SegmentHeader> check_segment_header(const std::string& object, const WalFileName& file,
                                               ByteView head, const SegmentExpectation& expected) {
  auto read = pg::read_segment_header(head);
  if (!read) {
    Error error = std::move(read).error();
    return make_error(error.kind, object, "not a WAL segment")
        .with_cause(error.to_string())
        .with_hint(error.hint);
  }
  const pg::SegmentHeader& header = *read;
  if (header.system_id != expected.lineage.system_id) {
    return make_error(ErrorKind::foreign, object,
                      cat("written by the cluster with system identifier ", header.system_id.to_string(),
                          ", expected ", expected.lineage.system_id.to_string()));
  }
  if (header.major != expected.lineage.major) {
    return make_error(ErrorKind::foreign, object,
                      cat("written by PostgreSQL ", header.major, ", expected ", expected.lineage.major));
  }
  if (header.segment_size.bytes != expected.segment_size.bytes) {
    return make_error(ErrorKind::foreign, object,
                      cat("wal_segment_size is ", header.segment_size.bytes, " bytes, expected ",
                          expected.segment_size.bytes))
        .with_hint(
            "after pg_resetwal --wal-segsize the cluster has to be registered under another name: lifeboat "
            "init "
            "--cluster NAME");
  }
  if (Lsn start = file.segment.start(expected.segment_size); header.start != start) {
    return make_error(ErrorKind::damaged, object,
                      cat("begins at ", header.start.to_string(), ", its name says ", start.to_string()));
  }
  if (header.timeline > file.timeline || header.timeline.value == 0) {
    return make_error(
        ErrorKind::damaged, object,
        cat("belongs to timeline ", header.timeline.value, ", its name says ", file.timeline.value));
  }
  return header;
}

Status check_segment_size(const std::string& object, uint64_t size, SegmentSize expected) {
  if (size == expected.bytes) return {};
  return make_error(ErrorKind::damaged, object,
                    cat("has ", size, " bytes, a WAL segment of this cluster has ", expected.bytes));
}

ValidPrefix::ValidPrefix(SegmentName segment, SegmentSize size)
    : start_(segment.start(size)), size_(size.bytes) {}

ValidPrefix::~ValidPrefix() = default;

void ValidPrefix::add(ByteView piece) {
  if (seen_ == 0) {
    auto header = pg::read_segment_header(piece);
    if (header) {
      pg::WalReaderOptions options;
      options.version = pg::find_version(header->major);
      options.segment_size = header->segment_size;
      options.block_size = header->block_size;
      options.page_size = 0;
      options.after_damage = pg::AfterDamage::stop;
      pg::WalSink& sink = *this;
      reader_ = std::make_unique<pg::WalReader>(options, sink);
    } else {
      unreadable_ = true;
    }
  }
  if (!unreadable_ && !damaged_) reader_->feed(start_ + seen_, piece);
  seen_ += piece.size();
}

uint64_t ValidPrefix::finish() {
  if (unreadable_ || reader_ == nullptr) return 0;
  // A record may go on in the next segment.
  if (!damaged_ && seen_ == size_) return size_;
  reader_->finish();
  uint64_t end = reader_->boundary().value;
  return end <= start_.value ? 0 : std::min(end - start_.value, seen_);
}

}  // namespace lifeboat::ops
