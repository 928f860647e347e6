#include "ops/restore/instant.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "ops/mount/finish.h"
#include "ops/mount/mount.h"
#include "ops/mount/status.h"
#include "ops/restore/config_text.h"
#include "ops/restore/lost_server.h"
#include "ops/restore/replay_check.h"
#include "ops/restore/replayed_wal.h"
#include "ops/restore/start.h"
#include "ops/wal/commands.h"
#include "ops/wal/gate.h"
#include "pg/client/client.h"
#include "pg/server/postmaster.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/files.h"
#include "util/memory.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kPollUs = 100'000;
constexpr int64_t kStopMs = 600'000;
constexpr int64_t kFinishMs = 120'000;
// What a process has done last is seen by then.
constexpr int64_t kGoneUs = 500'000;
constexpr int64_t kProblemUs = 20'000'000;
constexpr uint64_t kConfigLimit = 16 << 20;

double seconds_since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

// One that is dead and mounted cannot be resolved itself.
Result<std::string> real_directory(const std::string& directory) {
  auto real = resolve_path(directory);
  if (real) return real;
  TRY_ASSIGN(std::string parent, resolve_path(parent_path(directory)));
  return join_path(parent, base_name(directory));
}

// Its mount is gone and finished, its server has not been seen running there.
Result<std::optional<MountState>> switched_already(const std::string& directory) {
  TRY_ASSIGN(bool mounted, is_mounted(directory));
  if (mounted) return std::optional<MountState>();
  TRY_ASSIGN(std::optional<MountState> state, read_state(directory));
  if (state) return std::optional<MountState>();
  return read_instant_mark(directory);
}

// Is what is there what is asked for?
Status check_same(const InstantOptions& options, const std::string& directory, const MountState& state) {
  std::string there;
  if (!state.instant) {
    there = "a mount that is not of an instant restore";
  } else if (options.target_given && state.instant->target != options.restore.target.to_string()) {
    there = cat("an instant restore to ", state.instant->target);
  } else if (options.restore.backup && *options.restore.backup != state.backup) {
    there = cat("an instant restore of backup ", state.backup.text);
  }
  if (there.empty()) return {};
  return make_error(ErrorKind::precondition, directory, cat("holds ", there))
      .with_hint("go on with that, or give a new or empty directory with --to");
}

class Instant {
 public:
  Instant(const InstantOptions& options, std::string directory, int64_t began_us, Reporter& reporter,
          StopToken& stop)
      : options_(options),
        directory_(std::move(directory)),
        began_us_(began_us),
        reporter_(reporter),
        stop_(stop) {}

  Result<InstantOutcome> run() {
    TRY_ASSIGN(std::optional<MountState> plain, switched_already(directory_));
    if (plain) {
      TRY(open(std::move(*plain)));
      TRY(listen_where_asked());
      TRY(start_plain());
    } else {
      TRY(mount());
      TRY_ASSIGN(std::optional<MountState> state, read_mounted_state(directory_));
      if (!state) return make_error(ErrorKind::failed, directory_, "the mount does not answer");
      TRY(open(std::move(*state)));
      TRY(listen_where_asked());
      TRY(start());
      TRY(wait_until_complete());
      TRY(change_over());
    }
    TRY(leave_nothing());
    outcome_.notes.insert(outcome_.notes.end(), restored_.notes.begin(), restored_.notes.end());
    outcome_.copy_out_commands = restored_.copy_out_commands;
    outcome_.next_command = restored_.next_command;
    return std::move(outcome_);
  }

 private:
  // --- mounted by whom it was, or again
  Status mount() {
    TRY_ASSIGN(bool mounted, is_mounted(directory_));
    if (mounted && !mount_is_dead(directory_)) {
      reporter_.note(NoteLevel::info,
                     cat(directory_, " is mounted already; going on with it, and its --hydrate-rate"));
      return {};
    }
    if (mounted) {
      // The process that served it is gone.
      TRY(end_lost_server(directory_));
    }
    TRY_ASSIGN(std::optional<MountState> state, look_at_mount(directory_, *options_.mounter));
    if (!state) return make_error(ErrorKind::internal, directory_, "the skeleton has no state");
    TRY(check_same(options_, directory_, *state));
    return options_.start_mount(directory_);
  }

