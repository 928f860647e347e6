#include "ops/drill/drill.h"

#include <algorithm>

#include "ops/catalogue/catalogue.h"
#include "ops/drill/evidence.h"
#include "ops/drill/host_fault.h"
#include "ops/drill/pages.h"
#include "ops/drill/random_target.h"
#include "ops/drill/row_compare.h"
#include "ops/restore/start.h"
#include "ops/scratch/named_database.h"
#include "ops/wal/beacon.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kMostTables = 20'000;

double since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

DrillCheck check_libraries(const PreloadedLibraries& libraries) {
  DrillCheck check{"preload_libraries", CheckResult::passed, "", 0};
  check.beside_the_backup = true;
  for (const std::string& library : libraries.left_out)
    check.detail += cat(library, " left out: it would run jobs; ");
  for (const std::string& library : libraries.missing) {
    check.result = CheckResult::failed;
    check.detail +=
        cat(library, " is not on this host: a restore here would not start with the source's settings; ");
  }
  if (check.detail.empty()) check.detail = cat(libraries.loaded.size(), " libraries, all on this host");
  return check;
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

DrillScope choose_scope(const DrillOptions& options, const DrillOutcome& outcome) {
  const Timestamp now{Clock::system().unix_us()};
  if (options.rotation_days) return DrillScope::of(*options.rotation_days, now);
  const bool all = outcome.medium == ScratchMedium::copy || outcome.plan.bytes <= DrillScope::kAllUpTo;
  return all ? DrillScope::everything() : DrillScope::of(DrillScope::kUsualDays, now);
}

DrillCheck check_target(std::string id, std::optional<double> measured, double target, std::string_view why) {
  DrillCheck check{std::move(id), CheckResult::failed, "", 0};
  check.beside_the_backup = true;
  if (!measured) {
    check.result = CheckResult::skipped;
    check.detail = why;
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
  if (outcome.plan.asked.kind != pg::TargetKind::latest) {
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
                           options.scratch.location.cluster, {&reporter, &stop});
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
    if (!outcome.loss.seconds && outcome.plan.asked.kind == pg::TargetKind::latest) {
      outcome.loss.seconds = std::max(0.0, outcome.beacon->seconds);
      outcome.loss.bound = LossBound::at_most;
      outcome.loss.how = "the age of the newest beacon that was recovered";
    }
  }
  check.seconds = since(began_us);
  outcome.checks.push_back(std::move(check));
}

// Whether the operator's own checks can be asked. A name that neither the backup nor the target has is a slip
// of whoever typed it and says nothing of the backup: not_found. A database that the backup had and the
// target has not is for whoever asked about it to explain: a check that fails.
struct AskedDatabase {
  bool wanted = false;  // somebody asks something in it
  DatabaseRecord record = DatabaseRecord::unknown;
  std::optional<DrillCheck> missing;
};

Result<AskedDatabase> look_for_asked(const DrillOptions& options, const RestoreSource& source,
                                     const RestorePlan& plan, Reporter& reporter, StopToken& stop) {
  AskedDatabase asked;
  asked.wanted = !options.assertions.empty() || !options.programs.empty();
  if (!asked.wanted) return asked;
  TRY_ASSIGN(asked.record, look_for_database(source, plan, options.assertion_database, reporter, stop));
  return asked;
}

bool is_slip(const Error& error) {
  return error.kind == ErrorKind::not_found;
}

Status look_again(const DrillOptions& options, Scratch& scratch, AskedDatabase& asked) {
  if (!asked.wanted) return {};
  auto there = require_database(scratch.server(), options.assertion_database);
  if (there || there.error().kind != ErrorKind::not_found || asked.record == DatabaseRecord::unknown)
    return there;
  asked.missing = DrillCheck{"assertion", CheckResult::failed,
                             cat(there.error().to_string(), "; it was there when the backup was made"), 0};
  asked.missing->beside_the_backup = true;
  return {};
}

// The operator's own.
Status ask_operators_checks(const DrillOptions& options, const AskedDatabase& asked, pg::PgServer& server,
                            DrillOutcome& outcome, const StopToken& stop) {
  if (asked.missing) {
    outcome.checks.push_back(*asked.missing);
    return {};
  }
  for (const std::string& sql : options.assertions) {
    TRY_ASSIGN(DrillCheck check, check_assertion(server, options.assertion_database, sql, stop));
    if (check.slip)
      return make_error(ErrorKind::usage, "--sql", check.detail)
          .with_hint("one row with a condition, such as: SELECT count(*) > 0 FROM orders");
    outcome.checks.push_back(std::move(check));
  }
  for (const DrillProgram& program : options.programs) {
    TRY_ASSIGN(DrillCheck check, check_by_program(server, program, options.assertion_database,
                                                  options.program_timeout_ms, stop));
    outcome.checks.push_back(std::move(check));
  }
  return {};
}

Result<CountedRows> run_checks(const DrillOptions& options, const RestoreSource& source,
                               const AskedDatabase& asked, Scratch& scratch, DrillOutcome& outcome,
                               Reporter& reporter, StopToken& stop) {
  pg::PgServer& server = scratch.server();
  TRY_ASSIGN(DrillCheck reached, check_reached(scratch, outcome));
  outcome.checks.push_back(std::move(reached));

  const DrillScope scope = choose_scope(options, outcome);
  int64_t began = Clock::system().monotonic_us();
  TRY_ASSIGN(CountedRows counted, count_rows(server, scope, kMostTables, reporter, stop));
  TRY_ASSIGN(WalHistory history, WalHistory::load(*source.lineage));
  Timeline timeline = outcome.plan.reach.timeline;
  Lsn ended = outcome.recovery->replayed;
  TRY_ASSIGN(auto earlier, read_earlier_counts(source.repo(), history, timeline, ended, scope));
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

  TRY(ask_operators_checks(options, asked, server, outcome, stop));
  TRY_ASSIGN(auto catalogues, check_catalogues(server, stop));
  for (const DrillCheck& one : catalogues) {
    if (one.result == CheckResult::passed && one.id != "extensions" && !one.detail.empty())
      outcome.notes.push_back(one.detail);
    outcome.checks.push_back(one);
  }
  reporter.progress("ANALYZE", 0, 0, ProgressUnit::items);
  TRY_ASSIGN(DrillCheck analyze, check_analyze(server, counted, stop));
  outcome.checks.push_back(std::move(analyze));
  reporter.progress("amcheck", 0, 0, ProgressUnit::items);
  TRY_ASSIGN(DrillCheck amcheck,
             check_amcheck(server, *outcome.plan.pg_bin, scope, options.scratch.jobs, stop));
  outcome.checks.push_back(std::move(amcheck));
  TRY_ASSIGN(const RelationFiles of_turn,
             scope.all() ? Result(RelationFiles()) : relation_files(server, scope, stop));
  TRY(scratch.stop_server());
  reporter.progress("page checksums", 0, 0, ProgressUnit::items);
  TRY_ASSIGN(DrillCheck pages, scope.all()
                                   ? check_page_checksums(*outcome.plan.pg_bin, scratch.data(),
                                                          scratch.manifest().card.data_checksums, stop)
                                   : check_pages_of(of_turn, scope, scratch.data(), reporter, stop));
  outcome.checks.push_back(std::move(pages));
  return counted;
}

bool all_passed(const std::vector<DrillCheck>& checks) {
  for (const DrillCheck& check : checks) {
    if (check.result == CheckResult::failed) return false;
  }
  return true;
}

// From the plan to a server that answers; the outcome is filled in as far as it got.
Status recover(const DrillOptions& options, const RestoreSource& source, Scratch& scratch, int64_t began_us,
               DrillOutcome& outcome, Reporter& reporter, StopToken& stop) {
  const Timestamp began{Clock::system().unix_us() - (Clock::system().monotonic_us() - began_us)};
  const double preflight = outcome.phases.preflight;
  TRY(scratch.start(source, outcome.plan, reporter, stop));
  outcome.rto_seconds = since(began_us);
  outcome.plan = scratch.plan();
  outcome.phases = scratch.phases();
  outcome.phases.preflight = preflight;
  outcome.medium = scratch.medium();
  outcome.mount_seconds = scratch.mount_seconds();
  outcome.first_query_seconds = scratch.first_query_seconds();
  outcome.recovery = scratch.recovery();
  outcome.checks.push_back(check_libraries(scratch.libraries()));
  look_for_beacon(options, source, began, outcome, reporter, stop);
  return {};
}

Result<CountedRows> check(const DrillOptions& options, const RestoreSource& source,
                          const AskedDatabase& asked, Scratch& scratch, DrillOutcome& outcome,
                          Reporter& reporter, StopToken& stop) {
  const int64_t began_us = Clock::system().monotonic_us();
  TRY_ASSIGN(CountedRows counted, run_checks(options, source, asked, scratch, outcome, reporter, stop));
  outcome.checks_seconds = since(began_us);
  TRY_ASSIGN(outcome.fetched_bytes, scratch.end());
  outcome.proven = all_passed(outcome.checks);
  return counted;
}

void store_failure(const DrillOptions& options, const RestoreSource& source, const BackupId& backup,
                   const Error& error, DrillStage stage, Reporter& reporter) {
  const std::string log = read_text(cat(options.scratch.directory, "/server.log"), kMostLog).value_or("");
  if (!says_something_of_the_backup(error, stage, log)) return;
  auto written = write_failed_drill(source.repo(), options, backup, error);
  if (!written)
    reporter.note(NoteLevel::warning, cat("the evidence could not be stored: ", written.error().to_string()));
}

// What the repository lacks for a recovery, WAL above all, is found before anything is restored. A directory
// that is in use or a program that is not here says nothing about the backup, and neither does a target that
// somebody chose and that cannot be reached.
void store_unplanned(const DrillOptions& options, const RestoreSource& source, const RestoreOptions& restore,
                     const Error& error, Reporter& reporter) {
  const ScratchOptions& asked = options.scratch;
  const bool chosen = !options.random_target && (asked.target.kind != pg::TargetKind::latest ||
                                                 asked.timeline_choice != TimelineChoice::unset);
  if (error.kind != ErrorKind::damaged && (error.kind != ErrorKind::unreachable || chosen)) return;
  std::optional<BackupId> backup = restore.backup;
  if (!backup) {
    auto newest = find_backup(*source.repository, options.scratch.location.cluster, "latest");
    if (!newest || newest->lineage.record.lineage != source.lineage->record.lineage) return;
    backup = newest->card.id;
  }
  store_failure(options, source, *backup, error, DrillStage::recovery, reporter);
}

// Before anything is made, and without evidence: what this host lacks says nothing of the backup.
Status require_programs(const RestorePlan& plan, int major) {
  if (!plan.pg_bin) TRY(pg::find_pg_bin(major));
  return pg::PgClient::check_conninfo("");
}

}  // namespace

