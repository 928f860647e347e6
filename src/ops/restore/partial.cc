#include "ops/restore/partial.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>

#include "ops/restore/mapped_file.h"
#include "pg/format/version.h"
#include "pg/wal/wal_events.h"
#include "pg/wal/wal_reader.h"
#include "repo/wal_store.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

WalFileName partial_name(const SegmentName& segment) {
  auto name = WalFileName::parse(cat(segment.to_string(), ".partial"));
  CHECK(name.has_value());
  return *name;
}
WalFileName whole_name(const SegmentName& segment) {
  auto name = WalFileName::parse(segment.to_string());
  CHECK(name.has_value());
  return *name;
}

// Content of the unfinished segment, piece by piece.
Status read_partial(const ChosenLineage& lineage, const PartialSegment& partial,
                    const std::function<Status(ByteView)>& each) {
  if (!partial.path.empty()) {
    TRY_ASSIGN(MappedFile mapped, MappedFile::open(partial.path));
    return each(mapped.bytes());
  }
  TRY(repo::WalStore(lineage.repo).get(partial_name(partial.segment), each));
  return {};
}

// What a transaction end, restore point or other record says to a recovery with a target.
struct Mark {
  Lsn lsn;
  Lsn end;
  pg::WalEvent event = pg::WalEvent::none;
  uint32_t xid = 0;
  Timestamp time;
  std::string name;
};

// Collects the marks that lie past the whole segments.
class MarkSink : public pg::WalSink {
 public:
  MarkSink(const pg::VersionTraits& version, Lsn boundary, const std::function<bool(const Mark&)>& visit)
      : version_(version), boundary_(boundary), visit_(visit) {}

  void record(const pg::WalRecord& record) override {
    if (stopped_ || record.end <= boundary_) return;
    Mark mark{record.lsn, record.end, pg::event_of(record, version_), 0, {}, ""};
    if (mark.event == pg::WalEvent::commit || mark.event == pg::WalEvent::abort) {
      if (auto end = pg::read_transaction_end(record, version_)) {
        mark.xid = end->xid;
        mark.time = end->time;
      }
    } else if (mark.event == pg::WalEvent::restore_point) {
      if (auto point = pg::read_restore_point(record)) {
        mark.time = point->time;
        mark.name = std::string(point->name);
      }
    } else if (mark.event == pg::WalEvent::checkpoint) {
      if (auto checkpoint = pg::read_checkpoint(record)) mark.time = checkpoint->checkpoint.time;
    }
    stopped_ = !visit_(mark);
  }
  void damage(const pg::WalDamage&) override {}

 private:
  const pg::VersionTraits& version_;
  Lsn boundary_;
  const std::function<bool(const Mark&)>& visit_;
  bool stopped_ = false;
};

class PartialSearch {
 public:
  PartialSearch(const ChosenLineage& lineage, const ReachRequest& request, const WalPath& path,
                const PartialSegment& partial, Reach base)
      : lineage_(lineage), request_(request), path_(path), partial_(partial), reach_(std::move(base)) {}

