#include "ops/backup/wal_wait.h"

#include <fcntl.h>

#include "pg/wal/wal_events.h"
#include "pg/wal/wal_reader.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kPollUs = 100'000;

// Stores one finished segment or history file from pg_wal. False when it is not there (any more).
Result<bool> store_from_pg_wal(const repo::WalStore& store, const WalRequest& request,
                               const WalFileName& file) {
  std::string path = cat(request.pg_wal, "/", file.text);
  auto content = open_file(path, O_RDONLY);
  if (!content && content.error().kind == ErrorKind::not_found) return false;
  TRY(content);
  TRY_ASSIGN(FileInfo info, stat_fd(content->get(), path));
  uint64_t size = info.size;
  if (file.kind == WalFileKind::segment) {
    if (size != request.segment_size.bytes) return false;
    Bytes head(pg::kSegmentHeaderSize);
    TRY_ASSIGN(size_t got, pread_some(content->get(), 0, head, path));
    auto header = pg::read_segment_header(ByteView(head).first(got));
    // A segment recycled for later use still holds old pages: not the one that is asked for.
    if (!header || header->start != file.segment.start(request.segment_size)) return false;
    if (header->system_id != request.system_id) {
      return make_error(ErrorKind::foreign, path,
                        cat("system identifier ", header->system_id.to_string(), ", expected ",
                            request.system_id.to_string()));
    }
  }
  TRY(store.push(file, repo::WalSource::from_fd(content->get(), size, path)));
  return true;
}

Error not_archived(const WalRequest& request, const SegmentName& segment) {
  return make_error(ErrorKind::timeout, cat("WAL segment ", segment.to_string()),
                    cat("needed by this backup, did not reach the repository within ",
                        format_seconds(static_cast<double>(request.timeout_us) / 1e6), " and is not in ",
                        request.pg_wal))
      .with_hint("lifeboat doctor tells why archiving does not work");
}

Status wait_for_segments(const repo::WalStore& store, const WalRequest& request, WalOutcome& outcome,
                         Reporter& reporter, StopToken& stop) {
  Clock& clock = Clock::system();
  int64_t deadline = clock.monotonic_us() + request.timeout_us;
  SegmentName first = SegmentName::containing(request.timeline, request.start, request.segment_size);
  SegmentName last =
      SegmentName::containing(request.timeline, {request.stop.value - 1}, request.segment_size);
  uint64_t total = last.index(request.segment_size) - first.index(request.segment_size) + 1;
  Lsn from = request.start;
  while (true) {
    TRY(stop.check());
    TRY_ASSIGN(repo::Coverage coverage,
               store.coverage(request.timeline, from, request.stop, request.segment_size));
    if (!coverage.conflicts.empty()) {
      return make_error(ErrorKind::conflict, cat("WAL segment ", coverage.conflicts.front().to_string()),
                        "stored more than once with different content")
          .with_hint("two servers with one identity write into this repository; see lifeboat doctor");
    }
    if (coverage.complete()) break;
    SegmentName missing = *coverage.first_missing;
    from = missing.start(request.segment_size);
    reporter.progress("waiting for WAL",
                      missing.index(request.segment_size) - first.index(request.segment_size), total,
                      ProgressUnit::items);
    TRY_ASSIGN(bool stored, store_from_pg_wal(store, request, *WalFileName::parse(missing.to_string())));
    if (stored) {
      ++outcome.stored_by_us;
      continue;
    }
    if (clock.monotonic_us() > deadline) return not_archived(request, missing);
    clock.sleep_us(kPollUs);
  }
  outcome.segments = total;
  return {};
}

Status require_history(const repo::WalStore& store, const WalRequest& request) {
  if (request.timeline.value == 1) return {};
  WalFileName file = *WalFileName::parse(cat(request.timeline.to_hex(), ".history"));
  TRY_ASSIGN(auto stored, store.find(file));
  if (stored) return {};
  TRY_ASSIGN(bool pushed, store_from_pg_wal(store, request, file));
  if (pushed) return {};
  return make_error(ErrorKind::not_found, cat(request.pg_wal, "/", file.text),
                    "the history of this timeline is neither in the repository nor in pg_wal");
}

// Expects unbroken records and, as the last of them, the end of this backup.
class RangeCheck : public pg::WalSink {
 public:
  explicit RangeCheck(const WalRequest& request) : request_(request) {}
  void record(const pg::WalRecord& record) override {
    if (pg::event_of(record, *request_.version) != pg::WalEvent::backup_end) return;
    auto end = pg::read_backup_end(record);
    if (end && end->start == request_.start) found_end_ = true;
  }
  // Zeros after the switch that ends the last segment are past the stop and of no interest.
  void damage(const pg::WalDamage& damage) override {
    if (damage.lsn < request_.stop && first_.empty()) {
      first_ = cat(pg::to_string(damage.kind), " at ", damage.lsn.to_string(), ": ", damage.text);
    }
  }
  Status verdict(Lsn end_of_records) const {
    std::string object = cat("WAL ", request_.start.to_string(), " to ", request_.stop.to_string());
    if (!first_.empty()) return make_error(ErrorKind::damaged, object, first_);
    if (end_of_records < request_.stop) {
      return make_error(ErrorKind::damaged, object, cat("its records end at ", end_of_records.to_string()));
    }
    if (!found_end_)
      return make_error(ErrorKind::damaged, object, "the record that ends this backup is not in it");
    return {};
  }

 private:
  const WalRequest& request_;
  bool found_end_ = false;
  std::string first_;
};

Status check_records(const repo::WalStore& store, const WalRequest& request, StopToken& stop) {
  RangeCheck check(request);
  pg::WalReaderOptions options;
  options.version = request.version;
  options.segment_size = request.segment_size;
  options.system_id = request.system_id;
  options.start = request.start;
  pg::WalReader reader(options, check);
  SegmentName segment = SegmentName::containing(request.timeline, request.start, request.segment_size);
  for (; segment.start(request.segment_size) < request.stop; segment = segment.next(request.segment_size)) {
    TRY(stop.check());
    Lsn at = segment.start(request.segment_size);
    TRY(store.get(*WalFileName::parse(segment.to_string()), [&](ByteView piece) -> Status {
      reader.feed(at, piece);
      at = at + piece.size();
      return {};
    }));
  }
  reader.finish();
  return check.verdict(reader.end_of_records());
}

}  // namespace

Result<WalOutcome> require_wal(const repo::LineageRepo& repo, const WalRequest& request, Reporter& reporter,
                               StopToken& stop) {
  repo::WalStore store(repo);
  WalOutcome outcome;
  TRY(require_history(store, request));
  TRY(wait_for_segments(store, request, outcome, reporter, stop));
  TRY(check_records(store, request, stop));
  return outcome;
}

}  // namespace lifeboat::ops