  // What the state says, as the starting of a restored directory wants it.
  Status open(MountState state) {
    outcome_.state = std::move(state);
    TRY(check_same(options_, directory_, outcome_.state));
    const InstantRestore& instant = *outcome_.state.instant;
    start_options_ = options_.restore;
    start_options_.promoted = {};  // not on the mount
    start_options_.medium = RestoreMedium::mount;
    start_options_.location = outcome_.state.location;
    start_options_.location.patience = options_.restore.location.patience;
    start_options_.lineage = outcome_.state.lineage;
    start_options_.backup = outcome_.state.backup;
    TRY_ASSIGN(source_, open_restore(start_options_));
    RestorePlan& plan = restored_.plan;
    plan.cluster = outcome_.state.location.cluster;
    plan.lineage = outcome_.state.lineage;
    plan.owner = outcome_.state.owner;
    TRY_ASSIGN(plan.backup, repo::read_card(source_.repo(), outcome_.state.backup));
    plan.action = outcome_.state.action;
    plan.reach.stop = instant.stop;
    plan.reach.wal_bytes = instant.wal_bytes;
    plan.replay_from = instant.replay_from;
    TRY_ASSIGN(pg::PgBin bin, pg::find_pg_bin(plan.lineage.major, instant.pg_bin));
    plan.pg_bin = std::move(bin);
    Placement data;
    data.final_path = directory_;
    data.staging_path = directory_;
    plan.placements.push_back(std::move(data));
    return {};
  }

  // An earlier call may have ended because that place was taken: what is asked for now counts.
  Status listen_where_asked() {
    const std::string path = join_path(directory_, "postgresql.auto.conf");
    TRY_ASSIGN(std::string text, read_text(path, kConfigLimit));
    std::string added;
    auto ask = [&](std::string_view name, const std::string& value) {
      if (last_setting(text, name) != value) added += cat(name, " = ", pg::quote_setting(value), "\n");
    };
    if (auto port = options_.restore.port) ask("port", cat(*port));
    if (auto sockets = options_.restore.socket_directory) ask("unix_socket_directories", *sockets);
    return added.empty() ? Status() : rewrite_file_durable(path, as_bytes(text + added));
  }

  void announce(int port, const std::string& sockets, bool recovering) {
    const double seconds = seconds_since(began_us_);
    if (recovering) outcome_.accepting_seconds = seconds;
    if (options_.accepting) options_.accepting({seconds, port, sockets, recovering});
  }

  Status start() {
    TRY(remove_stale_pid_file(directory_));
    TRY_ASSIGN(std::optional<pg::RunningServer> running, pg::running_server(directory_));
    // A server takes the file away when its recovery has ended.
    TRY_ASSIGN(bool recovering, path_exists(join_path(directory_, "recovery.signal")));
    if (running && recovering) {
      // Whoever watched its recovery, to promote it in the end, is gone.
      reporter_.note(NoteLevel::info,
                     "the server of an earlier call is started again, to watch its recovery");
      TRY(pg::stop_server(*running, pg::StopMode::fast, kStopMs, &stop_));
      running.reset();
    }
    if (running) {
      // Somebody may be working with it; it goes on until the switch.
      reporter_.note(NoteLevel::info,
                     cat("the server of an earlier call runs, process ", running->pid_file.pid,
                         ", and listens where it did until the switch"));
      port_ = running->pid_file.port;
      sockets_ = running->pid_file.socket_directory;
      announce(port_, sockets_, false);
      return {};
    }
    start_options_.start_settings = replay_settings();
    TRY(recovering ? recover() : start_recovered());
    outcome_.recovery = restored_.recovery;
    outcome_.recovered_seconds = seconds_since(began_us_);
    port_ = restored_.recovery->port;
    sockets_ = restored_.recovery->socket_directory;
    return {};
  }

  Status start_recovered() {
    // Of a call that was killed: all of it is replayed.
    TRY(remove_file(join_path(directory_, kWalGateFile)));
    start_options_.accepting = [this](int port, const std::string& sockets) {
      announce(port, sockets, false);
    };
    TRY_ASSIGN(StartAgain next,
               StartAgain::prepare(source_, start_options_, as_, restored_, reporter_, stop_));
    return next.start();
  }

