#include "ops/drill/drill.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "ops/drill/evidence.h"
#include "ops/drill/isolate.h"
#include "ops/drill/row_compare.h"
#include "ops/restore/start.h"
#include "ops/wal/beacon.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kMostTables = 20'000;
constexpr int kPort = 5432;  // names the socket only: nothing listens on TCP
constexpr int64_t kStopTimeoutMs = 120'000;
constexpr size_t kLongestSocketDirectory = 90;  // AF_UNIX paths have 107 bytes

double since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

// The drill's own directory: the copy, its socket and its access rules. Removed at the end unless it is to be
// kept.
class Scratch {
 public:
  static Result<Scratch> make(const std::string& directory, AfterDrill after) {
    auto listing = list_dir(directory);
    if (listing && !listing->empty()) {
      return make_error(ErrorKind::precondition, directory, "is not empty")
          .with_hint("--to takes a directory that is absent or empty");
    }
    if (directory.size() > kLongestSocketDirectory - 4) {
      return make_error(
                 ErrorKind::usage, directory,
                 cat("longer than ", kLongestSocketDirectory - 4, " bytes, too long for a Unix socket"))
          .with_hint("give a shorter --to");
    }
    Scratch scratch(directory, after, !listing);
    TRY(create_dirs(directory, 0700));
    TRY(create_dirs(directory + "/run", 0700));
    TRY(write_file_durable(scratch.hba_file(), as_bytes("local all all trust\n"), 0600));
    TRY(write_file_durable(scratch.ident_file(), as_bytes(""), 0600));
    return scratch;
  }
  Scratch(Scratch&& other) noexcept
      : directory_(std::move(other.directory_)), after_(other.after_), made_(other.made_) {
    other.directory_.clear();
  }
  Scratch& operator=(Scratch&&) = delete;
  // Leftovers of a drill are only a waste of space; its verdict stands.
  ~Scratch() {
    if (!directory_.empty() && after_ == AfterDrill::remove) (void)remove();
  }

  Status remove() {
    for (const char* below :
         {"/data", "/data_tablespaces", "/run", "/pg_hba.conf", "/pg_ident.conf", "/server.log"}) {
      TRY(remove_tree(directory_ + below));
    }
    if (made_ && rmdir(directory_.c_str()) != 0)
      return errno_error(errno, directory_, "remove the drill's directory");
    return {};
  }
  std::string data() const { return directory_ + "/data"; }
  std::string socket_directory() const { return directory_ + "/run"; }
  std::string hba_file() const { return directory_ + "/pg_hba.conf"; }
  std::string ident_file() const { return directory_ + "/pg_ident.conf"; }
  std::string log_file() const { return directory_ + "/server.log"; }
  const std::string& directory() const { return directory_; }

 private:
  Scratch(std::string directory, AfterDrill after, bool made)
      : directory_(std::move(directory)), after_(after), made_(made) {}
  std::string directory_;
  AfterDrill after_;
  bool made_;
};

uint64_t host_memory() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Libraries of the source's shared_preload_libraries that this host can load and that start no jobs; the
// others are named in the check.
std::vector<std::string> usable_libraries(const repo::Manifest& manifest, const pg::PgBin& bin,
                                          DrillCheck& check) {
  check = {"preload_libraries", CheckResult::passed, "", 0};
  std::vector<std::string> usable;
  // .../bin → .../lib (Debian, PGDG) and .../lib/postgresql (others).
  std::string root = parent_path(bin.directory);
  for (const std::string& library : preload_libraries(manifest)) {
    if (runs_jobs(library)) {
      check.detail += cat(library, " left out: it would run jobs; ");
      continue;
    }
    std::string file = library.ends_with(".so") ? library : library + ".so";
    bool there = access(file.c_str(), R_OK) == 0 || access(cat(root, "/lib/", file).c_str(), R_OK) == 0 ||
                 access(cat(root, "/lib/postgresql/", file).c_str(), R_OK) == 0;
    if (there) {
      usable.push_back(library);
    } else {
      check.result = CheckResult::failed;
      check.detail +=
          cat(library, " is not on this host: a restore here would not start with the source's settings; ");
    }
  }
  if (check.detail.empty()) check.detail = cat(usable.size(), " libraries, all on this host");
  return usable;
}

RestoreOptions restore_options(const DrillOptions& options, const Scratch& scratch) {
  RestoreOptions restore;
  restore.location = options.location;
  restore.lineage = options.lineage;
  restore.backup = options.backup;
  restore.target = options.target;
  restore.timeline_choice = options.timeline_choice;
  restore.timeline = options.timeline;
  restore.action = pg::TargetAction::promote;
  restore.directory = scratch.data();
  restore.unmapped = UnmappedTablespaces::beside;
  restore.archive = ArchiveChoice::off;
  restore.program = options.program;
  restore.pg_bin = options.pg_bin;
  restore.jobs = options.jobs;
  restore.port = kPort;
  restore.socket_directory = scratch.socket_directory();
  restore.recovery_timeout_ms = options.recovery_timeout_ms;
  return restore;
}

