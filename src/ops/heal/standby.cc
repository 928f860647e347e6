#include "ops/heal/standby.h"

#include "ops/wal/history.h"
#include "pg/client/replication.h"
#include "pg/server/postmaster.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr int64_t kTimeoutMs = 5'000;
constexpr int64_t kFirstWalMs = 5'000;
constexpr int64_t kStopServerMs = 300'000;

pg::ConnectOptions connect_options(const StopToken* stop) {
  pg::ConnectOptions options;
  options.application_name = "lifeboat heal";
  options.connect_timeout_ms = kTimeoutMs;
  options.statement_timeout_ms = kTimeoutMs;
  options.stop = stop;
  return options;
}

// What the standby says of itself; true: it streams.
Result<bool> ask_standby(const StandbyQuestion& question, StandbyFacts& facts) {
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(question.conninfo, connect_options(question.stop)));
  TRY_ASSIGN(pg::Rows rows,
             client.query("SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),"
                          " current_setting('primary_conninfo', true),"
                          " current_setting('primary_slot_name', true), pg_last_wal_replay_lsn(),"
                          " c.timeline_id, c.checkpoint_lsn, r.min_recovery_end_timeline,"
                          " r.min_recovery_end_lsn, pg_is_in_recovery()"
                          " FROM pg_control_checkpoint() c, pg_control_recovery() r"));
  if (!rows.truth(0, 8))
    return make_error(ErrorKind::precondition, question.conninfo, "is no standby: it is not in recovery");
  facts.conninfo = question.primary.empty() ? std::string(rows.text(0, 1)) : question.primary;
  facts.slot = rows.text(0, 2);
  facts.replayed = Lsn::parse(rows.text(0, 3)).value_or(Lsn{});
  // The position that replay has reached may be on a later timeline than either of these.
  const bool further = rows.u64(0, 6).value_or(0) >= rows.u64(0, 4).value_or(0);
  facts.timeline = {static_cast<uint32_t>(rows.u64(0, further ? 6 : 4).value_or(0))};
  facts.known = Lsn::parse(rows.text(0, further ? 7 : 5)).value_or(Lsn{});
  return rows.truth(0, 0);
}

// Does the primary still have the WAL at `from`? It tells when it begins to send.
Result<bool> primary_sends(pg::ReplicationClient& primary, Lsn from, Timeline timeline) {
  Status started = primary.start("", from, timeline);
  if (!started && started.error().kind == ErrorKind::not_found) return false;
  TRY(started);
  TRY_ASSIGN(pg::StreamEvent event, primary.next(kFirstWalMs, -1));
  while (event.kind == pg::StreamEvent::Kind::keepalive && event.server_end > from) {
    TRY_ASSIGN(event, primary.next(kFirstWalMs, -1));
  }
  if (event.kind != pg::StreamEvent::Kind::ended) return true;
  auto finished = primary.finish(kTimeoutMs);
  if (!finished && finished.error().kind == ErrorKind::not_found) return false;
  TRY(finished);
  return true;
}

// What replay has not come to yet may be in its own pg_wal: received before, paused before, or delayed.
Result<bool> standby_has_more(const StandbyQuestion& question) {
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(question.conninfo, connect_options(question.stop)));
  TRY_ASSIGN(pg::Rows rows,
             client.query("SELECT coalesce(pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn(), false)"
                          " OR pg_is_wal_replay_paused()"
                          " OR current_setting('recovery_min_apply_delay') <> '0'"));
  return rows.truth(0, 0);
}

// On any timeline: what is there on another one is for recovery to choose.
Result<bool> repository_has(const StandbyQuestion& question, Lsn at) {
  TRY_ASSIGN(repo::Repository repository, open_repository(question.where));
  TRY_ASSIGN(ChosenLineage lineage, choose_lineage(repository, question.where.cluster));
  TRY_ASSIGN(WalHistory history, WalHistory::load(lineage));
  const uint64_t index = at.value / lineage.record.segment_size.bytes;
  for (const StoredTimeline& stored : history.timelines()) {
    if (stored.has(index)) return true;
    for (const SegmentTail& tail : stored.tails)
      if (tail.segment.index(lineage.record.segment_size) == index) return true;
  }
  return false;
}