  // Replays behind the reading of WAL, and again where that asks for higher settings.
  Status recover() {
    TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(source_.repo(), outcome_.state.backup));
    TRY_ASSIGN(pg::ControlFile control,
               read_backup_control(source_.repo(), manifest, outcome_.state.lineage.major));
    const InstantRestore& instant = *outcome_.state.instant;
    ReplayCheckOptions check;
    check.directory = directory_;
    check.backup = manifest.card;
    check.timeline = instant.timeline;
    check.stop = instant.stop;
    check.granted = minimums_of(control);
    if (instant.time) {
      check.asked.kind = pg::TargetKind::time;
      check.asked.time = *instant.time;
      check.asked.inclusive = !instant.exclusive;
    }
    TRY_ASSIGN(TempDir placed, TempDir::make());
    if (chmod(placed.path().c_str(), 0755) != 0) return errno_error(errno, placed.path(), "set the mode of");
    PlacingOptions& placing = check.placing.emplace();
    placing.directory = placed / "placed";
    TRY_ASSIGN(placing.owner, owner_of_files(manifest));
    // Of this start alone: who starts the server by hand has no such directory.
    const WalCommandLine line{options_.restore.program, outcome_.state.location, options_.restore.spool,
                              placing.directory};
    start_options_.start_settings.emplace_back("restore_command",
                                               restore_command(line, RestoreCommandFor::recovery));
    // Names of later segments are given by whoever puts them there.
    start_options_.start_settings.emplace_back("wal_recycle", "off");
    for (;;) {
      TRY_ASSIGN(std::unique_ptr<ReplayCheck> checking, ReplayCheck::begin(*source_.lineage, check));
      start_options_.expected_stop = [&] { return checking->stop(); };
      start_options_.watching = [&](const pg::ServerState& state) { checking->watch(state); };
      start_options_.accepting = [&](int port, const std::string& sockets) {
        announce(port, sockets, true);
        checking->go_on();
      };
      Status recovered = start_restored(source_, start_options_, restored_, reporter_, stop_);
      start_options_.accepting = {};
      start_options_.expected_stop = {};
      start_options_.watching = {};
      if (recovered) return {};
      // The gate ends no server before the reading has ended.
      if (recovered.error().kind == ErrorKind::cancelled || !checking->ended()) return recovered;
      TRY(checking->stop());
      if (checking->raised().empty()) return recovered;
      TRY(raise_settings(manifest, checking->raised()));
      raise(check.granted, checking->raised());
    }
  }

  // T32.
  Status raise_settings(const repo::Manifest& manifest, const RecoveryMinimums& raised) {
    const std::string path = join_path(directory_, "postgresql.auto.conf");
    TRY_ASSIGN(std::string text, read_text(path, kConfigLimit));
    for (const auto& [name, value] : raised) {
      TRY_ASSIGN(std::string there, effective_setting(restored_.plan, manifest, name, stop_));
      if (parse_i64(there).value_or(0) >= value) continue;
      text += cat(name, " = ", value, "\n");
      outcome_.notes.push_back(
          cat(name, " is raised to ", value, ", the value that the WAL was written under"));
    }
    return rewrite_file_durable(path, as_bytes(text));
  }

  // A page that replay pushes out of shared buffers is written through the mount, and read from there when
  // the next record wants it. What WAL changes stays in memory instead, as far as that goes; until the
  // switch, after which the server has what its configuration says.
  std::vector<std::pair<std::string, std::string>> replay_settings() const {
    auto recorded = repo::read_manifest(source_.repo(), outcome_.state.backup);
    if (!recorded) return {};
    const repo::Manifest& manifest = *recorded;
    auto blocks = parse_u64(recorded_setting(manifest, "shared_buffers"));
    if (!blocks) return {};
    const uint64_t configured = *blocks * manifest.block_size;
    const uint64_t wanted = std::min(configured + kBuffersForWal * outcome_.state.instant->wal_bytes,
                                     memory_at_hand() / kBuffersShare);
    if (wanted <= configured) return {};
    // Huge pages may be set aside for another server here.
    return {{"shared_buffers", cat(wanted >> 10, "kB")}, {"huge_pages", "off"}};
  }

  Status wait_until_complete() {
    int64_t problem_us = 0;  // since when there is one; 0: there is none
    for (;;) {
      if (stop_.stopped()) {
        return make_error(ErrorKind::cancelled, directory_, "stopped by request")
            .with_hint("the server and the mount go on, and so does the same command");
      }
      auto status = read_status(directory_);
      if (!status) {
        TRY_ASSIGN(bool mounted, is_mounted(directory_));
        if (!mounted || !read_again()) {
          return make_error(ErrorKind::failed, directory_, "the process that serves the mount has ended")
              .with_hint(
                  "the same command goes on where it was; what happened stands in lifeboat.mount.log there");
        }
        continue;
      }
      if (status->complete) break;
      // It is tried again over there.
      const int64_t now = Clock::system().monotonic_us();
      if (status->problem.empty()) problem_us = 0;
      if (!status->problem.empty() && problem_us == 0) {
        problem_us = now;
        reporter_.note(NoteLevel::warning, cat("cannot be brought now: ", status->problem));
      }
      if (problem_us != 0 && now - problem_us > kProblemUs) {
        return make_error(ErrorKind::failed, directory_,
                          "not every block can be brought; the server runs on the mount")
            .with_cause(status->problem)
            .with_hint("when that is mended, the same command goes on");
      }
      reporter_.progress("bringing the rest", status->brought, status->total, ProgressUnit::bytes);
      Clock::system().sleep_us(kPollUs);
    }
    outcome_.complete_seconds = seconds_since(began_us_);
    return {};
  }

  // The file is overwritten in place: one look in the middle of that says nothing.
  bool read_again() const {
    for (int i = 0; i < 20; ++i) {
      if (read_status(directory_)) return true;
      Clock::system().sleep_us(10'000);
    }
    return false;
  }

  // --- the switch
  Status change_over() {
    auto status = read_status(directory_);
    if (!status)
      return make_error(ErrorKind::failed, directory_, "the process that serves the mount has ended");
    TRY_ASSIGN(std::optional<pg::RunningServer> running, pg::running_server(directory_));
    std::optional<StartAgain> next;
    if (running) {
      start_as_plain();
      TRY_ASSIGN(StartAgain prepared,
                 StartAgain::prepare(source_, start_options_, as_, restored_, reporter_, stop_));
      next.emplace(std::move(prepared));
      checkpoint();
    }
    reporter_.note(NoteLevel::info, "every block is there; the server is stopped for a moment");
    const int64_t stopped_us = Clock::system().monotonic_us();
    uint64_t point = fault::point("instant.stop");
    if (running) TRY(pg::stop_server(*running, pg::StopMode::fast, kStopMs, nullptr));
    fault::passed(point);
    point = fault::point("instant.unmount");
    TRY(become_plain(status->pid));
    fault::passed(point);
    if (next) {
      point = fault::point("instant.start");
      TRY(next->start());
      fault::passed(point);
      outcome_.switch_seconds = seconds_since(stopped_us) - restored_.phases.follow_up;
      outcome_.running = true;
      outcome_.recovery = restored_.recovery;
      reporter_.note(NoteLevel::info, cat("the server runs on the plain directory, after ",
                                          format_seconds(outcome_.switch_seconds)));
    }
    return {};
  }

  // What is started next runs on the plain directory.
  void start_as_plain() {
    as_ = StartedAs::as_configured;
    start_options_.medium = RestoreMedium::copy;
    start_options_.accepting = {};
    start_options_.start_settings.clear();
    start_options_.promoted = options_.restore.promoted;
  }

  // An earlier call was killed on the last step of its way.
  Status start_plain() {
    reporter_.note(NoteLevel::info, cat(directory_, " is a plain directory already; its server is started"));
    TRY(remove_stale_pid_file(directory_));
    TRY_ASSIGN(std::optional<pg::RunningServer> running, pg::running_server(directory_));
    start_as_plain();
    // The mount may have ended by itself before recovery did.
    TRY_ASSIGN(bool recovering, path_exists(join_path(directory_, "recovery.signal")));
    if (running && recovering) {
      TRY(pg::stop_server(*running, pg::StopMode::fast, kStopMs, &stop_));
      running.reset();
    }
    if (!running) {
      TRY(recovering ? recover() : start_recovered());
      outcome_.recovery = restored_.recovery;
    }
    outcome_.running = true;
    return {};
  }

  Status leave_nothing() {
    TRY(remove_file(join_path(directory_, kWalGateFile)));
    TRY(forget_mount(directory_));
    TRY(remove_file(join_path(directory_, kInstantMark)));
    return remove_file(join_path(directory_, kInstantLog));
  }

  // Makes the stop short; stopping does the same anyway.
  void checkpoint() {
    auto recorded = repo::read_manifest(source_.repo(), outcome_.state.backup);
    if (!recorded) return;
    std::string role = bootstrap_role(*recorded);
    auto value = [](std::string_view text) {
      std::string quoted_text = "'";
      for (char c : text) quoted_text += c == '\'' || c == '\\' ? cat("\\", c) : cat(c);
      return quoted_text + "'";
    };
    std::string conninfo = cat("host=", value(sockets_), " port=", port_, " dbname=postgres");
    if (!role.empty()) conninfo += cat(" user=", value(role));
    auto client = pg::PgClient::connect(conninfo);
    if (client) (void)client->query("CHECKPOINT");
  }

  // Whoever serves the mount may be killed before it has ended it, or may have lost what unmounts for it:
  // then it is mounted once more, which brings what was not kept yet.
  Status become_plain(pid_t pid) {
    TRY_ASSIGN(bool plain, end_mount(pid));
    if (plain) return {};
    TRY_ASSIGN(plain, is_switched());
    if (!plain) {
      reporter_.note(NoteLevel::warning,
                     "the process that served the mount has ended too early; it is mounted once more");
      TRY(mount());
      TRY_ASSIGN(plain, is_switched());
    }
    if (!plain) {
      TRY(wait_until_complete());
      auto status = read_status(directory_);
      if (status) {
        TRY_ASSIGN(plain, end_mount(status->pid));
      }
    }
    // The server could not end well either.
    if (plain) return remove_stale_pid_file(directory_);
    return make_error(ErrorKind::failed, directory_, "the process that serves the mount has ended, twice")
        .with_hint("the same command goes on");
  }

  Result<bool> is_switched() const {
    TRY_ASSIGN(std::optional<MountState> state, switched_already(directory_));
    return state.has_value();
  }

  // False: process `pid` is gone, and the directory is not plain.
  Result<bool> end_mount(pid_t pid) {
    if (kill(pid, SIGTERM) != 0 && errno != ESRCH) return errno_error(errno, cat("process ", pid), "end");
    const int64_t began = Clock::system().monotonic_us();
    int64_t gone_us = 0;  // since when; 0: it runs
    for (;;) {
      TRY_ASSIGN(bool mounted, is_mounted(directory_));
      if (!mounted) {
        TRY_ASSIGN(bool ours, path_exists(cat(directory_, "/", kMountFolder)));
        if (!ours) return true;
      }
      const int64_t now = Clock::system().monotonic_us();
      if (!process_ended(pid)) {
        gone_us = 0;
      } else if (gone_us == 0) {
        gone_us = now;
      } else if (now - gone_us > kGoneUs) {
        return false;
      }
      if (Clock::system().monotonic_us() - began > kFinishMs * 1000) {
        return make_error(ErrorKind::timeout, directory_, "does not become a plain directory")
            .with_hint("somebody may still use it (fuser -m); the same command goes on");
      }
      Clock::system().sleep_us(5'000);
    }
  }

  const InstantOptions& options_;
  std::string directory_;
  int64_t began_us_;
  Reporter& reporter_;
  StopToken& stop_;
  RestoreSource source_;
  RestoreOptions start_options_;
  RestoreOutcome restored_;
  InstantOutcome outcome_;
  StartedAs as_ = StartedAs::watched;  // until it runs on the plain directory
  int port_ = 0;
  std::string sockets_;
};

// The state of the instant restore that is there; nullopt: there is none.
Result<std::optional<MountState>> state_there(const std::string& directory) {
  TRY_ASSIGN(bool mounted, is_mounted(directory));
  // Behind a dead mount it is found later.
  if (mounted) return read_mounted_state(directory);
  TRY_ASSIGN(std::optional<MountState> state, read_state(directory));
  if (state) return state;
  return read_instant_mark(directory);
}

}  // namespace