// Starts the restored copy on its socket and follows it until it is open for writing.
Result<pg::PgServer> recover(const DrillOptions& options, const Scratch& scratch,
                             const repo::Manifest& manifest, const Settings& settings, DrillOutcome& outcome,
                             Reporter& reporter, StopToken& stop) {
  pg::LaunchOptions launch;
  launch.bin = *outcome.plan.pg_bin;
  launch.data_directory = scratch.data();
  launch.socket_directory = scratch.socket_directory();
  launch.port = kPort;
  launch.log_file = scratch.log_file();
  launch.role = recorded_setting(manifest, "lifeboat.bootstrap_role");
  launch.settings = settings;
  launch.stop = &stop;
  int64_t began = Clock::system().monotonic_us();
  TRY_ASSIGN(pg::PgServer server, pg::PgServer::start(std::move(launch)));
  bool replaying = false;
  pg::PgServer::WaitFor wait;
  int64_t timeout = options.recovery_timeout_ms > 0 ? options.recovery_timeout_ms : INT64_MAX / 2000;
  TRY_ASSIGN(pg::ServerState state, server.wait(wait, timeout, [&](const pg::ServerState& now) {
    if (!replaying && now.phase != pg::ServerPhase::starting) {
      replaying = true;
      outcome.phases.start = since(began);
      began = Clock::system().monotonic_us();
    }
    reporter.progress("recovering",
                      now.replayed.value > outcome.plan.replay_from.value
                          ? now.replayed.value - outcome.plan.replay_from.value
                          : 0,
                      outcome.plan.reach.wal_bytes, ProgressUnit::bytes);
  }));
  outcome.phases.recovery = since(began);
  if (state.phase != pg::ServerPhase::ready) {
    return make_error(ErrorKind::check_failed, scratch.data(), "the restored server did not come up")
        .with_cause(state.last_error);
  }
  began = Clock::system().monotonic_us();
  TRY_ASSIGN(pg::PgClient client, server.connect());
  TRY_ASSIGN(pg::Rows rows, client.query("select count(*) from pg_catalog.pg_class"));
  outcome.first_query_seconds = since(began);
  outcome.recovery = RecoveryResult{state.phase,
                                    outcome.plan.reach.stop,
                                    outcome.plan.reach.last_commit,
                                    state.timeline,
                                    kPort,
                                    scratch.socket_directory(),
                                    scratch.log_file(),
                                    server.pid()};
  return server;
}

// Where recovery really ended: the history file that the promotion wrote tells.
Result<DrillCheck> check_reached(const Scratch& scratch, DrillOutcome& outcome) {
  DrillCheck check{"recovered", CheckResult::passed, "", 0};
  const Reach& reach = outcome.plan.reach;
  Timeline timeline = outcome.recovery->timeline;
  std::string path = cat(scratch.data(), "/pg_wal/", timeline.to_hex(), ".history");
  TRY_ASSIGN(std::string text, read_text(path, 1 << 20));
  TRY_ASSIGN(pg::TimelineHistory history, pg::TimelineHistory::parse(timeline, text));
  Lsn ended = history.ancestors().empty() ? Lsn{} : history.ancestors().back().end;
  outcome.recovery->replayed = ended;
  check.detail = cat("recovery ended at ", ended.to_string(), " on timeline ", reach.timeline.value,
                     ", expected ", reach.stop.to_string());
  if (!same_wal_position(ended, reach.stop)) check.result = CheckResult::failed;
  return check;
}

DrillCheck check_target(std::string id, std::optional<double> measured, double target, std::string_view why) {
  DrillCheck check{std::move(id), CheckResult::failed, "", 0};
  if (!measured) {
    check.result = CheckResult::skipped;
    check.detail = cat("not measured: ", why);
  } else {
    check.detail = cat(format_seconds(*measured), ", target ", format_seconds(target));
    if (*measured <= target) check.result = CheckResult::passed;
  }
  return check;
}

// What is lost if the source dies now; taken before the restore begins.
std::optional<SourcePosition> look_at_source(const DrillOptions& options, const Lineage& lineage,
                                             DrillOutcome& outcome, const StopToken& stop) {
  if (!options.source_conninfo) return std::nullopt;
  auto position = source_position(*options.source_conninfo, lineage.system_id, stop);
  if (position) return *position;
  outcome.notes.push_back(cat("the source server was not asked: ", position.error().to_string()));
  return std::nullopt;
}

