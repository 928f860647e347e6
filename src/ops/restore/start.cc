#include "ops/restore/start.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "ops/restore/config_text.h"
#include "ops/restore/next_command.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kConfigLimit = 16 << 20;

constexpr int64_t kAskTimeoutMs = 30'000;
constexpr int64_t kAgainMs = 3'600'000;
constexpr int64_t kNoLimitMs = 365ll * 24 * 3600 * 1000;
constexpr uint64_t kWalBlock = 8192;      // XLOG_BLCKSZ of every distribution's build
constexpr uint64_t kLongPageHeader = 40;  // of a segment's first page; other pages have 24 bytes
constexpr std::string_view kLogName = "startup.log";

double seconds_since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

class Starter {
 public:
  Starter(const RestoreOptions& options, const repo::Manifest& manifest, RestoreOutcome& outcome,
          Reporter& reporter, StopToken& stop)
      : options_(options),
        manifest_(manifest),
        outcome_(outcome),
        plan_(outcome.plan),
        reporter_(reporter),
        stop_(stop) {}

  // Once more, without judging where recovery ended. As configured, unless that is nullopt.
  Status again(const pg::LaunchOptions& launch, const std::optional<pg::LaunchOptions>& configured) {
    TRY(check_socket_free(launch.socket_directory, launch.port));
    RecoveryResult result = outcome_.recovery.value_or(RecoveryResult{});
    result.port = launch.port;
    result.socket_directory = launch.socket_directory;
    result.log_file = launch.log_file;
    role_ = launch.role;
    TRY_ASSIGN(pg::PgServer server,
               configured ? answering_as_configured(*configured, launch) : answering(launch));
    TRY_ASSIGN(pg::ServerState state, server.state());
    if (options_.accepting) options_.accepting(result.port, result.socket_directory);
    if (options_.promoted && state.phase == pg::ServerPhase::ready) TRY(follow_up(server));
    result.phase = state.phase;
    result.pid = server.pid();
    if (state.timeline.value != 0) result.timeline = state.timeline;
    outcome_.recovery = std::move(result);
    outcome_.next_command = after_recovery_command(plan_, *outcome_.recovery, role_);
    server.release();
    return {};
  }

  // As the configuration says; pg_ctl would start it so.
  Result<pg::LaunchOptions> configured(pg::LaunchOptions launch) {
    launch.log_mode = pg::LogMode::as_configured;
    TRY_ASSIGN(launch.listen_addresses, effective("listen_addresses"));
    return launch;
  }

  Status run() {
    TRY_ASSIGN(pg::LaunchOptions launch, prepare());
    TRY(check_socket_free(launch.socket_directory, launch.port));
    // It is checked where recovery ended before it is promoted (R6).
    if (plan_.action == pg::TargetAction::promote)
      launch.settings.emplace_back("recovery_target_action", "pause");
    int port = launch.port;
    std::string sockets = launch.socket_directory;
    std::string log = launch.log_file;
    role_ = launch.role;
    TRY_ASSIGN(pg::PgServer server, pg::PgServer::start(std::move(launch)));
    TRY_ASSIGN(pg::ServerState state, watch(server, port, sockets));
    outcome_.recovery = RecoveryResult{
        state.phase, state.replayed, state.last_commit, state.timeline, port, sockets, log, server.pid()};
    TRY(judge(server, state));
    TRY(validate(server, state));
    if (state.phase == pg::ServerPhase::paused) {
      if (plan_.action == pg::TargetAction::promote) {
        TRY(promote(server));
      } else if (auto locked = locked_tables(server)) {
        outcome_.recovery->locked = std::move(*locked);
      } else {
        outcome_.notes.push_back(
            cat("which tables are locked at the target is not known: ", locked.error().to_string()));
      }
    }
    if (outcome_.recovery->phase == pg::ServerPhase::ready) {
      if (options_.promoted) TRY(follow_up(server));
      if (options_.medium == RestoreMedium::copy) note_restart(server.options());
    }
    outcome_.next_command = after_recovery_command(plan_, *outcome_.recovery, role_);
    outcome_.copy_out_commands = copy_out_commands(plan_, *outcome_.recovery, role_);
    server.release();
    return {};
  }