Result<DrillOutcome> run_drill(const DrillOptions& options, Reporter& reporter, StopToken& stop) {
  int64_t began_us = Clock::system().monotonic_us();
  DrillOutcome outcome;
  TRY_ASSIGN(std::unique_ptr<Scratch> scratch, Scratch::make(options.scratch));
  RestoreOptions& restore = scratch->restore();
  TRY_ASSIGN(RestoreSource source, open_restore(restore));
  const Lineage& lineage = source.lineage->record.lineage;
  std::optional<SourcePosition> position = look_at_source(options, lineage, outcome, stop);
  if (options.random_target) {
    const int64_t choosing_us = Clock::system().monotonic_us();
    auto note = choose_random_target(source, restore, reporter, stop);
    if (!note) {
      store_unplanned(options, source, restore, note.error(), reporter);
      return std::move(note).error();
    }
    if (!note->empty()) outcome.notes.push_back(std::move(*note));
    // No recovery begins with that.
    began_us += Clock::system().monotonic_us() - choosing_us;
  }
  auto plan = plan_restore(source, restore, reporter, stop);
  if (!plan) {
    store_unplanned(options, source, restore, plan.error(), reporter);
    return std::move(plan).error();
  }
  outcome.plan = std::move(*plan);
  outcome.phases.preflight = since(began_us);
  // Now, not later: what reaches the repository from here on would be lost if the source had died just
  // before.
  measure_rpo(options, position, lineage, outcome, stop);

  const BackupId backup = outcome.plan.backup.id;
  auto failed = [&](Error error, DrillStage stage = DrillStage::recovery) {
    store_failure(options, source, backup, error, stage, reporter);
    return error;
  };
  TRY(require_programs(outcome.plan, lineage.major));
  const int64_t looks_us = Clock::system().monotonic_us();
  auto asked = look_for_asked(options, source, outcome.plan, reporter, stop);
  if (!asked) return is_slip(asked.error()) ? std::move(asked).error() : failed(std::move(asked).error());
  // No recovery begins with that.
  began_us += Clock::system().monotonic_us() - looks_us;
  auto recovered = recover(options, source, *scratch, began_us, outcome, reporter, stop);
  if (!recovered) return failed(std::move(recovered).error());
  auto there = look_again(options, *scratch, *asked);
  if (!there)
    return is_slip(there.error()) ? std::move(there).error()
                                  : failed(std::move(there).error(), DrillStage::checks);
  auto counted = check(options, source, *asked, *scratch, outcome, reporter, stop);
  if (!counted) return failed(std::move(counted).error(), DrillStage::checks);
  if (options.rto_seconds)
    outcome.checks.push_back(check_target("rto", outcome.rto_seconds, *options.rto_seconds, ""));
  if (options.rpo_seconds)
    outcome.checks.push_back(
        check_target("rpo", outcome.loss.seconds, *options.rpo_seconds, outcome.loss.how));
  outcome.notes.insert(outcome.notes.end(), scratch->notes().begin(), scratch->notes().end());
  outcome.counts = counted->counts;
  outcome.passed = all_passed(outcome.checks);
  TRY_ASSIGN(outcome.evidence, write_drill_evidence(source.repo(), options, outcome, *counted));
  if (options.scratch.after == AfterScratch::keep) outcome.kept_directory = scratch->data();
  return outcome;
}

}  // namespace lifeboat::ops
