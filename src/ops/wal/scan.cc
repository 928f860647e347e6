#include "ops/wal/scan.h"

#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "ops/wal/segment_check.h"
#include "ops/wal/segments_ahead.h"
#include "ops/wal/tail.h"
#include "pg/format/version.h"
#include "repo/wal_store.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kMaxBreaks = 100;
constexpr size_t kPiece = 1 << 20;

Status in_pieces(ByteView rest, const std::function<Status(ByteView)>& each) {
  for (; !rest.empty(); rest = rest.subspan(std::min(rest.size(), kPiece))) {
    TRY(each(rest.first(std::min(rest.size(), kPiece))));
  }
  return {};
}

// A tail, and zeros up to the segment's end.
Status stream_tail(const ChosenLineage& lineage, const SegmentName& segment,
                   const std::function<Status(ByteView)>& each) {
  TRY_ASSIGN(Bytes image, read_tail(lineage, segment));
  image.resize(lineage.record.segment_size.bytes);
  return in_pieces(image, each);
}

// Ends the streaming of an object from within; never seen by a caller.
Error enough() {
  return make_error(ErrorKind::cancelled, "", "enough was read");
}

// Streams one segment. `not_found` is not returned: a listed segment that is gone is an outage or was expired
// meanwhile.
Status stream_segment(const ChosenLineage& lineage, const SegmentName& segment,
                      const repo::WalStore::Sink& sink) {
  auto file = WalFileName::parse(segment.to_string());
  CHECK(file.has_value());
  repo::WalStore store(lineage.repo);
  TRY_ASSIGN(std::optional<repo::WalObject> object, store.find(*file));
  Status read;
  if (!object) {
    read = stream_tail(lineage, segment, sink);  // one that fills its segment
  } else if (auto whole = store.get_object(*object, sink); !whole) {
    read = std::move(whole).error();
  }
  if (!read && read.error().kind == ErrorKind::not_found) read.error().kind = ErrorKind::unavailable;
  return read;
}

// The options of a reader for what the header says, after comparing it with the lineage (T26).
Result<pg::WalReaderOptions> reader_options(const ChosenLineage& lineage, const SegmentName& segment,
                                            ByteView head) {
  auto header = pg::read_segment_header(head);
  if (!header) {
    return make_error(header.error().kind, segment.to_string(), "not a WAL segment")
        .with_cause(header.error().to_string());
  }
  if (header->system_id != lineage.record.lineage.system_id ||
      header->major != lineage.record.lineage.major) {
    return make_error(ErrorKind::foreign, segment.to_string(),
                      cat("written by system identifier ", header->system_id.to_string(), " of PostgreSQL ",
                          header->major, ", expected ", lineage.record.lineage.to_string()));
  }
  pg::WalReaderOptions options;
  options.version = pg::find_version(header->major);
  options.segment_size = lineage.record.segment_size;
  options.block_size = header->block_size;
  options.page_size = lineage.record.block_size;
  options.system_id = lineage.record.lineage.system_id;
  return options;
}

class Scanner : public pg::WalSink {
 public:
  Scanner(const ChosenLineage& lineage, const WalPath& path, Lsn from, Lsn to, const RecordVisitor& visit,
          const ScanOptions& options)
      : lineage_(lineage), path_(path), from_(from), to_(to), visit_(visit), options_(options) {}

  Result<ScanResult> run() {
    TRY(scan_stored());
    if (path_.unfinished && !done_) {
      const PartialSegment& partial = *path_.unfinished;
      Lsn start = partial.segment.start(path_.segment_size);
      if (reaches(start)) {
        TRY(segment(partial.segment, start,
                    [&](const auto& sink) { return read_partial(lineage_, partial, sink); }));
      }
    }
    if (reader_ && !done_) reader_->finish();
    if (reader_) result_.end_of_records = reader_->end_of_records();
    return result_;
  }

 private:
  bool reaches(Lsn start) const { return start < path_.end && !(to_.valid() && start >= to_ && !reader_); }

  // The whole segments; those that begin before the end are read ahead, unless they are too large for that.
  Status scan_stored() {
    const std::vector<SegmentName> row = stored_segments();
    const auto past = std::ranges::find_if(
        row, [&](const SegmentName& name) { return to_.valid() && name.start(path_.segment_size) >= to_; });
    std::vector<SegmentName> wanted(row.begin(), past);
    const size_t room = wanted.size() > 1 ? SegmentsAhead::room_for(path_.segment_size) : 0;
    if (room == 0) wanted.clear();
    size_t left = wanted.size();
    SegmentsAhead ahead(
        std::move(wanted), path_.segment_size, room,
        [&](const SegmentName& name, const auto& sink) { return stream_segment(lineage_, name, sink); });
    for (const SegmentName& name : row) {
      const Lsn start = name.start(path_.segment_size);
      if (done_ || !reaches(start)) break;
      TRY(segment(name, start, [&](const repo::WalStore::Sink& sink) -> Status {
        if (left == 0) return stream_segment(lineage_, name, sink);
        --left;
        TRY_ASSIGN(Bytes * content, ahead.next());
        return in_pieces(options_.tap == nullptr ? ByteView(*content) : options_.tap->whole(*content), sink);
      }));
    }
    return {};
  }