  Result<pg::LaunchOptions> prepare() {
    if (!plan_.pg_bin) {
      return make_error(ErrorKind::not_found, cat("PostgreSQL ", plan_.lineage.major), "is not on this host");
    }
    pg::LaunchOptions launch;
    launch.bin = *plan_.pg_bin;
    launch.data_directory = directory();
    launch.log_file = join_path(directory(), kLogName);
    launch.role = bootstrap_role(manifest_);
    launch.stop = &stop_;
    launch.settings = options_.start_settings;
    if (options_.port) {
      launch.port = *options_.port;
    } else {
      TRY_ASSIGN(std::string port, effective("port"));
      launch.port = static_cast<int>(parse_u64(port).value_or(5432));
    }
    if (options_.socket_directory) {
      launch.socket_directory = *options_.socket_directory;
    } else {
      TRY_ASSIGN(std::string sockets, effective("unix_socket_directories"));
      launch.socket_directory = std::string(trim(split(sockets, ',')[0]));
      if (launch.socket_directory.empty()) launch.socket_directory = "/tmp";
    }
    if (plan_.replace || options_.standby) {
      TRY_ASSIGN(launch.listen_addresses, effective("listen_addresses"));
      if (std::string config = outside_config_file(plan_, manifest_); !config.empty()) {
        launch.settings.emplace_back("config_file", config);
      }
    }
    return launch;
  }

 private:
  Result<std::string> effective(std::string_view name) {
    return effective_setting(plan_, manifest_, name, stop_);
  }

  const std::string& directory() const { return plan_.placements.front().final_path; }

  Result<pg::PgServer> answering(const pg::LaunchOptions& launch) {
    TRY_ASSIGN(pg::PgServer server, pg::PgServer::start(launch));
    pg::PgServer::WaitFor wait;
    wait.read_only = true;
    wait.paused = true;
    TRY_ASSIGN(pg::ServerState state, server.wait(wait, kAgainMs));
    if (state.phase != pg::ServerPhase::ended) return server;
    return make_error(ErrorKind::failed, directory(), "the server ended when it was started again")
        .with_cause(state.last_error)
        .with_hint(cat("its log is ", launch.log_file));
  }

  // Not to be down for want of a port that another server has, or of a place for its log.
  Result<pg::PgServer> answering_as_configured(const pg::LaunchOptions& configured,
                                               const pg::LaunchOptions& launch) {
    auto server = answering(configured);
    if (server || server.error().kind != ErrorKind::failed) return server;
    outcome_.notes.push_back(cat("the server does not start as configured, but on its Unix socket only: ",
                                 server.error().to_string()));
    return answering(launch);
  }

  // No reason to end a server that answers.
  void note_restart(const pg::LaunchOptions& launch) {
    Status left = leave_restart_to_configuration(launch);
    if (left) return;
    outcome_.notes.push_back(
        cat("pg_ctl restart will start the server as it was started here, until it is stopped and "
            "started by itself: ",
            left.error().to_string()));
  }

  // pg_ctl restart takes its options from there (CreateOptsFile in src/backend/postmaster/postmaster.c,
  // read_post_opts in src/bin/pg_ctl/pg_ctl.c), and those that only the watching needed would stay for ever.
  Status leave_restart_to_configuration(const pg::LaunchOptions& launch) {
    std::vector<std::string> options = {"-D", directory()};
    if (options_.port) options.insert(options.end(), {"-p", cat(launch.port)});
    if (options_.socket_directory) options.insert(options.end(), {"-k", launch.socket_directory});
    if (std::string config = outside_config_file(plan_, manifest_); !config.empty())
      options.insert(options.end(), {"-c", cat("config_file=", config)});
    std::string line = launch.bin.program("postgres");
    for (const std::string& option : options) line += cat(" \"", option, "\"");
    const std::string path = join_path(directory(), "postmaster.opts");
    TRY(write_file_durable(path, as_bytes(cat(line, "\n")), 0600));
    TRY_ASSIGN(std::string addresses, effective("listen_addresses"));
    std::string socket_only =
        addresses == launch.listen_addresses ? "" : "answers on its Unix socket only and ";
    outcome_.notes.push_back(
        cat("until it is restarted (pg_ctl restart) the server ", socket_only, "logs to ", launch.log_file));
    return {};
  }