  // The extended reach; nullopt: nothing in the unfinished segment meets the target.
  Result<std::optional<Reach>> run() {
    bool met = false;
    Lsn last_record;
    Timestamp latest_time;
    std::function<bool(const Mark&)> visit = [&](const Mark& mark) {
      latest_time = std::max(latest_time, mark.time);
      bool ends = mark.event == pg::WalEvent::commit || mark.event == pg::WalEvent::abort;
      if (ends && stops_before(mark)) {
        met = true;
        reach_.stop = mark.lsn;
        reach_.next_commit = mark.time;
        return false;
      }
      if (!ends && stops_at_position(mark) && !request_.target.inclusive) {
        met = true;
        reach_.stop = mark.lsn;
        return false;
      }
      last_record = mark.lsn;
      reach_.stop = mark.end;
      if (mark.event == pg::WalEvent::commit) {
        reach_.last_commit = mark.time;
        reach_.last_xid = mark.xid;
      }
      if (stops_after(mark, ends)) {
        met = true;
        return false;
      }
      return true;
    };
    TRY(scan(visit));
    reach_.end_of_wal = std::max(reach_.end_of_wal, reach_.stop);
    if (request_.target.kind == pg::TargetKind::latest) met = last_record.valid();
    // As for whole segments: a time that no transaction end follows is refused by PostgreSQL, but WAL shows
    // that nothing was committed up to it.
    if (!met && request_.target.kind == pg::TargetKind::time && last_record.valid() &&
        latest_time >= request_.target.time) {
      met = true;
      reach_.past_last_commit = true;
      reach_.effective.kind = pg::TargetKind::lsn;
      reach_.effective.lsn = last_record;
      reach_.effective.inclusive = true;
    }
    if (!met) return std::optional<Reach>();
    reach_.wal_bytes = reach_.stop.value - request_.backup_start.value;
    ++reach_.segments;
    std::erase_if(reach_.notes,
                  [](const std::string& note) { return note.find(".partial") != std::string::npos; });
    reach_.notes.push_back(cat("the unfinished segment ", partial_.segment.to_string(),
                               " is used, which reaches to ", reach_.end_of_wal.to_string()));
    return std::optional<Reach>(std::move(reach_));
  }

 private:
  bool stops_at_position(const Mark& mark) const {
    return request_.target.kind == pg::TargetKind::lsn && mark.lsn >= request_.target.lsn;
  }
  // recoveryStopsBefore()
  bool stops_before(const Mark& mark) const {
    const RecoveryTarget& target = request_.target;
    switch (target.kind) {
      case pg::TargetKind::time:
        return target.inclusive ? mark.time > target.time : mark.time >= target.time;
      case pg::TargetKind::xid:
        return !target.inclusive && mark.xid == static_cast<uint32_t>(target.xid);
      case pg::TargetKind::lsn:
        return !target.inclusive && stops_at_position(mark);
      default:
        return false;
    }
  }
  // recoveryStopsAfter()
  bool stops_after(const Mark& mark, bool ends) const {
    const RecoveryTarget& target = request_.target;
    switch (target.kind) {
      case pg::TargetKind::xid:
        return ends && target.inclusive && mark.xid == static_cast<uint32_t>(target.xid);
      case pg::TargetKind::lsn:
        return target.inclusive && stops_at_position(mark);
      case pg::TargetKind::name:
        return mark.event == pg::WalEvent::restore_point && mark.name == target.name;
      default:
        return false;
    }
  }

  // Reads the segment before it too, for a record that crosses into it.
  Status scan(const std::function<bool(const Mark&)>& visit) {
    const pg::VersionTraits* version = pg::find_version(lineage_.record.lineage.major);
    if (version == nullptr) {
      return make_error(ErrorKind::unsupported, cat("PostgreSQL ", lineage_.record.lineage.major),
                        "not a supported version");
    }
    uint64_t index = partial_.segment.index(path_.segment_size);
    MarkSink sink(*version, partial_.segment.start(path_.segment_size), visit);
    pg::WalReaderOptions options;
    options.version = version;
    options.segment_size = path_.segment_size;
    options.system_id = lineage_.record.lineage.system_id;
    options.after_damage = pg::AfterDamage::stop;
    pg::WalReader reader(options, sink);
    Lsn at;
    auto feed = [&](ByteView piece) -> Status {
      reader.feed(at, piece);
      at = at + piece.size();
      return {};
    };
    if (auto before = index > 0 ? path_.file_at(index - 1) : std::nullopt) {
      at = before->start(path_.segment_size);
      TRY(repo::WalStore(lineage_.repo).get(whole_name(*before), feed));
    }
    at = partial_.segment.start(path_.segment_size);
    TRY(read_partial(lineage_, partial_, feed));
    reader.finish();
    return {};
  }

