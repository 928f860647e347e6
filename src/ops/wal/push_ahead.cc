#include "ops/wal/push_ahead.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <system_error>
#include <thread>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kMostAhead = 8;

int cores() {
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

int default_ahead() {
  return std::min(2 * cores(), kMostAhead);
}

// The segments behind the one asked for, and the threads that stage them.
class AheadPusher::Row {
 public:
  struct Place {
    Waiting waiting;
    std::optional<repo::StagedWal> staged;  // none: not tried, or failed
  };

  Row(AheadPusher& pusher, std::vector<Waiting> waiting, repo::WalEffort effort)
      : pusher_(pusher), effort_(effort) {
    for (Waiting& one : waiting) places_.push_back({std::move(one), std::nullopt});
  }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  ~Row() {
    end_.request();
    join();
  }

  // One thread for each core but the caller's, and one at least, because storing also waits for the disk.
  void start() {
    size_t count = std::min(places_.size(), static_cast<size_t>(std::max(1, cores() - 1)));
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

 private:
  bool stopped() const {
    return end_.stopped() || (pusher_.options_.stop != nullptr && pusher_.options_.stop->stopped());
  }

  void work() {
    while (!stopped()) {
      size_t index = next_.fetch_add(1);
      if (index >= places_.size()) return;
      auto staged = stage_segment(pusher_.lineage_, places_[index].waiting.file, pusher_.place_, effort_);
      if (!staged) return end_.request();  // what comes after it is not published, so it is not needed
      places_[index].staged = std::move(*staged);
    }
  }

  void join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  AheadPusher& pusher_;
  const repo::WalEffort effort_;
  std::vector<Place> places_;  // each belongs to the thread that took its index
  std::atomic<size_t> next_ = 0;
  StopToken end_;
  std::vector<std::thread> threads_;
};

AheadPusher::AheadPusher(ChosenLineage lineage, std::string pg_wal, AheadOptions options)
    : lineage_(std::move(lineage)), pg_wal_(std::move(pg_wal)), options_(options), place_(pg_wal_) {}

Result<repo::PushOutcome> AheadPusher::push(const WalFileName& file) {
  if (stored_ahead(file)) return repo::PushOutcome::already_stored;
  TRY_ASSIGN(std::vector<Waiting> waiting, waiting_behind(file));
  if (waiting.empty()) return store_wal_file(lineage_, file, place_);
  // As much waits as one row takes, so the archiver has fallen behind.
  const bool behind = waiting.size() >= static_cast<size_t>(options_.ahead);
  Row row(*this, std::move(waiting), behind ? repo::WalEffort::hurried : repo::WalEffort::usual);
  row.start();
  TRY_ASSIGN(repo::PushOutcome outcome, store_wal_file(lineage_, file, place_));
  row.finish();
  publish(row);
  return outcome;
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

Result<std::vector<AheadPusher::Waiting>> AheadPusher::waiting_behind(const WalFileName& file) const {
  std::vector<Waiting> waiting;
  if (options_.ahead <= 0 || file.kind != WalFileKind::segment) return waiting;
  SegmentName name = file.segment;
  while (waiting.size() < static_cast<size_t>(options_.ahead)) {
    name = name.next(lineage_.record.segment_size);
    auto next = WalFileName::parse(name.to_string());
    CHECK(next.has_value());
    TRY_ASSIGN(bool ready, path_exists(join_path(pg_wal_, cat("archive_status/", next->text, ".ready"))));
    if (!ready) break;
    auto identity = identify(*next);
    if (!identity) break;  // its own call tells why
    waiting.push_back({std::move(*next), *identity});
  }
  if (waiting.empty()) return waiting;
  // Calls for what an earlier one stored ahead come one by one. If each looked on, each would find one more
  // segment and store it with nobody beside it; so the row begins anew with the first that is not stored.
  TRY_ASSIGN(std::vector<repo::WalObject> stored, repo::WalStore(lineage_.repo).find_all(file));
  if (!stored.empty()) waiting.clear();
  return waiting;
}

void AheadPusher::publish(Row& row) {
  stored_ahead_.clear();
  repo::WalStore store(lineage_.repo);
  for (Row::Place& place : row.places()) {
    const Waiting& waiting = place.waiting;
    if (!place.staged) return;
    // A server that gave the segment up meanwhile (archiving was turned off) may write to its file again.
    auto now = identify(waiting.file);
    if (!now || *now != waiting.identity) return;
    if (!store.publish(std::move(*place.staged))) return;
    stored_ahead_.emplace(waiting.file.text, waiting.identity);
  }
}

}  // namespace lifeboat::ops
