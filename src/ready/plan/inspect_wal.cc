#include "ready/plan/inspect_wal.h"

#include <algorithm>

#include "repo/wal_store.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kDay = 86'400;
constexpr double kRecentDays = 7;  // whole weeks have all their days
constexpr double kSampleSeconds = 3;
constexpr double kAtOnceSeconds = 3600;
constexpr size_t kFewestLags = 3;

// A position of WAL and when it was reached.
struct Point {
  Timestamp time;
  Lsn lsn;
};

std::string unix_us(std::string_view expression) {
  return cat("(extract(epoch FROM ", expression, ") * 1000000)::bigint");
}

std::optional<WalEvidence> between(std::string witness, const Point& from, const Point& to) {
  const double seconds = to.time.seconds_since(from.time);
  if (!from.time.valid() || seconds <= 0 || to.lsn < from.lsn) return std::nullopt;
  return WalEvidence{std::move(witness), static_cast<double>(to.lsn.value - from.lsn.value), seconds};
}

class ServerReader {
 public:
  ServerReader(pg::PgClient& client, const pg::ServerFacts& facts) : client_(client), facts_(facts) {
    wal_.system_id = facts.system_id;
    wal_.timeline = facts.current_timeline;
    wal_.lsn = facts.current_lsn;
    wal_.time = facts.now;
  }

  ServerWal read() {
    read_directory();
    if (promoted_) {
      add_statistics();
      add_archiver();
    }
    add_oldest_segment();
    add_checkpoint();
    return std::move(wal_);
  }

 private:
  // Since when the server writes this timeline: the first is as old as the server. The history of another one
  // was written by the promotion.
  void read_directory() {
    if (wal_.timeline.value == 1) promoted_ = Timestamp{};
    auto rows = client_.query(cat("SELECT name, ", unix_us("modification"), " FROM pg_ls_waldir()"));
    if (!rows) return;
    for (int row = 0; row < rows->size(); ++row) {
      const Timestamp written{rows->i64(row, 1).value_or(0)};
      const std::string name(rows->text(row, 0));
      if (SegmentName::parse(name)) wal_.last_write[name] = written;
      if (name == cat(hex_number(wal_.timeline.value, 8), ".history")) promoted_ = written;
    }
  }

  void add_statistics() {
    if (client_.major() < 14) return;
    auto rows = client_.query(cat("SELECT wal_bytes::bigint, ", unix_us("stats_reset"), " FROM pg_stat_wal"));
    if (!rows || rows->size() != 1) return;
    const Timestamp since = std::max(*promoted_, Timestamp{rows->i64(0, 1).value_or(0)});
    if (!since.valid()) return;
    wal_.evidence.push_back(
        {"pg_stat_wal", static_cast<double>(rows->i64(0, 0).value_or(0)), facts_.now.seconds_since(since)});
  }

  void add_archiver() {
    if (!facts_.archiver || facts_.archiver->archived_count == 0) return;
    const pg::ArchiverFacts& archiver = *facts_.archiver;
    const Timestamp since = std::max(*promoted_, archiver.stats_reset);
    // Where archiving fails, nothing is counted any more.
    const bool failing = archiver.last_failed_time > archiver.last_archived_time;
    const Timestamp until = failing ? archiver.last_archived_time : facts_.now;
    if (!since.valid() || until <= since) return;
    // archive_mode takes a restart: since the last one it was on.
    wal_.evidence.push_back({"segments archived by pg_stat_archiver, counted whole",
                             static_cast<double>(archiver.archived_count) * facts_.wal_segment_size.bytes,
                             until.seconds_since(since), since >= facts_.postmaster_start});
  }

  void add_oldest_segment() {
    const std::string current =
        SegmentName::containing(wal_.timeline, wal_.lsn, facts_.wal_segment_size).to_string();
    std::optional<Point> oldest;
    for (const auto& [name, written] : wal_.last_write) {
      const SegmentName segment = *SegmentName::parse(name);
      // Those behind the current one are old files under new names.
      if (segment.timeline != wal_.timeline || name >= current) continue;
      if (!oldest || written < oldest->time) oldest = Point{written, segment.end(facts_.wal_segment_size)};
    }
    if (oldest) add(between("WAL since the oldest segment in pg_wal", *oldest, {wal_.time, wal_.lsn}));
  }

  void add_checkpoint() {
    auto rows = client_.query(
        cat("SELECT redo_lsn, ", unix_us("checkpoint_time"), ", timeline_id FROM pg_control_checkpoint()"));
    if (!rows || rows->size() != 1 || rows->u64(0, 2) != wal_.timeline.value) return;
    auto redo = Lsn::parse(rows->text(0, 0));
    if (redo)
      add(between("WAL since the last checkpoint", {Timestamp{rows->i64(0, 1).value_or(0)}, *redo},
                  {wal_.time, wal_.lsn}));
  }

  void add(std::optional<WalEvidence> evidence) {
    if (evidence) wal_.evidence.push_back(std::move(*evidence));
  }

  pg::PgClient& client_;
  const pg::ServerFacts& facts_;
  ServerWal wal_;
  std::optional<Timestamp> promoted_;  // unset: nobody knows
};

