#include "ops/heal/slot.h"

#include <algorithm>

#include "ops/wal/history.h"
#include "ops/wal/receive_start.h"
#include "pg/client/replication.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr int64_t kTimeoutMs = 10'000;

Result<pg::TimelineHistory> history_of(pg::ReplicationClient& client, Timeline timeline) {
  if (timeline.value == 1) return pg::TimelineHistory::root(timeline);
  TRY_ASSIGN(std::string text, client.history(timeline));
  return pg::TimelineHistory::parse(timeline, text);
}

// True: the server has the WAL at this position; not_found of its answer means that it was removed.
Result<bool> has_wal(const SlotRequest& request, const StreamStart& start,
                     const pg::ConnectOptions& options) {
  TRY_ASSIGN(pg::ReplicationClient client, pg::ReplicationClient::connect(request.conninfo, options));
  Status begun = client.start("", start.at, start.timeline);
  if (!begun) {
    if (begun.error().kind == ErrorKind::not_found) return false;
    return std::move(begun).error();
  }
  TRY_ASSIGN(pg::StreamEvent event, client.next(kTimeoutMs, -1));
  if (event.kind != pg::StreamEvent::Kind::ended) return true;
  auto finished = client.finish(kTimeoutMs);
  if (!finished && finished.error().kind == ErrorKind::not_found) return false;
  TRY(finished);
  return true;
}

// Where what is stored of the segment ends that the stream would begin in: the receiver has acknowledged
// that.
Lsn end_of_tail(const WalHistory& stored, const StreamStart& next, SegmentSize size) {
  Lsn end;
  const StoredTimeline* timeline = stored.find(next.timeline);
  if (timeline == nullptr) return end;
  for (const SegmentTail& tail : timeline->tails)
    if (tail.segment.index(size) == next.at.value / size.bytes)
      end = std::max(end, Lsn{tail.segment.start(size).value + tail.size});
  return end;
}

}  // namespace

Result<SlotOutcome> remake_slot(const SlotRequest& request, bool lost, const StopToken& stop) {
  pg::ConnectOptions options;
  options.application_name = "lifeboat heal";
  options.connect_timeout_ms = kTimeoutMs;
  options.stop = &stop;
  TRY_ASSIGN(repo::Repository repository, open_repository(request.location));
  TRY_ASSIGN(pg::ReplicationClient client, pg::ReplicationClient::connect(request.conninfo, options));
  TRY_ASSIGN(pg::SenderIdentity server, client.identify());
  TRY_ASSIGN(ChosenLineage lineage,
             lineage_of(repository, request.location.cluster, Lineage{server.system_id, server.major}));
  SlotOutcome outcome;
  if (lost) TRY(client.drop_slot(request.slot));
  TRY_ASSIGN(outcome.made, client.create_slot(request.slot));
  TRY_ASSIGN(pg::ReplicationSlot slot, client.read_slot(request.slot));
  outcome.reserved = slot.restart_lsn;
  if (!outcome.made) return outcome;

  TRY_ASSIGN(pg::TimelineHistory history, history_of(client, server.timeline));
  TRY_ASSIGN(WalHistory stored, WalHistory::load(lineage));
  const StreamStart next = start_of_stream(stored, history, server.flushed, {});
  if (!next.follows_stored || next.at > server.flushed) return outcome;
  TRY_ASSIGN(bool there, has_wal(request, next, options));
  if (there) return outcome;
  const StreamStart past =
      start_past_hole(history, server.segment_size, next.at, server.flushed, slot.restart_lsn);
  if (past.at == next.at) return outcome;
  WalGap hole{next.timeline, std::max(next.at, end_of_tail(stored, next, server.segment_size)),
              past.at,       {Clock::system().unix_us()},
              request.slot,  lost ? "the server had given the slot up" : "the slot was gone"};
  TRY(record_gap(lineage.repo, hole));
  outcome.hole = std::move(hole);
  return outcome;
}

}  // namespace lifeboat::ops
