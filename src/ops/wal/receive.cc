#include "ops/wal/receive.h"

#include <poll.h>

#include <algorithm>
#include <memory>
#include <set>

#include "ops/wal/gap.h"
#include "ops/wal/receive_start.h"
#include "ops/wal/tail.h"
#include "pg/client/replication.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

using pg::ReplicationClient;
using Reply = ReplicationClient::Reply;

constexpr int64_t kLookMs = 100;              // how often the stop token is looked at
constexpr int64_t kStatusUs = 10'000'000;     // between status updates that say nothing new
constexpr int64_t kSilenceUs = 60'000'000;    // of a server: then the connection counts as lost
constexpr int64_t kFinishMs = 5'000;          // for the server to end a stream
constexpr int64_t kStopGraceUs = 10'000'000;  // for the store, when asked to stop
constexpr int64_t kFirstPauseUs = 100'000;
constexpr int64_t kLongestPauseUs = 2'000'000;
constexpr int64_t kNoteAgainUs = 60'000'000;
constexpr std::string_view kObjectInUse = "55006";  // the slot of a receiver whose end is not noticed yet

WalFileName history_file(Timeline timeline) {
  auto file = WalFileName::parse(cat(timeline.to_hex(), ".history"));
  CHECK(file.has_value());
  return *file;
}

WalFileName segment_file(const SegmentName& segment) {
  auto file = WalFileName::parse(segment.to_string());
  CHECK(file.has_value());
  return *file;
}

class Receiver {
 public:
  Receiver(const ReceiveOptions& options, Reporter& reporter, StopToken& stop)
      : options_(options), reporter_(reporter), stop_(stop), clock_(Clock::system()) {
    outcome_.slot = options.slot.empty() ? default_slot_name(options.repo.cluster) : options.slot;
  }

  Result<ReceiveOutcome> run() {
    TRY(pg::check_slot_name(outcome_.slot));
    TRY(pg::PgClient::check_conninfo(options_.conninfo));
    TRY_ASSIGN(repo::Repository repository, open_repository(options_.repo));
    repository_ = std::make_unique<repo::Repository>(std::move(repository));
    for (int failures = 0; !finished();) {
      streaming_ = false;
      Status ended = session();
      // What had arrived is stored before anything else: the server may never come back.
      if (keeper_) TRY(keeper_->settle(&stop_, kStopGraceUs));
      if (finished()) break;
      if (streaming_) failures = 0;
      if (!ended) TRY(bear(std::move(ended).error()));
      pause(failures++);
    }
    if (keeper_) {
      outcome_.durable = keeper_->durable();
      outcome_.kept = keeper_->totals();
    }
    return std::move(outcome_);
  }

 private:
  bool finished() const {
    return stop_.stopped() || (options_.until && keeper_ && keeper_->durable() >= *options_.until);
  }

  // One connection, to its end.
  Status session() {
    sqlstate_.clear();
    TRY_ASSIGN(ReplicationClient client, connect());
    Status ended = use(client);
    sqlstate_ = client.last_sqlstate();
    return ended;
  }

  Result<ReplicationClient> connect() const {
    pg::ConnectOptions connect;
    connect.stop = &stop_;
    // Of several hosts the primary is wanted. With one there is nothing to choose, and the reason can be
    // told.
    bool several = options_.conninfo.find(',') != std::string::npos;
    if (several && !options_.allow_standby) connect.host = pg::HostChoice::writable;
    return ReplicationClient::connect(options_.conninfo, connect);
  }

  Status use(ReplicationClient& client) {
    TRY_ASSIGN(pg::SenderIdentity server, client.identify());
    TRY(check_server(client, server));
    TRY_ASSIGN(pg::ReplicationSlot slot, client.read_slot(outcome_.slot));
    if (!slot.exists) {
      TRY(client.create_slot(outcome_.slot));
      TRY_ASSIGN(slot, client.read_slot(outcome_.slot));
    }
    TRY_ASSIGN(pg::TimelineHistory history, store_histories(client, server.timeline));
    TRY(tidy_tails());
    TRY_ASSIGN(WalHistory stored, WalHistory::load(*lineage_));
    StreamStart start = start_of_stream(stored, history, server.flushed, slot.restart_lsn);
    TRY(check_position(client, server, stored, history, start));
    return follow(client, server, history, start, slot.restart_lsn);
  }

  // --- who is there