  Result<pg::ServerState> watch(pg::PgServer& server, int port, const std::string& sockets) {
    int64_t began = Clock::system().monotonic_us();
    bool replaying = false;
    bool answers = !options_.accepting;
    pg::PgServer::WaitFor wait;
    wait.paused = true;
    wait.ready = true;
    int64_t limit = options_.recovery_timeout_ms > 0 ? options_.recovery_timeout_ms : kNoLimitMs;
    auto state = server.wait(wait, limit, [&](const pg::ServerState& now) {
      if (options_.watching) options_.watching(now);
      if (!replaying && now.phase != pg::ServerPhase::starting) {
        replaying = true;
        outcome_.phases.start = seconds_since(began);
        began = Clock::system().monotonic_us();
      }
      if (!answers && (now.phase == pg::ServerPhase::read_only || now.phase == pg::ServerPhase::paused ||
                       now.phase == pg::ServerPhase::ready)) {
        answers = true;
        options_.accepting(port, sockets);
      }
      uint64_t done = now.replayed > plan_.replay_from ? now.replayed.value - plan_.replay_from.value : 0;
      reporter_.progress("replaying WAL", std::min(done, plan_.reach.wal_bytes), plan_.reach.wal_bytes,
                         ProgressUnit::bytes);
    });
    outcome_.phases.recovery = seconds_since(began);
    return state;
  }

  // Did recovery end where the preflight said?
  Status judge(pg::PgServer& server, const pg::ServerState& state) {
    std::string log = server.options().log_file;
    if (state.phase == pg::ServerPhase::ended) {
      if (state.stopped_at_target && plan_.action == pg::TargetAction::shutdown) return {};
      return make_error(ErrorKind::failed, directory(), "the server ended during recovery")
          .with_cause(state.last_error)
          .with_hint(cat("its log is ", log));
    }
    if (state.phase != pg::ServerPhase::paused) {
      // It must not go on as if it were whole.
      std::string stopped = server.stop(pg::StopMode::fast) ? "it was stopped" : "stopping it failed";
      return make_error(ErrorKind::check_failed, directory(),
                        cat("the server promoted instead of pausing at ", plan_.reach.stop.to_string(), "; ",
                            stopped))
          .with_hint(cat("the log says where WAL ended: ", log));
    }
    Lsn expected = plan_.reach.stop;
    if (options_.expected_stop) {
      TRY_ASSIGN(expected, options_.expected_stop());
    }
    if (same_wal_position(state.replayed, expected)) return {};
    Error error =
        make_error(ErrorKind::check_failed, directory(),
                   cat("recovery is paused at ", state.replayed.to_string(), ", expected was ",
                       expected.to_string(), "; it is not promoted"))
            .with_hint(cat("the server runs and can be queried; its log says why it stopped: ", log));
    server.release();
    return error;
  }

  Status follow_up(pg::PgServer& server) {
    const int64_t began = Clock::system().monotonic_us();
    Status done = options_.promoted(server);
    outcome_.phases.follow_up = seconds_since(began);
    if (!done) server.release();
    return done;
  }

  // By whoever wanted to look before the promotion; a server that is not as it should be goes on answering.
  Status validate(pg::PgServer& server, const pg::ServerState& state) {
    if (!options_.validate || state.phase != pg::ServerPhase::paused) return {};
    const int64_t began = Clock::system().monotonic_us();
    Status looked_at = options_.validate(server, plan_);
    outcome_.phases.validate = seconds_since(began);
    if (!looked_at) server.release();
    return looked_at;
  }