  const ChosenLineage& lineage_;
  const ReachRequest& request_;
  const WalPath& path_;
  const PartialSegment& partial_;
  Reach reach_;
};

// The newest unfinished segment that continues the path.
std::optional<PartialSegment> partial_after(const WalPath& path, const std::optional<PartialSegment>& local) {
  if (path.missing || path.conflict) return std::nullopt;
  uint64_t next = path.end.value / path.segment_size.bytes;
  if (local && local->segment.index(path.segment_size) == next && local->segment.timeline == path.target)
    return local;
  if (path.partial) return PartialSegment{*path.partial, ""};
  return std::nullopt;
}

}  // namespace

Result<PartialReach> find_reach_through_partial(const ChosenLineage& lineage, const WalHistory& history,
                                                const ReachRequest& request,
                                                const std::optional<PartialSegment>& local,
                                                const ScanOptions& options) {
  Result<Reach> whole = find_reach(lineage, history, request, options);
  bool latest = request.target.kind == pg::TargetKind::latest;
  if (whole && !latest && !whole->past_last_commit) return PartialReach{std::move(*whole), std::nullopt};
  if (!whole && whole.error().kind != ErrorKind::unreachable) return std::move(whole).error();

  // The end of the timeline's whole segments, on the newest timeline unless another was asked for.
  ReachRequest to_end = request;
  to_end.target = {};
  if (to_end.choice == TimelineChoice::unset) to_end.choice = TimelineChoice::latest;
  Result<Reach> base = latest ? whole : find_reach(lineage, history, to_end, options);
  if (!base) return std::move(whole ? base : whole).error();
  WalPath path = history.path(base->timeline, request.backup_start);
  std::optional<PartialSegment> partial = partial_after(path, local);
  if (!partial) {
    if (!whole) return std::move(whole).error();
    return PartialReach{std::move(*whole), std::nullopt};
  }
  base->effective = request.target;
  TRY_ASSIGN(std::optional<Reach> extended, PartialSearch(lineage, request, path, *partial, *base).run());
  if (extended) return PartialReach{std::move(*extended), std::move(partial)};
  if (!whole) return std::move(whole).error();
  return PartialReach{std::move(*whole), std::nullopt};
}

Status write_partial_segment(const ChosenLineage& lineage, const PartialSegment& partial,
                             const std::string& path, mode_t mode) {
  SegmentSize size = lineage.record.segment_size;
  TRY_ASSIGN(Fd fd, open_file(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (fchmod(fd.get(), mode) != 0) return errno_error(errno, path, "set the mode of");
  uint64_t at = 0;
  TRY(read_partial(lineage, partial, [&](ByteView piece) -> Status {
    TRY(pwrite_all(fd.get(), at, piece, path));
    at += piece.size();
    return {};
  }));
  if (at != size.bytes) {
    return make_error(ErrorKind::damaged, partial.segment.to_string(),
                      cat("the unfinished segment has ", at, " bytes, expected ", size.bytes));
  }
  // What a recycled segment has after its records must never be taken for WAL.
  uint64_t valid = 0;
  {
    TRY_ASSIGN(MappedFile mapped, MappedFile::open(path));
    TRY_ASSIGN(pg::ValidEnd end, pg::valid_end(mapped.bytes()));
    valid = end.end.value - partial.segment.start(size).value;
  }
  Bytes zeros(std::min<uint64_t>(size.bytes, 1 << 20));
  for (uint64_t from = valid; from < size.bytes;) {
    uint64_t count = std::min<uint64_t>(zeros.size(), size.bytes - from);
    TRY(pwrite_all(fd.get(), from, ByteView(zeros).first(count), path));
    from += count;
  }
  TRY(fsync_file(fd.get(), path));
  return fd.close(path);
}

}  // namespace lifeboat::ops