  Status check_server(const ReplicationClient& client, const pg::SenderIdentity& server) {
    Lineage lineage{server.system_id, server.major};
    if (lineage_ && lineage_->record.lineage != lineage) {
      return make_error(ErrorKind::foreign, client.where(),
                        cat("is of lineage ", lineage.to_string(), ", WAL was received of ",
                            lineage_->record.lineage.to_string()));
    }
    if (!lineage_) {
      TRY_ASSIGN(ChosenLineage chosen, lineage_of(*repository_, options_.repo.cluster, lineage));
      lineage_.emplace(std::move(chosen));
      outcome_.lineage = lineage;
    }
    if (lineage_->record.segment_size != server.segment_size) {
      return make_error(ErrorKind::foreign, client.where(),
                        cat("wal_segment_size is ", server.segment_size.bytes,
                            " bytes, the cluster was registered with ", lineage_->record.segment_size.bytes));
    }
    if (server.in_recovery && !options_.allow_standby) {
      return make_error(ErrorKind::unavailable, client.where(),
                        "is a standby, and WAL is received from a primary")
          .with_hint("--allow-standby receives from it all the same, as far as it has got");
    }
    if (!keeper_) {
      TRY_ASSIGN(keeper_, WalKeeper::create(*lineage_, options_.keep, reporter_, clock_));
    }
    return {};
  }

  // The server's history and those of its ancestors, before any WAL of them (T23).
  Result<pg::TimelineHistory> store_histories(ReplicationClient& client, Timeline timeline) {
    if (timeline.value == 1) return pg::TimelineHistory::root(timeline);
    MemoryWal files;
    TRY_ASSIGN(std::string text, client.history(timeline));
    TRY_ASSIGN(pg::TimelineHistory history, pg::TimelineHistory::parse(timeline, text));
    files.add(history_file(timeline), std::move(text));
    for (const pg::TimelineSwitch& ancestor : history.ancestors()) {
      if (ancestor.timeline.value == 1) continue;
      auto older = client.history(ancestor.timeline);
      if (older) {
        files.add(history_file(ancestor.timeline), std::move(*older));
      } else if (older.error().kind != ErrorKind::not_found) {
        return std::move(older).error();
      }
    }
    TRY(store_wal_file(*lineage_, history_file(timeline), files));
    return history;
  }

  // What a receiver left that died: a segment that is there piece by piece, which the server need not have
  // any more, and pieces of segments that are stored whole.
  Status tidy_tails() {
    repo::TailStore tails(lineage_->repo);
    TRY_ASSIGN(std::vector<Timeline> timelines, tails.timelines());
    for (Timeline timeline : timelines) {
      TRY_ASSIGN(std::vector<repo::TailPiece> pieces, tails.list(timeline));
      std::set<SegmentName> segments;
      for (const repo::TailPiece& piece : pieces) segments.insert(piece.segment);
      for (const SegmentName& segment : segments) TRY(tidy_tail(tails, segment));
    }
    return {};
  }

  Status tidy_tail(const repo::TailStore& tails, const SegmentName& name) {
    const SegmentSize size = lineage_->record.segment_size;
    TRY_ASSIGN(std::vector<repo::TailPiece> pieces, tails.find(name));
    TRY_ASSIGN(std::vector<repo::WalObject> whole,
               repo::WalStore(lineage_->repo).find_all(segment_file(name)));
    if (whole.size() > 1 || (whole.empty() && repo::covered(pieces) < size.bytes)) return {};
    TRY_ASSIGN(IncomingSegment segment, IncomingSegment::create(name, size));
    TRY_ASSIGN(Bytes image, read_tail(*lineage_, name));
    TRY(segment.append(image));
    MemoryWal place(&segment);
    if (whole.empty()) TRY(store_wal_file(*lineage_, segment_file(name), place));
    return remove_tail(tails, segment, reporter_);
  }

  // Has the server what is to come next?
  Status check_position(const ReplicationClient& client, const pg::SenderIdentity& server,
                        const WalHistory& stored, const pg::TimelineHistory& history,
                        const StreamStart& start) {
    if (auto branch = branch_behind(stored, server.timeline, server.flushed);
        branch && branch != told_branch_) {
      told_branch_ = branch;
      reporter_.note(NoteLevel::warning, cat("timeline ", branch->value, " is stored, which left timeline ",
                                             server.timeline.value, " before the server's position: is ",
                                             client.where(), " a primary that was replaced? Both are kept"));
    }
    Lsn end = end_of_tail(stored, history, start.at);
    if (end <= server.flushed) return {};
    std::string what = cat("can send WAL to ", server.flushed.to_string(), ", stored is timeline ",
                           start.timeline.value, " to ", end.to_string());
    // A standby may lag behind what its primary sent us.
    if (server.in_recovery) return make_error(ErrorKind::unavailable, client.where(), std::move(what));
    return make_error(ErrorKind::conflict, client.where(), std::move(what))
        .with_hint(
            "the server lost WAL, or two servers have one identity (split brain or a clone); nothing was "
            "stored or replaced");
  }

