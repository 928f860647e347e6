#include "ops/restore/replay_check.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "ops/restore/placed_wal.h"
#include "ops/wal/gate.h"
#include "pg/format/backup_label.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kNice = 10;
constexpr std::chrono::seconds kPatience{10};

// A start from a backup reads its checkpoint record first, then goes back to where replay begins
// (read_backup_label and InitWalRecovery in src/backend/access/transam/xlogrecovery.c). 0: none, a later
// start.
Result<Lsn> first_read(const std::string& data_directory) {
  auto text = read_text(join_path(data_directory, "backup_label"), 64 << 10);
  if (!text && text.error().kind == ErrorKind::not_found) return Lsn{0};
  TRY(text);
  TRY_ASSIGN(pg::BackupLabel label, pg::parse_backup_label(*text));
  return label.checkpoint;
}

}  // namespace

class ReplayCheck::Impl {
 public:
  // `checkpoint`: where the server begins to read, before it goes back to the beginning of the backup.
  Impl(const ChosenLineage& lineage, ReplayCheckOptions options, WalGate gate, Lsn checkpoint)
      : lineage_(lineage), options_(std::move(options)), gate_(std::move(gate)), stop_(options_.stop) {
    scan_.stop = &ended_;
    if (options_.placing) {
      placed_.emplace(options_.directory, options_.placing->directory, options_.placing->owner,
                      options_.placing->segments, lineage_.record.segment_size, checkpoint);
    }
    thread_ = std::thread([this] { run(); });
  }

  ~Impl() {
    ended_.request();
    if (placed_) placed_->end();
    go_on();
    wait();
  }

  void go_on() {
    std::lock_guard lock(mutex_);
    answers_ = true;
    changed_.notify_all();
  }

  void watch(const pg::ServerState& state) {
    if (!placed_) return;
    if (auto named = SegmentName::parse(state.replaying_wal)) placed_->replaying(*named);
    const SegmentSize size = lineage_.record.segment_size;
    if (state.replayed.valid())
      placed_->replaying(SegmentName::containing(options_.timeline, state.replayed, size));
  }

  Result<Lsn> stop() {
    go_on();
    if (placed_) placed_->end();
    wait();
    if (error_) return *error_;
    return stop_;
  }

  bool ended() const { return done_; }

  const RecoveryMinimums& raised() {
    go_on();
    if (placed_) placed_->end();
    wait();
    return raised_;
  }

 private:
  void wait() {
    if (thread_.joinable()) thread_.join();
  }

  void run() {
    Status done = read();
    if (done && !raised_.empty()) {
      done = make_error(ErrorKind::precondition, "recovery", "needs higher settings than this server has");
    } else if (!done) {
      error_ = done.error();
    }
    done_ = true;  // before anybody can tell by the gate
    Status told = done ? pass_all() : gate_.refuse(done.error().to_string());
    // A server that can be told nothing waits until this process ends.
    if (!told && !error_) error_ = told.error();
  }

  bool changes_wal() const { return options_.placing && options_.placing->needless; }

  // Of WAL that is changed the rest is not for this server.
  Status pass_all() { return changes_wal() ? gate_.advance(Lsn{UINT64_MAX}) : gate_.open(); }

  Status read() {
    TRY_ASSIGN(WalHistory history, WalHistory::load(lineage_));
    const StoredTimeline* stored = history.find(options_.timeline);
    if (stored == nullptr || !stored->history) {
      return make_error(ErrorKind::unreachable, cat("timeline ", options_.timeline.value),
                        "is not stored any more");
    }
    WalPath path = history.path(options_.timeline, options_.backup.start_lsn);
    if (options_.placing && options_.placing->path) path = *options_.placing->path;
    // What an unfinished segment behind the path holds was read before it was put into pg_wal.
    const Lsn end = std::min(options_.stop, path.end);
    // First what the server needs for its first answer.
    const Lsn consistent = std::min(end, after_segment_of(options_.backup.stop_lsn, path.segment_size));
    if (placed_) {
      TRY(place(path, consistent, end));
      return stops_earlier_ ? find_earlier_stop(history) : Status();
    }
    TRY(read_part(path, options_.backup.start_lsn, consistent));
    if (consistent < end && !stops_earlier_) {
      if (raised_.empty()) TRY(gate_.advance(consistent));
      wait_for_an_answer();
      TRY(read_part(path, consistent, end));
    }
    if (stops_earlier_) return find_earlier_stop(history);
    return {};
  }

  // In one go: a record may lead from one part into the next.
  Status place(const WalPath& path, Lsn consistent, Lsn end) {
    const WalFilter::Needless none = [](const pg::WalRecord&) { return false; };
    filter_.emplace(path.segment_size, changes_wal() ? options_.placing->needless : none,
                    [&](const SegmentName& name, ByteView content) -> Status {
                      if (name.start(path.segment_size) >= consistent) wait_for_an_answer();
                      return placed_->put(name, content);
                    });
    scan_.tap = &*filter_;
    TRY(read_part(path, options_.backup.start_lsn, end));
    scan_.tap = nullptr;  // what may be read after that is not for the server
    return filter_->finish();
  }