Result<bool> holds_instant_restore(const std::string& directory) {
  auto real = real_directory(directory);
  if (!real) return false;
  TRY_ASSIGN(bool mounted, is_mounted(*real));
  if (mounted) return true;
  TRY_ASSIGN(std::optional<MountState> state, state_there(*real));
  return state.has_value();
}

Status prepare_instant(const InstantOptions& options, Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(bool there, holds_instant_restore(options.restore.directory));
  if (!there) {
    RestoreOptions restore = options.restore;
    restore.medium = RestoreMedium::mount;
    restore.hydrate = true;
    restore.instant = true;
    restore.reads_wal_later = true;
    restore.start = true;  // the preflight looks for everything that takes
    TRY_ASSIGN(RestoreSource source, open_restore(restore));
    TRY_ASSIGN(RestorePlan plan, plan_restore(source, restore, reporter, stop));
    for (const std::string& note : plan.reach.notes) reporter.note(NoteLevel::info, note);
    for (const std::string& warning : plan.warnings) reporter.note(NoteLevel::warning, warning);
    TRY_ASSIGN(RestoreOutcome outcome, execute_restore(source, restore, std::move(plan), reporter, stop));
    for (const std::string& note : outcome.notes) reporter.note(NoteLevel::info, note);
    return {};
  }
  TRY_ASSIGN(std::string directory, real_directory(options.restore.directory));
  TRY_ASSIGN(std::optional<MountState> state, state_there(directory));
  return state ? check_same(options, directory, *state) : Status();
}

Result<InstantOutcome> finish_instant(const InstantOptions& options, int64_t began_us, Reporter& reporter,
                                      StopToken& stop) {
  TRY_ASSIGN(std::string directory, real_directory(options.restore.directory));
  return Instant(options, std::move(directory), began_us, reporter, stop).run();
}

}  // namespace lifeboat::ops
