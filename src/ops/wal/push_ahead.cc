#include "ops/wal/push_ahead.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <ranges>
#include <system_error>
#include <thread>

#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kMostAhead = 16;
// What was staged and not asked for is left then: cleaning up may take its files away.
constexpr int64_t kOldUs = 60'000'000;

int cores() {
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

int default_ahead() {
  return std::min(4 * cores(), kMostAhead);
}

// The segment asked for and those behind it, and the threads that stage them.
class AheadPusher::Row {
 public:
  struct Place {
    Waiting waiting;
    std::optional<Result<repo::StagedWal>> staged;  // none: not tried
  };

  Row(AheadPusher& pusher, std::vector<Waiting> waiting, repo::WalEffort effort)
      : pusher_(pusher), effort_(effort), begun_us_(Clock::system().monotonic_us()) {
    for (Waiting& one : waiting) places_.push_back({std::move(one), std::nullopt});
  }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  ~Row() {
    end_.request();
    join();
  }

  // As many threads as there are cores, and the caller, because storing also waits for the disk.
  void start() {
    size_t count = std::min(places_.size(), static_cast<size_t>(cores()));
    try {
      while (threads_.size() < count) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      return;  // the caller does what is left
    }
  }

  // Takes part until everything is staged or failed.
  void finish() {
    work();
    join();
  }

  std::vector<Place>& places() { return places_; }
  const WalFileName& first() const { return places_.front().waiting.file; }
  bool is_old() const { return Clock::system().monotonic_us() - begun_us_ > kOldUs; }

 private:
  bool stopped() const {
    return end_.stopped() || (pusher_.options_.stop != nullptr && pusher_.options_.stop->stopped());
  }

  void work() {
    for (;;) {
      size_t index = next_.fetch_add(1);
      if (index >= places_.size()) return;
      if (index != 0 && stopped()) return;
      Place& place = places_[index];
      place.staged = stage_segment(pusher_.lineage_, place.waiting.file, pusher_.place_, effort_);
      if (!*place.staged) return end_.request();  // what comes after it is not published, so it is not needed
    }
  }

  void join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  AheadPusher& pusher_;
  const repo::WalEffort effort_;
  const int64_t begun_us_;
  std::vector<Place> places_;  // each belongs to the thread that took its index
  std::atomic<size_t> next_ = 0;
  StopToken end_;
  std::vector<std::thread> threads_;
};

AheadPusher::AheadPusher(ChosenLineage lineage, std::string pg_wal, AheadOptions options)
    : lineage_(std::move(lineage)), pg_wal_(std::move(pg_wal)), options_(options), place_(pg_wal_) {}
AheadPusher::~AheadPusher() = default;

Result<repo::PushOutcome> AheadPusher::push(const WalFileName& file) {
  if (stored_ahead(file)) return repo::PushOutcome::already_stored;
  std::unique_ptr<Row> row = begun_for(file);
  if (!row) {
    TRY_ASSIGN(row, begin_for(file));
  }
  if (!row) return store_wal_file(lineage_, file, place_);
  row->finish();
  return publish(*row);
}

// What was staged while the server asked for others.
std::unique_ptr<AheadPusher::Row> AheadPusher::begun_for(const WalFileName& file) {
  std::unique_ptr<Row> row = std::move(next_);
  if (row && (row->first().text != file.text || row->is_old())) row.reset();
  return row;
}

// null: nothing waits behind it.
Result<std::unique_ptr<AheadPusher::Row>> AheadPusher::begin_for(const WalFileName& file) {
  std::unique_ptr<Row> none;
  TRY_ASSIGN(std::vector<Waiting> waiting, ready_after(file, static_cast<size_t>(options_.ahead)));
  if (waiting.empty()) return none;
  auto identity = identify(file);
  if (!identity) return none;
  // Calls for what an earlier one stored ahead come one by one. If each looked on, each would find one more
  // segment and store it with nobody beside it; so the row begins anew with the first that is not stored.
  TRY_ASSIGN(std::vector<repo::WalObject> stored, repo::WalStore(lineage_.repo).find_all(file));
  if (!stored.empty()) return none;
  // As much waits as one row takes, so the archiver has fallen behind.
  const bool behind = waiting.size() >= static_cast<size_t>(options_.ahead);
  waiting.insert(waiting.begin(), {file, *identity});
  auto row = std::make_unique<Row>(*this, std::move(waiting),
                                   behind ? repo::WalEffort::hurried : repo::WalEffort::usual);
  row->start();
  return row;
}

Result<AheadPusher::Identity> AheadPusher::identify(const WalFileName& file) const {
  TRY_ASSIGN(FileInfo info, stat_path(join_path(pg_wal_, file.text)));
  return Identity{info.device, info.inode, info.size, info.modified_us};
}

// Asked for once: whatever comes of it, the next call of that name is looked at anew.
bool AheadPusher::stored_ahead(const WalFileName& file) {
  auto record = stored_ahead_.extract(file.text);
  if (record.empty()) return false;
  auto now = identify(file);
  return now && *now == record.mapped();
}

Result<std::vector<AheadPusher::Waiting>> AheadPusher::ready_after(const WalFileName& file,
                                                                   size_t most) const {
  std::vector<Waiting> waiting;
  if (options_.ahead <= 0 || file.kind != WalFileKind::segment) return waiting;
  SegmentName name = file.segment;
  while (waiting.size() < most) {
    name = name.next(lineage_.record.segment_size);
    auto next = WalFileName::parse(name.to_string());
    CHECK(next.has_value());
    TRY_ASSIGN(bool ready, path_exists(join_path(pg_wal_, cat("archive_status/", next->text, ".ready"))));
    if (!ready) break;
    auto identity = identify(*next);
    if (!identity) break;  // its own call tells why
    waiting.push_back({std::move(*next), *identity});
  }
  return waiting;
}

// The outcome of the first; the others get their names behind it, up to the first that failed or changed.
Result<repo::PushOutcome> AheadPusher::publish(Row& row) {
  stored_ahead_.clear();
  repo::WalStore store(lineage_.repo);
  // A server that gave a segment up meanwhile (archiving was turned off) may write to its file again.
  auto unchanged = [&](const Waiting& waiting) {
    auto now = identify(waiting.file);
    return now && *now == waiting.identity;
  };
  Row::Place& asked = row.places().front();
  if (!*asked.staged && asked.staged->error().kind == ErrorKind::space) {
    // What nobody asked for yet may have taken the room.
    for (Row::Place& place : row.places()) place.staged.reset();
    return store_wal_file(lineage_, asked.waiting.file, place_);
  }
  TRY(*asked.staged);
  if (!unchanged(asked.waiting)) return store_wal_file(lineage_, asked.waiting.file, place_);
  TRY_ASSIGN(repo::PushOutcome outcome, store.publish(std::move(**asked.staged)));
  for (Row::Place& place : row.places() | std::views::drop(1)) {
    const Waiting& waiting = place.waiting;
    if (!place.staged || !*place.staged || !unchanged(waiting)) return outcome;
    if (!store.publish(std::move(**place.staged))) return outcome;
    stored_ahead_.emplace(waiting.file.text, waiting.identity);
  }
  if (options_.life == PusherLife::resident) look_on(row.places().back().waiting.file);
  return outcome;
}

// The server asks for what is published now, one by one; meanwhile those behind that are staged.
void AheadPusher::look_on(const WalFileName& last) {
  auto waiting = ready_after(last, static_cast<size_t>(options_.ahead) + 1);
  if (!waiting || waiting->empty()) return;
  const bool behind = waiting->size() > static_cast<size_t>(options_.ahead);
  next_ = std::make_unique<Row>(*this, *std::move(waiting),
                                behind ? repo::WalEffort::hurried : repo::WalEffort::usual);
  next_->start();
}

}  // namespace lifeboat::ops