StandbyFacts told(StandbyFacts facts, StandbyState state, std::string why) {
  facts.state = state;
  facts.why = std::move(why);
  return facts;
}

// Set when the primary's history alone decides.
Result<std::optional<StandbyFacts>> compare_histories(pg::ReplicationClient& primary,
                                                      const pg::SenderIdentity& identity,
                                                      const StandbyFacts& facts) {
  if (identity.timeline < facts.timeline)
    return std::optional(
        told(facts, StandbyState::unclear,
             cat("is on timeline ", facts.timeline.value, ", and its primary, ", primary.where(), ", on ",
                 identity.timeline.value, ": which of them is right is for a person to say")));
  if (identity.timeline == facts.timeline) return std::optional<StandbyFacts>();
  TRY_ASSIGN(std::string text, primary.history(identity.timeline));
  TRY_ASSIGN(pg::TimelineHistory history, pg::TimelineHistory::parse(identity.timeline, text));
  if (history.contains(facts.timeline, facts.known)) return std::optional<StandbyFacts>();
  const auto left = history.end_of(facts.timeline);
  return std::optional(told(facts, StandbyState::beyond_repair,
                            cat("has replayed timeline ", facts.timeline.value, " to ",
                                facts.known.to_string(), ", which its primary's history ",
                                left ? cat("left at ", left->to_string()) : std::string("does not have"))));
}

// What the repository holds ends somewhere; from there on the primary has to have it.
Status check_it_will_stream(const RecloneRequest& request, const RestorePlan& plan, const StopToken& stop) {
  TRY_ASSIGN(pg::ReplicationClient primary,
             pg::ReplicationClient::connect(request.primary, connect_options(&stop)));
  const SegmentSize size = plan.reach.path.segment_size;
  const Lsn from{plan.reach.path.end.value / size.bytes * size.bytes};
  TRY_ASSIGN(pg::SenderIdentity identity, primary.identify());
  if (from > identity.flushed) return {};
  TRY_ASSIGN(bool sends, primary_sends(primary, from, plan.reach.timeline));
  if (sends) return {};
  return make_error(ErrorKind::precondition, request.data_directory,
                    cat("a standby from backup ", plan.backup.id.text, " would need WAL from ",
                        from.to_string(), " on, which ", primary.where(), " has removed"))
      .with_hint("take a backup first: it begins behind the gap");
}

// At the last moment, of the very server that is about to be stopped: a primary never is.
Status check_is_standby(const std::string& directory, const pg::RunningServer& running,
                        const StopToken& stop) {
  TRY_ASSIGN(bool marked, path_exists(join_path(directory, "standby.signal")));
  auto primary = [&](std::string_view why) {
    return make_error(ErrorKind::precondition, directory, cat(why, ": it is left alone"));
  };
  if (!marked) return primary("holds no standby.signal, so its server is no standby");
  if (running.pid_file.socket_directory.empty()) return primary("its server has no socket to be asked by");
  const std::string conninfo =
      cat("host=", running.pid_file.socket_directory, " port=", running.pid_file.port, " dbname=postgres");
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(conninfo, connect_options(&stop)));
  TRY_ASSIGN(pg::Rows rows, client.query("SELECT pg_is_in_recovery(), current_setting('data_directory')"));
  TRY_ASSIGN(std::string theirs, resolve_path(std::string(rows.text(0, 1))));
  TRY_ASSIGN(std::string ours, resolve_path(directory));
  if (theirs != ours) return primary(cat("the server on its socket is that of ", theirs));
  if (!rows.truth(0, 0)) return primary("its server is not in recovery");
  return {};
}

}  // namespace

std::string_view to_string(StandbyState state) {
  switch (state) {
    case StandbyState::streaming:
      return "streaming";
    case StandbyState::catching_up:
      return "catching_up";
    case StandbyState::beyond_repair:
      return "beyond_repair";
    case StandbyState::unclear:
      break;
  }
  return "unclear";
}