  // The startup process holds the locks of transactions that it has replayed in part
  // (StandbyAcquireAccessExclusiveLock in src/backend/storage/ipc/standby.c). Names are asked of each
  // database; pg_class can be read whatever is locked.
  Result<std::vector<LockedTable>> locked_tables(pg::PgServer& server) {
    constexpr std::string_view kLocks =
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'startup'"
        " AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted";
    std::vector<LockedTable> locked;
    TRY_ASSIGN(pg::PgClient client, server.connect());
    TRY_ASSIGN(pg::Rows databases,
               client.query(cat("SELECT datname FROM pg_database WHERE oid IN (SELECT l.database", kLocks,
                                ") ORDER BY 1")));
    for (int row = 0; row < databases.size(); ++row) {
      const std::string database(databases.text(row, 0));
      TRY_ASSIGN(pg::PgClient inside, server.connect(database));
      TRY_ASSIGN(
          pg::Rows tables,
          inside.query(cat("SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c"
                           " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm')"
                           " AND n.nspname !~ '^pg_(catalog|toast)' AND c.oid IN (SELECT l.relation",
                           kLocks,
                           " AND l.database = (SELECT oid FROM pg_database WHERE datname ="
                           " current_database())) ORDER BY 1")));
      for (int table = 0; table < tables.size(); ++table) {
        locked.push_back({database, std::string(tables.text(table, 0))});
      }
    }
    return locked;
  }

  Status promote(pg::PgServer& server) {
    int64_t began = Clock::system().monotonic_us();
    TRY(server.promote());
    TRY_ASSIGN(pg::ServerState state, server.state());
    outcome_.recovery->phase = state.phase;
    outcome_.recovery->timeline = state.timeline;
    outcome_.phases.promote = seconds_since(began);
    // It is promoted, whatever comes of this.
    if (Status forgotten = forget_target(server); !forgotten)
      outcome_.notes.push_back(cat("recovery_target_* stay in postgresql.auto.conf, and should be reset: ",
                                   forgotten.error().to_string()));
    return {};
  }

  // The server in force keeps them until it is started again, and says so as pending_restart.
  Status forget_target(pg::PgServer& server) {
    const std::string path = join_path(directory(), "postgresql.auto.conf");
    TRY_ASSIGN(std::string text, read_text(path, kConfigLimit));
    const std::string kept = pg::with_empty_target(text);
    if (kept == text) return {};
    TRY(rewrite_file_durable(path, as_bytes(kept)));
    TRY_ASSIGN(pg::PgClient client, server.connect());
    TRY(client.exec("SELECT pg_reload_conf()"));
    return {};
  }

  const RestoreOptions& options_;
  const repo::Manifest& manifest_;
  RestoreOutcome& outcome_;
  const RestorePlan& plan_;
  Reporter& reporter_;
  StopToken& stop_;
  std::string role_;
};

}  // namespace

std::string outside_config_file(const RestorePlan& plan, const repo::Manifest& manifest) {
  if (!plan.replace) return "";
  for (const repo::ExternalFile& file : manifest.external_files) {
    if (file.setting == "config_file" && access(file.path.c_str(), R_OK) == 0) return file.path;
  }
  return "";
}

Result<std::string> effective_setting(const RestorePlan& plan, const repo::Manifest& manifest,
                                      std::string_view name, const StopToken& stop) {
  const std::string& directory = plan.placements.front().final_path;
  ProcessSpec spec;
  spec.argv = {plan.pg_bin->program("postgres"), "-C", std::string(name), "-D", directory};
  if (std::string config = outside_config_file(plan, manifest); !config.empty()) {
    spec.argv.push_back(cat("--config_file=", config));
  }
  spec.env = {{"LC_ALL", "C"}, {"PGDATA", std::nullopt}, {"PGPORT", std::nullopt}};
  RunOptions run;
  run.timeout_ms = kAskTimeoutMs;
  run.stop = &stop;
  TRY_ASSIGN(ProcessOutcome outcome, run_process(spec, run));
  if (!outcome.ok()) {
    return make_error(ErrorKind::config, directory, "PostgreSQL does not accept the configuration")
        .with_cause(std::string(trim(outcome.err)));
  }
  return std::string(trim(outcome.out));
}

