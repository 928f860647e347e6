#include "ops/drill/loss.h"

#include <fcntl.h>

#include <algorithm>

#include "model/wal_name.h"
#include "ops/restore/start.h"
#include "pg/client/client.h"
#include "pg/client/facts.h"
#include "pg/wal/wal_events.h"
#include "pg/wal/wal_reader.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kPiece = 1 << 20;

// Counts commits at or after one position and before another.
class CommitCounter : public pg::WalSink {
 public:
  CommitCounter(const pg::VersionTraits& version, Lsn from, std::optional<Lsn> until)
      : version_(version), from_(from), until_(until) {}
  void record(const pg::WalRecord& record) override {
    if (record.lsn < from_ || (until_ && record.lsn >= *until_)) return;
    if (pg::event_of(record, version_) != pg::WalEvent::commit) return;
    auto end = pg::read_transaction_end(record, version_);
    if (!end || !end->committed) return;
    ++commits_;
    last_ = end->time;
  }
  // The ordinary end of what was written. Where that is a page, all before it held together: a server also
  // flushes up to the middle of a record, whose rest is to come.
  void damage(const pg::WalDamage& damage) override {
    using enum pg::WalDamageKind;
    const bool is_end = damage.kind == zeros || damage.kind == page_header || damage.kind == page_address;
    if (is_end) ended_ = damage.lsn;
  }
  Lsn ended() const { return ended_; }
  uint64_t commits() const { return commits_; }
  Timestamp last() const { return last_; }

 private:
  const pg::VersionTraits& version_;
  Lsn from_;
  std::optional<Lsn> until_;
  uint64_t commits_ = 0;
  Timestamp last_;
  Lsn ended_;
};

// Feeds one file of pg_wal. False when it is not there or is still an older segment that waits for reuse.
Result<bool> feed_segment(const std::string& path, Lsn start, pg::WalReader& reader, const StopToken& stop) {
  auto file = open_file(path, O_RDONLY);
  if (!file && file.error().kind == ErrorKind::not_found) return false;
  TRY(file);
  Bytes piece(kPiece);
  Lsn at = start;
  while (reader.running()) {
    TRY(stop.check());
    TRY_ASSIGN(size_t got, pread_some(file->get(), at.value - start.value, piece, path));
    if (got == 0) break;
    if (at == start) {
      auto header = pg::read_segment_header(ByteView(piece).first(got));
      if (!header || header->start != start) return false;
    }
    reader.feed(at, ByteView(piece).first(got));
    at = at + got;
  }
  return true;
}

// What a server that is not asked has written for certain, by its control file: its checkpoint's record
// begins there.
Lsn known_end(const DataDirFacts& source) {
  return std::max(source.control.checkpoint_lsn + 1, source.control.min_recovery_point);
}

}  // namespace

Result<SourcePosition> source_position(const std::string& conninfo, const SystemId& expected,
                                       const StopToken& stop) {
  pg::ConnectOptions options;
  options.application_name = "lifeboat drill";
  options.stop = &stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(conninfo, options));
  pg::FactsRequest request;
  request.tablespaces = false;
  TRY_ASSIGN(pg::ServerFacts facts, pg::read_facts(client, request));
  if (facts.system_id != expected) {
    return make_error(
        ErrorKind::foreign, client.where(),
        cat("system identifier ", facts.system_id.to_string(), ", expected ", expected.to_string()));
  }
  return SourcePosition{facts.current_timeline, facts.current_lsn, facts.now};
}

Result<MeasuredLoss> measure_loss(const DataDirFacts& source, std::optional<SourcePosition> until,
                                  Timeline timeline, Lsn recovered, Timestamp last_recovered,
                                  const StopToken& stop) {
  MeasuredLoss loss;
  loss.last_recovered = last_recovered;
  SegmentSize size{source.control.wal_segment_size};
  std::optional<Lsn> end;
  if (until) {
    end = until->flushed;
    if (until->timeline.value != 0) timeline = until->timeline;
  }
  loss.how = cat("read from ", source.path, "/pg_wal from ", recovered.to_string(),
                 end ? cat(" to ", end->to_string()) : std::string(" to its end"));
  CommitCounter counter(*source.version, recovered, end);
  pg::WalReaderOptions options;
  options.version = source.version;
  options.segment_size = size;
  options.system_id = source.control.system_id;
  options.after_damage = pg::AfterDamage::stop;
  pg::WalReader reader(options, counter);
  SegmentName segment = SegmentName::containing(timeline, recovered, size);
  for (;; segment = segment.next(size)) {
    if (end && segment.start(size) >= *end) break;
    std::string path = cat(source.path, "/pg_wal/", segment.to_string());
    TRY_ASSIGN(bool fed, feed_segment(path, segment.start(size), reader, stop));
    if (!fed || !reader.running()) break;
  }
  reader.finish();
  const Lsn known = end ? *end : known_end(source);
  const Lsn reached = std::max({recovered, reader.boundary(), counter.ended()});
  if (reached < known && !same_wal_position(reached, known)) {
    loss.how = cat("not measured: pg_wal of ", source.path, " can be read to ", reached.to_string(), ", in ",
                   segment.to_string(), ", and the source had written to ", known.to_string());
    return loss;
  }
  loss.lost_commits = counter.commits();
  loss.last_on_source = counter.last();
  if (counter.commits() == 0) {
    loss.seconds = 0;
  } else if (last_recovered.valid()) {
    loss.seconds = counter.last().seconds_since(last_recovered);
  } else {
    loss.how = cat(counted(counter.commits(), "commit"), " lost, and none was recovered to measure from");
  }
  return loss;
}

}  // namespace lifeboat::ops