  std::vector<SegmentName> stored_segments() const {
    const uint64_t bytes = path_.segment_size.bytes;
    std::vector<SegmentName> row;
    for (const WalPiece& piece : path_.pieces) {
      for (uint64_t index = std::max(from_.value / bytes, piece.first); index <= piece.last; ++index) {
        const Lsn start{index * bytes};
        if (start < path_.end)
          row.push_back(SegmentName::containing(piece.timeline, start, path_.segment_size));
      }
    }
    return row;
  }

  template <typename Stream>
  Status segment(const SegmentName& name, Lsn start, Stream stream) {
    Lsn at = start;
    if (options_.tap != nullptr) TRY(options_.tap->segment(name));
    auto read = stream([&](ByteView piece) -> Status {
      if (options_.stop != nullptr) TRY(options_.stop->check());
      TRY(feed(name, at, piece));
      at = at + piece.size();
      report(at);
      return done_ ? Status(enough()) : Status();
    });
    if (!read && !done_) return std::move(read).error();
    return {};
  }

  Status feed(const SegmentName& name, Lsn at, ByteView piece) {
    if (at >= path_.end) return {};
    piece = piece.first(static_cast<size_t>(std::min<uint64_t>(piece.size(), path_.end.value - at.value)));
    if (options_.tap != nullptr) TRY(options_.tap->bytes(piece));
    if (!reader_) {
      // Only the beginning of a segment says how large its pages are.
      if (!reader_options_) {
        TRY_ASSIGN(reader_options_, reader_options(lineage_, name, piece));
        reader_options_->after_damage = pg::AfterDamage::stop;
        reader_options_->timeline = path_.target;
        if (options_.from_is_record) reader_options_->start = from_;
      }
      uint64_t page = from_.value / reader_options_->block_size * reader_options_->block_size;
      uint64_t skip = page > at.value ? page - at.value : 0;
      if (skip >= piece.size()) return {};
      piece = piece.subspan(skip);
      at = at + skip;
      pg::WalSink& sink = *this;
      reader_ = std::make_unique<pg::WalReader>(*reader_options_, sink);
    }
    reader_->feed(at, piece);
    return {};
  }

  void record(const pg::WalRecord& record) override {
    if (done_ || record.lsn < from_) return;
    if (options_.tap != nullptr) options_.tap->record(record);
    if (to_.valid() && record.lsn >= to_) {
      done_ = true;
      return;
    }
    if (visit_(record) == ScanNext::stop) {
      result_.stopped = true;
      done_ = true;
    }
  }

  void damage(const pg::WalDamage& damage) override {
    if (done_) return;
    done_ = true;
    // The last segment may be one that was being filled: what lies behind its records means nothing.
    if (damage.kind == pg::WalDamageKind::truncated) return;
    if (damage.lsn.value / path_.segment_size.bytes == path_.last_index()) return;
    result_.damage = damage;
  }

  void report(Lsn at) {
    if (options_.reporter == nullptr) return;
    Lsn end = to_.valid() ? std::min(to_, path_.end) : path_.end;
    uint64_t total = end.value - std::min(from_.value, end.value);
    uint64_t done = at.value - std::min(from_.value, at.value);
    options_.reporter->progress("reading WAL", std::min(done, total), total, ProgressUnit::bytes);
  }

  const ChosenLineage& lineage_;
  const WalPath& path_;
  Lsn from_;
  Lsn to_;
  const RecordVisitor& visit_;
  const ScanOptions& options_;
  std::optional<pg::WalReaderOptions> reader_options_;
  std::unique_ptr<pg::WalReader> reader_;
  bool done_ = false;
  ScanResult result_;
};

// Collects breaks; knows which segment it is in for those that the reader cannot place.
class BreakCollector : public pg::WalSink {
 public:
  BreakCollector(Timeline timeline, SegmentSize size, uint64_t last)
      : timeline_(timeline), size_(size), last_(last) {}

