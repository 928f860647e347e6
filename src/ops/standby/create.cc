#include "ops/standby/create.h"

#include "ops/restore/start.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kPollUs = 100'000;
constexpr int64_t kStreamMs = 300'000;  // when nothing was said
constexpr int64_t kNoLimitMs = 365ll * 24 * 3600 * 1000;

double seconds_since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

class Creation {
 public:
  Creation(const StandbyRequest& request, Reporter& reporter, StopToken& stop)
      : options_(request.restore), wanted_(*request.restore.standby), reporter_(reporter), stop_(stop) {}

  Result<RestorePlan> plan() {
    TRY_ASSIGN(source_, open_restore(options_));
    if (!wanted_.conninfo.empty()) TRY(meet_primary());
    return plan_restore(source_, options_, reporter_, stop_);
  }

  Result<StandbyOutcome> run() {
    TRY_ASSIGN(RestorePlan plan, this->plan());
    TRY(make_slot());
    if (Status restored = restore(std::move(plan)); !restored)
      return without_slot(std::move(restored).error());
    if (options_.start) TRY(start());
    return std::move(outcome_);
  }

 private:
  Status meet_primary() {
    pg::ConnectOptions connect;
    connect.stop = &stop_;
    TRY_ASSIGN(pg::ReplicationClient primary, pg::ReplicationClient::connect(wanted_.conninfo, connect));
    TRY_ASSIGN(pg::SenderIdentity identity, primary.identify());
    const Lineage& lineage = source_.repo().lineage();
    if (identity.system_id != lineage.system_id || identity.major != lineage.major) {
      return make_error(ErrorKind::foreign, primary.where(),
                        cat("is system ", identity.system_id.to_string(), " of PostgreSQL ", identity.major,
                            ", the backup is of ", lineage.to_string()))
          .with_hint("name the right cluster with --cluster, or the right server with --primary");
    }
    outcome_.primary = identity;
    primary_.emplace(std::move(primary));
    return {};
  }

  Status make_slot() {
    if (!primary_ || wanted_.slot.empty()) return {};
    TRY_ASSIGN(pg::ReplicationSlot before, primary_->read_slot(wanted_.slot));
    if (before.exists && before.restart_lsn.valid()) return {};
    // One that holds no WAL, because it never did or was given up, loses nothing when it is made again, and
    // would let go what the standby needs meanwhile.
    if (before.exists) TRY(primary_->drop_slot(wanted_.slot));
    TRY_ASSIGN(outcome_.slot_created, primary_->create_slot(wanted_.slot));
    return {};
  }

  Status restore(RestorePlan plan) {
    primary_.reset();
    for (const std::string& warning : plan.warnings) reporter_.note(NoteLevel::warning, warning);
    TRY_ASSIGN(outcome_.restored, execute_restore(source_, options_, std::move(plan), reporter_, stop_));
    return {};
  }

  Error without_slot(Error error) {
    if (!outcome_.slot_created) return error;
    Status dropped = drop_slot();
    if (!dropped) {
      error.hint += cat(error.hint.empty() ? "" : "; ", "the slot ", wanted_.slot,
                        " was made and is still there, where it holds WAL: ", dropped.error().to_string());
    }
    return error;
  }

  Status drop_slot() {
    TRY_ASSIGN(pg::ReplicationClient primary, pg::ReplicationClient::connect(wanted_.conninfo, {}));
    return primary.drop_slot(wanted_.slot);
  }

  Status start() {
    TRY_ASSIGN(pg::LaunchOptions launch,
               standby_launch(source_, options_, outcome_.restored, reporter_, stop_));
    RecoveryResult result;
    result.port = launch.port;
    result.socket_directory = launch.socket_directory;
    result.log_file = launch.log_file;
    const int64_t began = Clock::system().monotonic_us();
    TRY_ASSIGN(pg::PgServer server, pg::PgServer::start(std::move(launch)));
    pg::PgServer::WaitFor wait;
    wait.read_only = true;
    auto waited = server.wait(wait, kNoLimitMs);
    if (!waited) {
      server.release();
      return std::move(waited).error().with_hint(cat("the standby goes on by itself; its log is ",
                                                     outcome_.restored.plan.placements.front().final_path,
                                                     "/startup.log"));
    }
    const pg::ServerState state = *waited;
    if (state.phase == pg::ServerPhase::ended) {
      return make_error(ErrorKind::failed, server.options().data_directory, "the standby ended at its start")
          .with_cause(state.last_error)
          .with_hint(cat("its log is ", server.options().log_file));
    }
    outcome_.restored.phases.start = seconds_since(began);
    result.phase = state.phase;
    result.replayed = state.replayed;
    result.pid = server.pid();
    outcome_.restored.recovery = result;
    Status streams = wanted_.conninfo.empty() ? Status() : wait_until_it_streams(server, began);
    server.release();
    return streams;
  }

  Status wait_until_it_streams(pg::PgServer& server, int64_t began) {
    const int64_t limit_ms = options_.recovery_timeout_ms > 0 ? options_.recovery_timeout_ms : kStreamMs;
    TRY_ASSIGN(pg::PgClient client, server.connect());
    for (;;) {
      TRY(stop_.check());
      TRY_ASSIGN(std::optional<std::string> recovering, client.value("SELECT pg_is_in_recovery()"));
      if (recovering.value_or("") != "t") {
        return make_error(ErrorKind::check_failed, server.options().data_directory,
                          "is no standby any more: it was promoted")
            .with_hint(cat("its log says why: ", server.options().log_file));
      }
      TRY_ASSIGN(pg::Rows rows,
                 client.query("SELECT status, sender_host || ':' || sender_port, coalesce(slot_name, ''),"
                              " pg_last_wal_receive_lsn(), received_tli FROM pg_stat_wal_receiver"));
      if (rows.size() == 1 && rows.text(0, 0) == "streaming") {
        Streaming& streaming = outcome_.streaming.emplace();
        streaming.sender = rows.text(0, 1);
        streaming.slot = rows.text(0, 2);
        streaming.received = Lsn::parse(rows.text(0, 3)).value_or(Lsn{});
        streaming.timeline = {static_cast<uint32_t>(rows.u64(0, 4).value_or(0))};
        streaming.seconds = seconds_since(began);
        outcome_.restored.recovery->replayed = streaming.received;
        outcome_.restored.next_command.clear();  // it is started
        return {};
      }
      if (seconds_since(began) * 1000 > static_cast<double>(limit_ms)) {
        TRY_ASSIGN(pg::ServerState state, server.state());
        return make_error(ErrorKind::timeout, server.options().data_directory,
                          cat("runs, but does not stream from the primary after ",
                              format_seconds(seconds_since(began))))
            .with_cause(state.last_error)
            .with_hint(cat("it goes on trying; its log says why: ", server.options().log_file));
      }
      reporter_.progress("waiting until it streams", 0, 0, ProgressUnit::items);
      Clock::system().sleep_us(kPollUs);
    }
  }

  const RestoreOptions& options_;
  const StandbySettings& wanted_;
  Reporter& reporter_;
  StopToken& stop_;
  RestoreSource source_;
  std::optional<pg::ReplicationClient> primary_;
  StandbyOutcome outcome_;
};

}  // namespace

Result<RestorePlan> plan_standby(const StandbyRequest& request, Reporter& reporter, StopToken& stop) {
  return Creation(request, reporter, stop).plan();
}

Result<StandbyOutcome> create_standby(const StandbyRequest& request, Reporter& reporter, StopToken& stop) {
  return Creation(request, reporter, stop).run();
}

}  // namespace lifeboat::ops