class StoredReader {
 public:
  StoredReader(const ops::ChosenLineage& lineage, const std::optional<ServerWal>& server, Timestamp now)
      : size_(lineage.record.segment_size),
        server_(server && server->system_id == lineage.record.lineage.system_id ? &*server : nullptr),
        begin_(now.plus_us(static_cast<int64_t>(-kRecentDays * kDay * 1e6))) {}

  Status read(const repo::WalStore& store) {
    TRY_ASSIGN(const std::vector<Timeline> timelines, store.timelines());
    if (timelines.empty()) return {};
    timeline_ = timelines.back();
    return store.list(timeline_, {}, [&](const repo::WalObject& object) -> Status {
      if (object.file.kind == WalFileKind::segment) add(object);
      return {};
    });
  }

  void add(const repo::Card& backup) {
    if (backup.timeline == timeline_) add(Point{backup.stopped, backup.stop_lsn});
  }

  StoredWal finish() {
    StoredWal wal;
    measure_stored(wal);
    if (lags_.size() >= kFewestLags) {
      // The slowest of nine in ten: what piles up behind an outage is no rule.
      std::ranges::sort(lags_);
      wal.archive_seconds = lags_[lags_.size() * 9 / 10];
    }
    if (server_ != nullptr && server_->timeline == timeline_) add(Point{server_->time, server_->lsn});
    if (auto first = first_point(); first && last_)
      wal.evidence = between("WAL stored in the repository", *first, *last_);
    return wal;
  }

 private:
  void add(const repo::WalObject& object) {
    if (object.stored < begin_) return;
    const uint64_t index = object.file.segment.index(size_);
    add(Point{object.stored, object.file.segment.end(size_)});
    ++objects_;
    bytes_ += object.stored_bytes;
    lowest_ = std::min(lowest_, index);
    highest_ = std::max(highest_, index);
    earliest_ = std::min(earliest_, object.stored);
    latest_ = std::max(latest_, object.stored);
    if (server_ == nullptr) return;
    auto written = server_->last_write.find(object.file.text);
    if (written == server_->last_write.end()) return;
    // Stored before it was finished: by a receiver, of whom this says nothing.
    if (const double lag = object.stored.seconds_since(written->second); lag >= 0) lags_.push_back(lag);
  }

  // What was stored at once, after an outage or by a copy of the repository, was not written at once.
  std::optional<Point> first_point() const {
    auto earliest = std::ranges::min_element(points_, {}, &Point::time);
    if (earliest == points_.end()) return std::nullopt;
    Point first = *earliest;
    for (const Point& point : points_)
      if (point.time.seconds_since(earliest->time) <= kAtOnceSeconds && point.lsn > first.lsn) first = point;
    return first;
  }

  void add(const Point& point) {
    if (point.time < begin_) return;
    points_.push_back(point);
    if (!last_ || point.lsn > last_->lsn || (point.lsn == last_->lsn && point.time > last_->time))
      last_ = point;
  }

  // Only where retention has left no holes in these days.
  void measure_stored(StoredWal& wal) const {
    const double seconds = objects_ == 0 ? 0 : latest_.seconds_since(earliest_);
    if (seconds < kDay || highest_ - lowest_ + 1 != objects_) return;
    wal.stored_bytes_per_day = static_cast<double>(bytes_) / seconds * kDay;
  }

  SegmentSize size_;
  const ServerWal* server_;
  Timestamp begin_;
  Timeline timeline_;
  std::vector<Point> points_;
  std::optional<Point> last_;
  uint64_t objects_ = 0;
  uint64_t bytes_ = 0;
  uint64_t lowest_ = UINT64_MAX;
  uint64_t highest_ = 0;
  Timestamp earliest_{INT64_MAX};
  Timestamp latest_;
  std::vector<double> lags_;
};

}  // namespace

ServerWal read_server_wal(pg::PgClient& client, const pg::ServerFacts& facts) {
  return ServerReader(client, facts).read();
}

Result<std::optional<WalEvidence>> sample_wal(pg::PgClient& client, const ServerWal& begin,
                                              const StopToken* stop) {
  for (;;) {
    if (stop != nullptr) TRY(stop->check());
    auto rows = client.query(cat("SELECT pg_current_wal_lsn(), ", unix_us("clock_timestamp()")));
    if (!rows || rows->size() != 1) return std::optional<WalEvidence>();
    const Point now{Timestamp{rows->i64(0, 1).value_or(0)}, Lsn::parse(rows->text(0, 0)).value_or(Lsn())};
    const double left = kSampleSeconds - now.time.seconds_since(begin.time);
    if (left <= 0) return between("a short sample", {begin.time, begin.lsn}, now);
    Clock::system().sleep_us(static_cast<int64_t>(std::min(left, 0.1) * 1e6));
  }
}

Result<StoredWal> read_stored_wal(const ops::ChosenLineage& lineage, const std::vector<repo::Card>& backups,
                                  const std::optional<ServerWal>& server, Timestamp now) {
  StoredReader reader(lineage, server, now);
  TRY(reader.read(repo::WalStore(lineage.repo)));
  for (const repo::Card& backup : backups) reader.add(backup);
  return reader.finish();
}

}  // namespace lifeboat::ready