Result<StandbyFacts> look_at_standby(const StandbyQuestion& question) {
  StandbyFacts facts;
  TRY_ASSIGN(bool streams, ask_standby(question, facts));
  if (streams) return told(std::move(facts), StandbyState::streaming, "streams");
  if (facts.conninfo.empty())
    return told(std::move(facts), StandbyState::unclear, "has no primary_conninfo that may be read");
  auto primary = pg::ReplicationClient::connect(facts.conninfo, connect_options(question.stop));
  if (!primary)
    return told(std::move(facts), StandbyState::unclear,
                cat("its primary cannot be asked: ", primary.error().to_string()));
  TRY_ASSIGN(pg::SenderIdentity identity, primary->identify());
  TRY_ASSIGN(auto decided, compare_histories(*primary, identity, facts));
  if (decided) return *std::move(decided);
  const Lsn from{facts.replayed.value / identity.segment_size.bytes * identity.segment_size.bytes};
  const std::string segment =
      SegmentName::containing(facts.timeline, from, identity.segment_size).to_string();
  TRY_ASSIGN(bool sends, primary_sends(*primary, from, facts.timeline));
  if (sends)
    return told(std::move(facts), StandbyState::catching_up,
                cat("does not stream, although its primary has ", segment, ": its log says why"));
  auto own = standby_has_more(question);
  if (!own || *own)
    return told(std::move(facts), own ? StandbyState::catching_up : StandbyState::unclear,
                own ? std::string("has WAL of its own that it has not replayed yet")
                    : cat("whether it has WAL of its own cannot be seen: ", own.error().to_string()));
  auto stored = repository_has(question, from);
  if (!stored)
    return told(std::move(facts), StandbyState::unclear,
                cat("its primary has removed ", segment,
                    ", and the repository cannot be asked: ", stored.error().to_string()));
  if (*stored)
    return told(std::move(facts), StandbyState::catching_up,
                cat("its primary has removed ", segment, ", the repository has it: see its restore_command"));
  return told(std::move(facts), StandbyState::beyond_repair,
              cat("needs ", segment, ", which neither its primary nor the repository has"));
}

Result<RecloneOutcome> reclone_standby(const RecloneRequest& request, Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(std::optional<pg::RunningServer> running, pg::running_server(request.data_directory));
  StandbyRequest creation;
  RestoreOptions& options = creation.restore;
  options.location = request.location;
  options.standby = StandbySettings{request.primary, request.slot, false};
  options.directory = request.data_directory;
  options.replace = true;
  options.stops_server = true;
  options.archive = ArchiveChoice::keep;
  options.program = request.program;
  options.pg_bin = request.pg_bin;
  options.spool = request.spool;
  options.jobs = request.jobs;
  options.start = true;
  options.recovery_timeout_ms = request.stream_timeout_ms;
  if (running) {
    options.port = running->pid_file.port;
    if (!running->pid_file.socket_directory.empty())
      options.socket_directory = running->pid_file.socket_directory;
  }
  TRY_ASSIGN(RestorePlan plan, plan_standby(creation, reporter, stop));
  TRY(check_it_will_stream(request, plan, stop));
  if (running) {
    TRY(check_is_standby(request.data_directory, *running, stop));
    reporter.note(NoteLevel::info, cat("stopping the standby, process ", running->pid_file.pid));
    TRY(pg::stop_server(*running, pg::StopMode::fast, kStopServerMs, &stop));
  }
  auto made = create_standby(creation, reporter, stop);
  if (!made) {
    Error error = std::move(made).error();
    error.hint +=
        cat(error.hint.empty() ? "" : "; ", "the standby of ", request.data_directory, " is stopped");
    return error;
  }
  return RecloneOutcome{made->restored.kept, made->restored.plan.backup.id.text, made->streaming,
                        made->restored.notes};
}

}  // namespace lifeboat::ops