void measure_rpo(const DrillOptions& options, const std::optional<SourcePosition>& position,
                 const Lineage& lineage, DrillOutcome& outcome, const StopToken& stop) {
  const Reach& reach = outcome.plan.reach;
  outcome.loss.last_recovered = reach.last_commit;
  if (options.target.kind != pg::TargetKind::latest) {
    outcome.loss.how = "not measured: the target was chosen, so nothing was lost against it";
    return;
  }
  if (!options.source_pgdata) {
    outcome.loss.how =
        "not measured: give --pgdata (and --pg) of the source, so that its last commit can be read";
    return;
  }
  auto measured = [&]() -> Result<MeasuredLoss> {
    TRY_ASSIGN(DataDirFacts source, read_data_dir(*options.source_pgdata));
    if (source.lineage != lineage) {
      return make_error(ErrorKind::foreign, source.path, "another cluster's data directory");
    }
    // Without a commit since the backup everything up to its end was recovered, and nothing was committed
    // after that.
    Timestamp recovered_to = reach.last_commit.valid() ? reach.last_commit : outcome.plan.backup.stopped;
    return measure_loss(source, position, reach.timeline, reach.stop, recovered_to, stop);
  }();
  if (measured) {
    outcome.loss = std::move(*measured);
  } else {
    outcome.loss.how = cat("not measured: ", measured.error().to_string());
  }
}

// The newest beacon that the recovery brings back. Where the source could not be asked, its age bounds the
// RPO.
void look_for_beacon(const DrillOptions& options, const RestoreSource& source, Timestamp began,
                     DrillOutcome& outcome, Reporter& reporter, const StopToken& stop) {
  const Reach& reach = outcome.plan.reach;
  DrillCheck check{"beacon", CheckResult::skipped, "", 0};
  const int64_t began_us = Clock::system().monotonic_us();
  auto found = last_beacon(*source.lineage, reach.path, outcome.plan.backup.start_lsn, reach.stop,
                           options.location.cluster, {&reporter, &stop});
  if (!found) {
    check.detail = cat("not looked for: ", found.error().to_string());
  } else if (!*found) {
    check.detail = "the WAL that was recovered holds none; the daemon writes them (serve: beacon)";
  } else {
    const Timestamp written = (*found)->beacon.time;
    outcome.beacon = BeaconAge{written, static_cast<double>(began.unix_us - written.unix_us) / 1e6};
    check.result = CheckResult::passed;
    check.detail = cat("the newest that was recovered was written at ", written.to_string(), ", ",
                       format_seconds(outcome.beacon->seconds), " before the drill began");
    if (!outcome.loss.seconds && options.target.kind == pg::TargetKind::latest) {
      outcome.loss.seconds = std::max(0.0, outcome.beacon->seconds);
      outcome.loss.bound = LossBound::at_most;
      outcome.loss.how = "the age of the newest beacon that was recovered";
    }
  }
  check.seconds = since(began_us);
  outcome.checks.push_back(std::move(check));
}

Result<CountedRows> run_checks(const DrillOptions& options, const RestoreSource& source,
                               const Scratch& scratch, const repo::Manifest& manifest, pg::PgServer& server,
                               DrillOutcome& outcome, Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(DrillCheck reached, check_reached(scratch, outcome));
  outcome.checks.push_back(std::move(reached));

  int64_t began = Clock::system().monotonic_us();
  TRY_ASSIGN(CountedRows counted, count_rows(server, kMostTables, reporter, stop));
  TRY_ASSIGN(WalHistory history, WalHistory::load(*source.lineage));
  Timeline timeline = outcome.plan.reach.timeline;
  Lsn ended = outcome.recovery->replayed;
  TRY_ASSIGN(auto earlier, read_earlier_counts(source.repo(), history, timeline, ended));
  std::optional<RowChanges> changes;
  if (earlier) {
    TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(source.lineage->record.lineage.major));
    ScanOptions scan{&reporter, &stop};
    TRY_ASSIGN(changes,
               read_row_changes(*source.lineage, history, timeline, earlier->end, ended, *version, scan));
  }
  DrillCheck rows = compare_counts(counted, earlier, changes);
  rows.seconds = since(began);
  outcome.checks.push_back(std::move(rows));

  for (const std::string& sql : options.assertions) {
    TRY_ASSIGN(DrillCheck check, check_assertion(server, options.assertion_database, sql));
    outcome.checks.push_back(std::move(check));
  }
  TRY_ASSIGN(auto catalogues, check_catalogues(server, stop));
  outcome.checks.insert(outcome.checks.end(), catalogues.begin(), catalogues.end());
  reporter.progress("amcheck", 0, 0, ProgressUnit::items);
  TRY_ASSIGN(DrillCheck amcheck, check_amcheck(server, *outcome.plan.pg_bin, options.jobs, stop));
  outcome.checks.push_back(std::move(amcheck));
  TRY(server.stop(pg::StopMode::fast, kStopTimeoutMs));
  reporter.progress("page checksums", 0, 0, ProgressUnit::items);
  TRY_ASSIGN(DrillCheck pages,
             check_page_checksums(*outcome.plan.pg_bin, scratch.data(), manifest.card.data_checksums, stop));
  outcome.checks.push_back(std::move(pages));
  return counted;
}