  // --- the stream

  // Timeline after timeline, until the connection ends or we do.
  Status follow(ReplicationClient& client, const pg::SenderIdentity& server, pg::TimelineHistory history,
                StreamStart start, Lsn reserved) {
    while (true) {
      TRY(keeper_->begin(start.timeline, start.at));
      outcome_.timeline = start.timeline;
      next_ = start.at;
      auto next = stream(client, start);
      TRY(keeper_->settle(&stop_, kStopGraceUs));
      if (!next && next.error().kind == ErrorKind::not_found && next_ == start.at) {
        TRY_ASSIGN(start, pass_hole(server, history, start, reserved, std::move(next).error()));
        continue;
      }
      TRY(next);
      if (!*next) return {};
      reporter_.note(NoteLevel::info,
                     cat("timeline ", start.timeline.value, " ended at ", (*next)->at.to_string(),
                         "; going on with timeline ", (*next)->timeline.value));
      TRY_ASSIGN(history, store_histories(client, (*next)->timeline));
      // The new timeline's file of that segment begins with what the old one's held.
      uint64_t bytes = server.segment_size.bytes;
      start = {(*next)->timeline, {(*next)->at.value / bytes * bytes}, true};
    }
  }

  // The server has removed what comes next. What is lost is written down, and the rest received.
  Result<StreamStart> pass_hole(const pg::SenderIdentity& server, const pg::TimelineHistory& history,
                                const StreamStart& start, Lsn reserved, Error error) {
    StreamStart past = start_past_hole(history, server.segment_size, start.at, server.flushed, reserved);
    if (past.at == start.at) return error;
    ReceiveHole hole{start.timeline, start.at, past.at};
    reporter_.note(NoteLevel::warning,
                   cat("the server has removed WAL from ", hole.from.to_string(), " to ", hole.to.to_string(),
                       " of timeline ", hole.timeline.value,
                       " before it was received: recovery cannot pass that unless it was archived; take a "
                       "backup"));
    if (start.follows_stored) {
      TRY(record_gap(
          lineage_->repo,
          {hole.timeline, hole.from, hole.to, {clock_.unix_us()}, outcome_.slot, error.to_string()}));
    }
    outcome_.holes.push_back(hole);
    return past;
  }

  // Receives one timeline. nullopt: we ended it.
  Result<std::optional<pg::NextTimeline>> stream(ReplicationClient& client, const StreamStart& start) {
    TRY(start_stream(client, start));
    reporter_.note(NoteLevel::debug, cat("receiving timeline ", start.timeline.value, " from ",
                                         start.at.to_string(), ", ", client.where()));
    heard_us_ = clock_.monotonic_us();
    TRY(report(client, Reply::not_needed));
    ByteView pending;
    while (!finished()) {
      if (auto error = keeper_->error()) return *std::move(error);
      if (pending.empty()) {
        TRY_ASSIGN(pg::StreamEvent event, client.next(kLookMs, keeper_->wake_fd()));
        if (event.kind == pg::StreamEvent::Kind::ended) return end_of_stream(client);
        TRY(hear(client, event));
        pending = event.bytes;
      }
      if (!pending.empty()) {
        TRY_ASSIGN(size_t taken, keeper_->take(pending));
        if (taken == 0) wait_for_room();
        next_ = next_ + taken;
        outcome_.bytes += taken;
        pending = pending.subspan(taken);
        if (options_.until && next_ >= *options_.until) keeper_->hurry();
        reporter_.progress("receiving WAL", outcome_.bytes, 0, ProgressUnit::bytes);
      }
      keeper_->clear_wake();
      if (keeper_->durable() != reported_ || clock_.monotonic_us() - reported_us_ >= kStatusUs)
        TRY(report(client, Reply::not_needed));
    }
    TRY(keeper_->settle(&stop_, kStopGraceUs));
    TRY(report(client, Reply::not_needed));
    TRY(client.finish(kFinishMs));
    return std::optional<pg::NextTimeline>();
  }

  Status start_stream(ReplicationClient& client, const StreamStart& start) {
    Status started = client.start(outcome_.slot, start.at, start.timeline);
    if (started || !client.slot_is_lost()) return started;
    reporter_.note(NoteLevel::warning,
                   cat("the server had given the slot ", outcome_.slot,
                       " up, to save its disk; it is made again (", started.error().cause, ")"));
    TRY(client.remake_slot(outcome_.slot));
    return client.start(outcome_.slot, start.at, start.timeline);
  }