  void record(const pg::WalRecord&) override {}
  void damage(const pg::WalDamage& damage) override {
    SegmentName segment = SegmentName::containing(timeline_, damage.lsn, size_);
    // How a segment ends that was being filled when its server stopped: zeros, or what a recycled file held
    // before.
    using Kind = pg::WalDamageKind;
    bool end_of_wal = damage.kind != Kind::record_crc && damage.kind != Kind::structure &&
                      damage.kind != Kind::foreign && damage.kind != Kind::gap;
    if (damage.kind == Kind::truncated || (end_of_wal && segment.index(size_) >= last_)) return;
    add(segment, damage.lsn, cat(to_string(damage.kind), ": ", damage.text));
  }
  void add(const SegmentName& segment, Lsn lsn, std::string text) {
    if (breaks_.size() < kMaxBreaks) breaks_.push_back({segment, lsn, std::move(text)});
  }
  std::vector<WalBreak>& breaks() { return breaks_; }

 private:
  Timeline timeline_;
  SegmentSize size_;
  uint64_t last_;
  std::vector<WalBreak> breaks_;
};

}  // namespace

Result<ScanResult> scan_wal(const ChosenLineage& lineage, const WalPath& path, Lsn from, Lsn to,
                            const RecordVisitor& visit, const ScanOptions& options) {
  return Scanner(lineage, path, from, to, visit, options).run();
}

Status read_partial(const ChosenLineage& lineage, const PartialSegment& partial,
                    const std::function<Status(ByteView)>& each) {
  if (partial.path.empty() && partial.stored == PartialSegment::Stored::as_tail)
    return stream_tail(lineage, partial.segment, each);
  if (partial.path.empty()) {
    auto name = WalFileName::parse(cat(partial.segment.to_string(), ".partial"));
    CHECK(name.has_value());
    TRY(repo::WalStore(lineage.repo).get(*name, each));
    return {};
  }
  TRY_ASSIGN(Fd fd, open_file(partial.path, O_RDONLY));
  Bytes piece(kPiece);
  for (uint64_t at = 0;;) {
    TRY_ASSIGN(size_t got, pread_some(fd.get(), at, piece, partial.path));
    if (got == 0) return {};
    TRY(each(ByteView(piece).first(got)));
    at += got;
  }
}

Result<uint64_t> valid_size(const ChosenLineage& lineage, const PartialSegment& partial) {
  ValidPrefix prefix(partial.segment, lineage.record.segment_size);
  TRY(read_partial(lineage, partial, [&](ByteView piece) -> Status {
    if (!piece.empty()) prefix.add(piece);
    return {};
  }));
  return prefix.finish();
}

Result<bool> begins_with_wal(const ChosenLineage& lineage, const PartialSegment& partial) {
  bool begins = false;
  Status read = read_partial(lineage, partial, [&](ByteView piece) -> Status {
    auto header = pg::read_segment_header(piece);
    begins = header && header->system_id == lineage.record.lineage.system_id &&
             header->start == partial.segment.start(lineage.record.segment_size) &&
             header->timeline <= partial.segment.timeline;
    return enough();
  });
  if (!read && read.error().kind != ErrorKind::cancelled) return std::move(read).error();
  return begins;
}

Result<std::vector<WalBreak>> check_segments_continuous(const ChosenLineage& lineage, Timeline timeline,
                                                        const SegmentRun& run, const ScanOptions& options) {
  SegmentSize size = lineage.record.segment_size;
  BreakCollector collector(timeline, size, run.last);
  std::unique_ptr<pg::WalReader> reader;
  for (uint64_t index = run.first; index <= run.last; ++index) {
    SegmentName name = SegmentName::containing(timeline, {index * uint64_t{size.bytes}}, size);
    Lsn at = name.start(size);
    auto read = stream_segment(lineage, name, [&](ByteView piece) -> Status {
      if (options.stop != nullptr) TRY(options.stop->check());
      if (!reader) {
        TRY_ASSIGN(pg::WalReaderOptions reader_settings, reader_options(lineage, name, piece));
        reader_settings.timeline = timeline;
        reader = std::make_unique<pg::WalReader>(reader_settings, collector);
      }
      reader->feed(at, piece);
      at = at + piece.size();
      if (options.reporter != nullptr) {
        uint64_t begin = run.first * uint64_t{size.bytes};
        options.reporter->progress("checking WAL", at.value - begin,
                                   (run.last + 1 - run.first) * uint64_t{size.bytes}, ProgressUnit::bytes);
      }
      return {};
    });
    if (read) continue;
    // One damaged object does not hide what is wrong with the others.
    if (read.error().kind != ErrorKind::damaged && read.error().kind != ErrorKind::foreign &&
        read.error().kind != ErrorKind::unsupported)
      return std::move(read).error();
    collector.add(name, at, read.error().to_string());
    reader.reset();
  }
  if (reader) reader->finish();
  return std::move(collector.breaks());
}

}  // namespace lifeboat::ops