bool all_passed(const std::vector<DrillCheck>& checks) {
  for (const DrillCheck& check : checks) {
    if (check.result == CheckResult::failed) return false;
  }
  return true;
}

// From the plan to the checks; the outcome is filled in as far as it got.
Result<CountedRows> rehearse(const DrillOptions& options, const RestoreSource& source, const Scratch& scratch,
                             int64_t began_us, DrillOutcome& outcome, Reporter& reporter, StopToken& stop) {
  const Timestamp began{Clock::system().unix_us() - (Clock::system().monotonic_us() - began_us)};
  if (!outcome.plan.pg_bin) {
    return make_error(ErrorKind::not_found, cat("PostgreSQL ", source.lineage->record.lineage.major),
                      "its programs are not on this host")
        .with_hint("install that major's server packages, or give --pg-bin");
  }
  TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(source.repo(), outcome.plan.backup.id));
  DrillCheck preload;
  IsolationInput isolation{&manifest, scratch.hba_file(), scratch.ident_file(),
                           usable_libraries(manifest, *outcome.plan.pg_bin, preload), host_memory()};
  outcome.checks.push_back(std::move(preload));
  Settings settings = isolation_settings(isolation);

  RestoreOptions restore = restore_options(options, scratch);
  restore.settings = settings;
  TRY_ASSIGN(RestoreOutcome restored, execute_restore(source, restore, outcome.plan, reporter, stop));
  double preflight = outcome.phases.preflight;
  outcome.phases = restored.phases;
  outcome.phases.preflight = preflight;
  TRY_ASSIGN(pg::PgServer server, recover(options, scratch, manifest, settings, outcome, reporter, stop));
  outcome.rto_seconds = since(began_us);
  look_for_beacon(options, source, began, outcome, reporter, stop);

  int64_t checks_began = Clock::system().monotonic_us();
  TRY_ASSIGN(CountedRows counted,
             run_checks(options, source, scratch, manifest, server, outcome, reporter, stop));
  outcome.checks_seconds = since(checks_began);
  outcome.proven = all_passed(outcome.checks);
  return counted;
}

}  // namespace

Result<DrillOutcome> run_drill(const DrillOptions& options, Reporter& reporter, StopToken& stop) {
  int64_t began_us = Clock::system().monotonic_us();
  DrillOutcome outcome;
  TRY_ASSIGN(Scratch scratch, Scratch::make(options.directory, options.after));
  RestoreOptions restore = restore_options(options, scratch);
  TRY_ASSIGN(RestoreSource source, open_restore(restore));
  const Lineage& lineage = source.lineage->record.lineage;
  std::optional<SourcePosition> position = look_at_source(options, lineage, outcome, stop);
  TRY_ASSIGN(outcome.plan, plan_restore(source, restore, reporter, stop));
  outcome.phases.preflight = since(began_us);
  // Now, not later: what reaches the repository from here on would be lost if the source had died just
  // before.
  measure_rpo(options, position, lineage, outcome, stop);

  auto counted = rehearse(options, source, scratch, began_us, outcome, reporter, stop);
  if (!counted) {
    if (counted.error().kind == ErrorKind::cancelled) return std::move(counted).error();
    auto written = write_failed_drill(source.repo(), options, outcome.plan.backup.id, counted.error());
    if (!written)
      reporter.note(NoteLevel::warning,
                    cat("the evidence could not be stored: ", written.error().to_string()));
    return std::move(counted).error();
  }
  if (options.rto_seconds)
    outcome.checks.push_back(check_target("rto", outcome.rto_seconds, *options.rto_seconds, ""));
  if (options.rpo_seconds)
    outcome.checks.push_back(
        check_target("rpo", outcome.loss.seconds, *options.rpo_seconds, outcome.loss.how));
  outcome.counts = counted->counts;
  outcome.passed = all_passed(outcome.checks);
  TRY_ASSIGN(outcome.evidence, write_drill_evidence(source.repo(), options, outcome, *counted));
  if (options.after == AfterDrill::keep) outcome.kept_directory = scratch.data();
  return outcome;
}

}  // namespace lifeboat::ops