  void wait_for_an_answer() {
    if (std::exchange(waited_, true)) return;
    std::unique_lock lock(mutex_);
    // A server that takes longer replays meanwhile.
    changed_.wait_for(lock, kPatience, [this] { return answers_; });
    // It comes first from now on as well. Of this thread, and of those that it makes.
    (void)setpriority(PRIO_PROCESS, 0, kNice);
  }

  static Lsn after_segment_of(Lsn lsn, SegmentSize size) {
    return SegmentName::containing(Timeline{1}, lsn, size).end(size);
  }

  Status read_part(const WalPath& path, Lsn from, Lsn to) {
    ScanOptions scan = scan_;
    scan.from_is_record = from == options_.backup.start_lsn;
    TRY_ASSIGN(ReplayedWal replayed, read_replayed_wal(lineage_, options_.asked, path, from, to, scan,
                                                       [this](Lsn read, const ReplayedWal& so_far) -> Status {
                                                         TRY(judge(so_far));
                                                         return let_pass(read);
                                                       }));
    stops_earlier_ = replayed.stops_earlier;
    TRY(judge(replayed));
    if (filter_ && !raised_.empty()) filter_->drop();
    return {};
  }

  // Every record before it was judged. What needs higher settings is read on, to know all of them.
  Status let_pass(Lsn read) {
    if (!raised_.empty()) {
      if (filter_) filter_->drop();
      return {};
    }
    if (filter_) TRY(filter_->pass(read));
    return gate_.advance(read);
  }

  Status judge(const ReplayedWal& replayed) {
    for (const auto& [name, value] : replayed.minimums) {
      auto granted = options_.granted.find(name);
      if (granted == options_.granted.end() || granted->second < value) raised_[name] = value;
    }
    ReplayedWal strange = replayed;
    std::erase_if(strange.tablespaces, [this](const std::string& location) { return is_own(location); });
    return refuse_live_tablespaces(strange);
  }

  // Replay of an earlier start made it, in a place that was empty then.
  bool is_own(const std::string& location) const {
    const std::string links = join_path(options_.directory, "pg_tblspc");
    auto entries = list_dir(links);
    return entries && std::ranges::any_of(*entries, [&](const DirEntry& entry) {
             auto target = read_link(join_path(links, entry.name));
             return target && *target == location;
           });
  }

  Status find_earlier_stop(const WalHistory& history) {
    ReachRequest request = ReachRequest::from(options_.backup);
    request.target = options_.asked;
    request.choice = TimelineChoice::number;
    request.timeline = options_.timeline;
    request.unfinished = UnfinishedSegment::use;
    request.commit_times = CommitTimes::any_order;
    TRY_ASSIGN(Reach reach, find_reach(lineage_, history, request, scan_));
    stop_ = reach.stop;
    return {};
  }

  const ChosenLineage& lineage_;
  const ReplayCheckOptions options_;
  WalGate gate_;
  StopToken ended_;
  std::optional<PlacedWal> placed_;
  std::optional<WalFilter> filter_;
  ScanOptions scan_;
  std::optional<Error> error_;
  Lsn stop_;
  RecoveryMinimums raised_;
  bool stops_earlier_ = false;
  bool waited_ = false;
  std::atomic<bool> done_{false};
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool answers_ = false;
  std::thread thread_;
};

ReplayCheck::ReplayCheck(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ReplayCheck::~ReplayCheck() = default;

Result<std::unique_ptr<ReplayCheck>> ReplayCheck::begin(const ChosenLineage& lineage,
                                                        ReplayCheckOptions options) {
  TRY_ASSIGN(WalGate gate,
             WalGate::close(options.directory, lineage.record.segment_size,
                            options.placing && options.placing->needless ? WalComes::in_pg_wal
                                                                         : WalComes::from_repository));
  Lsn checkpoint;
  if (options.placing) {
    TRY_ASSIGN(checkpoint, first_read(options.directory));
    TRY(remove_tree(options.placing->directory));
    // The server's user looks for names there.
    TRY(create_dirs(options.placing->directory, 0755));
  }
  auto impl = std::make_unique<Impl>(lineage, std::move(options), std::move(gate), checkpoint);
  return std::unique_ptr<ReplayCheck>(new ReplayCheck(std::move(impl)));
}

void ReplayCheck::go_on() {
  impl_->go_on();
}

void ReplayCheck::watch(const pg::ServerState& state) {
  impl_->watch(state);
}

bool ReplayCheck::ended() const {
  return impl_->ended();
}

Result<Lsn> ReplayCheck::stop() {
  return impl_->stop();
}

const RecoveryMinimums& ReplayCheck::raised() {
  return impl_->raised();
}

}  // namespace lifeboat::ops