namespace {

// As CreateLockFile judges; who cannot be read is taken to live.
bool lock_is_held(const std::string& path, pid_t ours) {
  auto text = read_text(path, 4096);
  if (!text) return text.error().kind != ErrorKind::not_found;
  auto holder = parse_i64(trim(std::string_view(*text).substr(0, text->find('\n'))));
  if (!holder || *holder == 0) return true;
  // The lock of a standalone backend has its process negative.
  const auto pid = static_cast<pid_t>(*holder < 0 ? -*holder : *holder);
  if (pid == ours || pid == getpid() || pid == getppid()) return false;
  return kill(pid, 0) == 0 || (errno != ESRCH && errno != EPERM);
}

}  // namespace

Status check_socket_free(const std::string& directory, int port, pid_t ours) {
  std::string socket = cat(directory, "/.s.PGSQL.", port);
  if (!lock_is_held(cat(socket, ".lock"), ours)) return {};
  return make_error(ErrorKind::precondition, socket, "another server uses this port and socket directory")
      .with_hint(
          "choose others with --port and --socket-dir; one that was killed just now may still be ending: try "
          "again");
}

std::string recorded_setting(const repo::Manifest& manifest, std::string_view name) {
  auto found =
      std::ranges::find_if(manifest.settings, [&](const repo::Setting& s) { return s.name == name; });
  return found == manifest.settings.end() ? "" : found->value;
}

std::string bootstrap_role(const repo::Manifest& manifest) {
  return recorded_setting(manifest, "lifeboat.bootstrap_role");
}

class StartAgain::Impl {
 public:
  Impl(const RestoreOptions& options, repo::Manifest manifest, RestoreOutcome& outcome, Reporter& reporter,
       StopToken& stop)
      : manifest_(std::move(manifest)), starter_(options, manifest_, outcome, reporter, stop) {}

  Status prepare(StartedAs as) {
    TRY_ASSIGN(launch_, starter_.prepare());
    if (as == StartedAs::watched) return {};
    TRY_ASSIGN(configured_, starter_.configured(launch_));
    return {};
  }
  Status start() { return starter_.again(launch_, configured_); }

 private:
  const repo::Manifest manifest_;
  Starter starter_;
  pg::LaunchOptions launch_;
  std::optional<pg::LaunchOptions> configured_;
};

Result<StartAgain> StartAgain::prepare(const RestoreSource& source, const RestoreOptions& options,
                                       StartedAs as, RestoreOutcome& outcome, Reporter& reporter,
                                       StopToken& stop) {
  TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(source.repo(), outcome.plan.backup.id));
  auto impl = std::make_unique<Impl>(options, std::move(manifest), outcome, reporter, stop);
  TRY(impl->prepare(as));
  return StartAgain(std::move(impl));
}

StartAgain::StartAgain(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StartAgain::StartAgain(StartAgain&&) noexcept = default;
StartAgain::~StartAgain() = default;

Status StartAgain::start() {
  return impl_->start();
}

Result<pg::LaunchOptions> standby_launch(const RestoreSource& source, const RestoreOptions& options,
                                         RestoreOutcome& outcome, Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(source.repo(), outcome.plan.backup.id));
  Starter starter(options, manifest, outcome, reporter, stop);
  TRY_ASSIGN(pg::LaunchOptions launch, starter.prepare());
  TRY(check_socket_free(launch.socket_directory, launch.port));
  return starter.configured(std::move(launch));
}

bool same_wal_position(Lsn a, Lsn b) {
  if (a == b) return true;
  auto [low, high] = std::minmax(a.value, b.value);
  return low % kWalBlock == 0 && high - low <= kLongPageHeader;
}

Status start_restored(const RestoreSource& source, const RestoreOptions& options, RestoreOutcome& outcome,
                      Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(source.repo(), outcome.plan.backup.id));
  return Starter(options, manifest, outcome, reporter, stop).run();
}

}  // namespace lifeboat::ops
