#include "ops/backup/wal_wait.h"

#include "ops/wal/push.h"
#include "pg/format/version.h"
#include "pg/wal/wal_events.h"
#include "pg/wal/wal_reader.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kPollUs = 100'000;

// Does pg_wal hold this very segment? One that was recycled for later use still holds old pages.
Result<bool> holds(const ChosenLineage& lineage, const WalRequest& request, const SegmentName& segment) {
  auto head = request.pg_wal->head(*WalFileName::parse(segment.to_string()), pg::kSegmentHeaderSize);
  if (!head && head.error().kind == ErrorKind::not_found) return false;
  TRY(head);
  auto header = pg::read_segment_header(*head);
  return header && header->start == segment.start(lineage.record.segment_size);
}

// Stores one finished segment or history file from pg_wal. False when it is not there (any more).
Result<bool> store_from_pg_wal(const ChosenLineage& lineage, const WalRequest& request,
                               const WalFileName& file) {
  if (file.kind == WalFileKind::segment) {
    TRY_ASSIGN(bool there, holds(lineage, request, file.segment));
    if (there && request.standby) {
      TRY_ASSIGN(there, holds(lineage, request, file.segment.next(lineage.record.segment_size)));
    }
    if (!there) return false;
  }
  auto stored = store_wal_file(lineage, file, *request.pg_wal);
  if (!stored && stored.error().kind == ErrorKind::not_found) return false;
  TRY(stored);
  return true;
}

Error not_archived(const WalRequest& request, const SegmentName& segment) {
  return make_error(ErrorKind::timeout, cat("WAL segment ", segment.to_string()),
                    cat("needed by this backup, did not reach the repository within ",
                        format_seconds(static_cast<double>(request.timeout_us) / 1e6), " and is not ",
                        request.standby ? "finished " : "", "in ", request.where))
      .with_hint(request.standby
                     ? "on a standby no WAL switch can be forced: give --primary CONNINFO, or let the "
                       "primary's archive_timeout end its segments"
                     : "lifeboat doctor tells why archiving does not work");
}

Status wait_for_segments(const ChosenLineage& lineage, const WalRequest& request, WalOutcome& outcome,
                         Reporter& reporter, StopToken& stop) {
  repo::WalStore store(lineage.repo);
  const SegmentSize size = lineage.record.segment_size;
  Clock& clock = Clock::system();
  int64_t deadline = clock.monotonic_us() + request.timeout_us;
  SegmentName first = SegmentName::containing(request.timeline, request.start, size);
  SegmentName last = SegmentName::containing(request.timeline, {request.stop.value - 1}, size);
  uint64_t total = last.index(size) - first.index(size) + 1;
  Lsn from = request.start;
  while (true) {
    TRY(stop.check());
    TRY_ASSIGN(repo::Coverage coverage, store.coverage(request.timeline, from, request.stop, size));
    if (!coverage.conflicts.empty()) {
      return make_error(ErrorKind::conflict, cat("WAL segment ", coverage.conflicts.front().to_string()),
                        "stored more than once with different content")
          .with_hint("two servers with one identity write into this repository; see lifeboat doctor");
    }
    if (coverage.complete()) break;
    SegmentName missing = *coverage.first_missing;
    from = missing.start(size);
    reporter.progress("waiting for WAL", missing.index(size) - first.index(size), total, ProgressUnit::items);
    TRY_ASSIGN(bool stored, store_from_pg_wal(lineage, request, *WalFileName::parse(missing.to_string())));
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

Status require_history(const ChosenLineage& lineage, const WalRequest& request) {
  if (request.timeline.value == 1) return {};
  WalFileName file = *WalFileName::parse(cat(request.timeline.to_hex(), ".history"));
  TRY_ASSIGN(auto stored, repo::WalStore(lineage.repo).find(file));
  if (stored) return {};
  TRY_ASSIGN(bool pushed, store_from_pg_wal(lineage, request, file));
  if (pushed) return {};
  return make_error(ErrorKind::not_found, cat(request.where, "/", file.text),
                    "the history of this timeline is neither in the repository nor in pg_wal");
}

// Expects unbroken records and, of a primary, the end of this backup as the last of them.
class RangeCheck : public pg::WalSink {
 public:
  RangeCheck(const WalRequest& request, const pg::VersionTraits& version)
      : request_(request), version_(version) {}
  void record(const pg::WalRecord& record) override {
    if (pg::event_of(record, version_) != pg::WalEvent::backup_end) return;
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
    if (!found_end_ && !request_.standby)
      return make_error(ErrorKind::damaged, object, "the record that ends this backup is not in it");
    return {};
  }

 private:
  const WalRequest& request_;
  const pg::VersionTraits& version_;
  bool found_end_ = false;
  std::string first_;
};

Status check_records(const ChosenLineage& lineage, const WalRequest& request, StopToken& stop) {
  TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(lineage.record.lineage.major));
  repo::WalStore store(lineage.repo);
  const SegmentSize size = lineage.record.segment_size;
  RangeCheck check(request, *version);
  pg::WalReaderOptions options;
  options.version = version;
  options.segment_size = size;
  options.system_id = lineage.record.lineage.system_id;
  options.start = request.start;
  pg::WalReader reader(options, check);
  SegmentName segment = SegmentName::containing(request.timeline, request.start, size);
  for (; segment.start(size) < request.stop; segment = segment.next(size)) {
    TRY(stop.check());
    Lsn at = segment.start(size);
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

Result<WalOutcome> require_wal(const ChosenLineage& lineage, const WalRequest& request, Reporter& reporter,
                               StopToken& stop) {
  WalOutcome outcome;
  TRY(require_history(lineage, request));
  TRY(wait_for_segments(lineage, request, outcome, reporter, stop));
  TRY(check_records(lineage, request, stop));
  return outcome;
}

}  // namespace lifeboat::ops