  Status hear(ReplicationClient& client, const pg::StreamEvent& event) {
    const int64_t now_us = clock_.monotonic_us();
    if (event.kind == pg::StreamEvent::Kind::nothing) {
      // A server that is asked has to answer.
      if (now_us - heard_us_ > kSilenceUs)
        return make_error(ErrorKind::unavailable, client.where(), "PostgreSQL has been silent for a minute");
      if (now_us - heard_us_ > kSilenceUs / 2 && now_us - reported_us_ > kStatusUs / 2)
        return report(client, Reply::wanted);
      return {};
    }
    heard_us_ = now_us;
    if (event.kind == pg::StreamEvent::Kind::wal && event.at != next_) {
      return make_error(ErrorKind::server, client.where(),
                        cat("sent WAL at ", event.at.to_string(), ", expected ", next_.to_string()));
    }
    if (!streaming_) {
      streaming_ = streamed_ = true;
      ++outcome_.connections;
    }
    if (event.wants_reply) {
      // A server that stops waits until it has heard that everything is flushed.
      keeper_->hurry();
      TRY(report(client, Reply::not_needed));
    }
    return {};
  }

  // The server has ended the stream. What came before is made durable first: it may be all that is left.
  Result<std::optional<pg::NextTimeline>> end_of_stream(ReplicationClient& client) {
    TRY(keeper_->settle(&stop_, kStopGraceUs));
    TRY_ASSIGN(std::optional<pg::NextTimeline> next, client.finish(kFinishMs));
    if (next) return next;
    return make_error(ErrorKind::unavailable, client.where(), "PostgreSQL has ended the stream");
  }

  Status report(ReplicationClient& client, Reply reply) {
    reported_ = keeper_->durable();
    reported_us_ = clock_.monotonic_us();
    return client.report(reported_, {clock_.unix_us()}, reply);
  }

  // The store is slower than the server, or away: nothing is read from the socket until there is room.
  void wait_for_room() {
    pollfd watched = {keeper_->wake_fd(), POLLIN, 0};
    ::poll(&watched, 1, static_cast<int>(kLookMs));
    heard_us_ = clock_.monotonic_us();
  }

  // --- when it does not work

  // Ends what trying again does not mend.
  Status bear(Error error) {
    switch (error.kind) {
      case ErrorKind::unavailable:
      case ErrorKind::timeout:
      case ErrorKind::not_found:
      case ErrorKind::space:
        break;
      case ErrorKind::server:
      case ErrorKind::permission:
      case ErrorKind::failed:
        if (!streamed_ && sqlstate_ != kObjectInUse) return error;
        break;
      default:
        return error;
    }
    const int64_t now_us = clock_.monotonic_us();
    std::string text = error.to_string();
    if (text != noted_ || now_us - noted_us_ > kNoteAgainUs) {
      reporter_.note(NoteLevel::warning,
                     cat(text, error.hint.empty() ? "" : cat(" (", error.hint, ")"), "; trying again"));
      noted_ = std::move(text);
      noted_us_ = now_us;
    }
    return {};
  }

  // Receivers that lost a server together do not come back together.
  void pause(int failures) {
    int64_t longest_us = std::min(kFirstPauseUs << std::min(failures, 10), kLongestPauseUs);
    uint32_t random = 0;
    codec::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&random), sizeof random));
    int64_t left_us = longest_us / 2 + random % static_cast<uint64_t>(longest_us / 2 + 1);
    for (; left_us > 0 && !stop_.stopped(); left_us -= kLookMs * 1000) {
      clock_.sleep_us(std::min(left_us, kLookMs * 1000));
    }
  }

  const ReceiveOptions& options_;
  Reporter& reporter_;
  StopToken& stop_;
  Clock& clock_;
  ReceiveOutcome outcome_;
  std::unique_ptr<repo::Repository> repository_;
  std::optional<ChosenLineage> lineage_;
  std::unique_ptr<WalKeeper> keeper_;

  Lsn next_;      // the byte that comes next
  Lsn reported_;  // as durable
  int64_t reported_us_ = 0;
  int64_t heard_us_ = 0;    // from the server
  bool streaming_ = false;  // this connection
  bool streamed_ = false;   // any
  std::string sqlstate_;    // of the last connection's last error
  std::string noted_;
  int64_t noted_us_ = 0;
  std::optional<Timeline> told_branch_;
};

}  // namespace

std::string default_slot_name(const std::string& cluster) {
  std::string name = cat("lifeboat_", cluster);
  std::ranges::replace(name, '-', '_');
  return name;
}

Result<ReceiveOutcome> receive_wal(const ReceiveOptions& options, Reporter& reporter, StopToken& stop) {
  return Receiver(options, reporter, stop).run();
}

}  // namespace lifeboat::ops
