#include "ops/scratch/scratch.h"

#include <sys/stat.h>
#include <unistd.h>

#include "ops/restore/start.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/memory.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kPort = 5432;  // names the socket only: nothing listens on TCP
constexpr int64_t kStopTimeoutMs = 120'000;
constexpr uint32_t kLargestChangedSegment = 64 << 20;  // several lie in memory
constexpr size_t kLongestSocketDirectory = 90;         // AF_UNIX paths have 107 bytes

double since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

Status make_new_directory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0) return {};
  return errno_error(errno, path, "create directory");
}

RestoreOptions restore_options(const ScratchOptions& options) {
  RestoreOptions restore;
  restore.location = options.location;
  restore.lineage = options.lineage;
  restore.backup = options.backup;
  restore.target = options.target;
  restore.timeline_choice = options.timeline_choice;
  restore.timeline = options.timeline;
  restore.action =
      options.until == ScratchUntil::open ? pg::TargetAction::promote : pg::TargetAction::shutdown;
  restore.directory = options.directory + "/data";
  restore.unmapped = UnmappedTablespaces::beside;
  restore.archive = ArchiveChoice::off;
  restore.program = options.program;
  restore.pg_bin = options.pg_bin;
  restore.jobs = options.jobs;
  restore.port = kPort;
  restore.socket_directory = options.directory + "/run";
  // It preloads what is there (isolate.h), which the preflight need not look for.
  restore.settings = {
      {"shared_preload_libraries", ""}, {"session_preload_libraries", ""}, {"local_preload_libraries", ""}};
  restore.recovery_timeout_ms = options.recovery_timeout_ms;
  restore.reads_wal_later = options.wanted && options.until == ScratchUntil::open;
  if (restore.reads_wal_later) restore.placed_wal = options.directory + "/placed";
  return restore;
}

}  // namespace

std::string_view to_string(ScratchMedium medium) {
  return medium == ScratchMedium::mount ? "mount" : "copy";
}

Result<std::unique_ptr<Scratch>> Scratch::make(ScratchOptions options) {
  const std::string& directory = options.directory;
  if (directory.size() > kLongestSocketDirectory - 4) {
    return make_error(ErrorKind::usage, directory,
                      cat("longer than ", kLongestSocketDirectory - 4, " bytes, too long for a Unix socket"))
        .with_hint("give a shorter --to");
  }
  std::unique_ptr<Scratch> scratch(new Scratch(std::move(options)));
  TRY(scratch->prepare());
  return scratch;
}

// What cannot be listed may hold anything.
Status Scratch::take_directory() {
  const std::string& directory = options_.directory;
  auto listing = list_dir(directory);
  if (!listing && listing.error().kind != ErrorKind::not_found) return std::move(listing).error();
  if (listing && !listing->empty()) {
    return make_error(ErrorKind::precondition, directory, "is not empty")
        .with_hint("--to takes a directory that is absent or empty");
  }
  if (!listing) {
    TRY(create_dirs(parent_path(directory), 0700));
    TRY(make_new_directory(directory));
    made_ = true;
  }
  // Of two that find it empty one goes on.
  TRY(make_new_directory(file("run")));
  ours_ = true;
  return {};
}

std::string Scratch::file(std::string_view name) const {
  return join_path(options_.directory, name);
}

Status Scratch::prepare() {
  TRY(take_directory());
  TRY(create_dirs(work_directory(), 0700));
  TRY(write_file_durable(file("pg_hba.conf"), as_bytes("local all all trust\n"), 0600));
  TRY(write_file_durable(file("pg_ident.conf"), as_bytes(""), 0600));
  restore_ = restore_options(options_);
  choose_medium();
  return {};
}

void Scratch::choose_medium() {
  medium_ = ScratchMedium::copy;
  if (options_.medium == ScratchMedium::copy || options_.after == AfterScratch::keep ||
      options_.mounter == nullptr)
    return;
  if (Status available = options_.mounter->available(); !available) {
    notes_.push_back(cat("restored whole, because nothing can be mounted: ", available.error().to_string()));
    return;
  }
  medium_ = ScratchMedium::mount;
}

Scratch::~Scratch() {
  server_.reset();
  checking_.reset();
  mount_.reset();
  if (options_.after == AfterScratch::remove) (void)remove();
}

Status Scratch::remove() {
  if (ours_) TRY(remove_content());
  if (made_ && rmdir(options_.directory.c_str()) != 0)
    return errno_error(errno, options_.directory, "remove the directory");
  return {};
}

Status Scratch::remove_content() {
  Status all;
  for (const char* below :
       {"data", "data_tablespaces", "run", "work", "placed", "pg_hba.conf", "pg_ident.conf", "server.log"})
    if (Status gone = remove_tree(file(below)); !gone) all = std::move(gone);
  return all;
}

Status Scratch::start(const RestoreSource& source, RestorePlan plan, Reporter& reporter, StopToken& stop) {
  plan_ = std::move(plan);
  // That an older backup than the newest is used, above all.
  notes_.insert(notes_.end(), plan_.warnings.begin(), plan_.warnings.end());
  if (!plan_.pg_bin) {
    return make_error(ErrorKind::not_found, cat("PostgreSQL ", source.lineage->record.lineage.major),
                      "its programs are not on this host")
        .with_hint("install that major's server packages, or give --pg-bin");
  }
  TRY_ASSIGN(manifest_, repo::read_manifest(source.repo(), plan_.backup.id));
  libraries_ = look_for_libraries(preload_libraries(manifest_), *plan_.pg_bin);
  if (restore_.reads_wal_later) TRY(choose_what_is_left_out(source));
  // Of WAL that is left out nothing is written.
  const bool replays_all = medium_ == ScratchMedium::mount && !left_out_;
  IsolationInput isolation;
  isolation.manifest = &manifest_;
  isolation.hba_file = file("pg_hba.conf");
  isolation.ident_file = file("pg_ident.conf");
  isolation.libraries = libraries_.loaded;
  isolation.memory = memory_at_hand();
  isolation.minimums = plan_.minimums;
  isolation.replayed = replays_all ? plan_.reach.wal_bytes : 0;
  restore_.settings = isolation_settings(isolation);
  restore_.target = plan_.asked;
  TRY(restore_files(source, reporter, stop));
  if (medium_ == ScratchMedium::mount) {
    const int64_t began = Clock::system().monotonic_us();
    TRY_ASSIGN(mount_, ScratchMount::begin(data(), *options_.mounter, options_.jobs, reporter, stop));
    mount_seconds_ = since(began);
  }
  if (restore_.reads_wal_later) TRY(read_wal(source, granted_minimums(isolation)));
  TRY(recover(restore_.settings, reporter, stop));
  if (!checking_) return {};
  TRY_ASSIGN(plan_.reach.stop, checking_->stop());
  checking_.reset();
  return left_out_ ? check_end() : Status();
}

Status Scratch::choose_what_is_left_out(const RestoreSource& source) {
  if (plan_.reach.path.segment_size.bytes > kLargestChangedSegment) return {};
  TRY_ASSIGN(left_out_,
             LeftOut::choose(*source.lineage, manifest_, *options_.wanted, {pg::LaunchOptions().database}));
  return {};
}

// Beside replay, and without what nobody wants.
Status Scratch::read_wal(const RestoreSource& source, RecoveryMinimums granted) {
  ReplayCheckOptions check;
  check.directory = data();
  check.backup = plan_.backup;
  check.timeline = plan_.reach.timeline;
  check.stop = plan_.reach.stop;
  check.asked = plan_.asked;
  check.granted = std::move(granted);
  if (left_out_) {
    PlacingOptions& placing = check.placing.emplace();
    placing.directory = restore_.placed_wal;
    TRY_ASSIGN(placing.owner, owner_of_files(manifest_));
    placing.segments = PlacedSegments::written_over;
    placing.needless = [this](const pg::WalRecord& record) { return left_out_->leaves_out(record); };
    placing.path = plan_.reach.path;
  }
  TRY_ASSIGN(checking_, ReplayCheck::begin(*source.lineage, std::move(check)));
  checking_->go_on();
  return {};
}

// WAL that ends in pg_wal ends recovery, wherever that is: the new timeline says where it left the old one.
Status Scratch::check_end() const {
  const Timeline timeline = recovery_.timeline;
  const std::string path = cat(data(), "/pg_wal/", timeline.to_hex(), ".history");
  TRY_ASSIGN(std::string text, read_text(path, 1 << 20));
  TRY_ASSIGN(pg::TimelineHistory history, pg::TimelineHistory::parse(timeline, text));
  const Lsn end = history.ancestors().empty() ? Lsn{0} : history.ancestors().back().end;
  if (same_wal_position(end, plan_.reach.stop)) return {};
  return make_error(
      ErrorKind::check_failed, data(),
      cat("recovery ended at ", end.to_string(), ", expected was ", plan_.reach.stop.to_string()));
}

// A skeleton or everything. A file system that cannot carry a mount gets a copy.
Status Scratch::restore_files(const RestoreSource& source, Reporter& reporter, StopToken& stop) {
  const bool mounted = medium_ == ScratchMedium::mount;
  restore_.medium = mounted ? RestoreMedium::mount : RestoreMedium::copy;
  restore_.throw_away = mounted;
  auto restored = execute_restore(source, restore_, plan_, reporter, stop);
  if (!restored && mounted && restored.error().kind == ErrorKind::unsupported) {
    notes_.push_back(cat("restored whole, because it cannot be mounted: ", restored.error().to_string()));
    medium_ = ScratchMedium::copy;
    TRY_ASSIGN(plan_, plan_restore(source, restore_, reporter, stop));
    return restore_files(source, reporter, stop);
  }
  TRY(restored);
  phases_ = restored->phases;
  return {};
}

// Starts the copy on its socket and follows it until it is open for writing.
Status Scratch::recover(const Settings& settings, Reporter& reporter, StopToken& stop) {
  pg::LaunchOptions launch;
  launch.bin = *plan_.pg_bin;
  launch.data_directory = data();
  launch.socket_directory = file("run");
  launch.port = kPort;
  launch.log_file = file("server.log");
  launch.role = bootstrap_role(manifest_);
  launch.settings = settings;
  launch.session_settings = session_settings(manifest_.card.server_version_num);
  launch.ends_with_us = true;
  // Nothing of it is kept. The time of a copy that was restored whole is what a restore would take.
  if (medium_ == ScratchMedium::mount) launch.settings.emplace_back("fsync", "off");
  launch.stop = &stop;
  int64_t began = Clock::system().monotonic_us();
  TRY_ASSIGN(pg::PgServer server, pg::PgServer::start(std::move(launch)));
  bool replaying = false;
  pg::PgServer::WaitFor wait;
  int64_t timeout = options_.recovery_timeout_ms > 0 ? options_.recovery_timeout_ms : INT64_MAX / 2000;
  TRY_ASSIGN(pg::ServerState state, server.wait(wait, timeout, [&](const pg::ServerState& now) {
    if (!replaying && now.phase != pg::ServerPhase::starting) {
      replaying = true;
      phases_.start = since(began);
      began = Clock::system().monotonic_us();
    }
    if (checking_) checking_->watch(now);
    const bool begun = now.replayed > plan_.replay_from;
    reporter.progress("recovering", begun ? now.replayed.value - plan_.replay_from.value : 0,
                      plan_.reach.wal_bytes, ProgressUnit::bytes);
  }));
  phases_.recovery = since(began);
  if (Status recovered = check_recovered(state); !recovered) {
    // What closed the gate says more than the server that met it.
    if (checking_ && checking_->ended()) TRY(checking_->stop());
    return recovered;
  }
  if (options_.until == ScratchUntil::stopped_at_target) return {};
  began = Clock::system().monotonic_us();
  TRY_ASSIGN(pg::PgClient client, server.connect());
  TRY_ASSIGN(pg::Rows rows, client.query("select count(*) from pg_catalog.pg_class"));
  first_query_seconds_ = since(began);
  recovery_ = RecoveryResult{state.phase, plan_.reach.stop, plan_.reach.last_commit, state.timeline,
                             kPort,       file("run"),      file("server.log"),      server.pid()};
  server_.emplace(std::move(server));
  return {};
}

Status Scratch::check_recovered(const pg::ServerState& state) const {
  const bool open = options_.until == ScratchUntil::open;
  if (open ? state.phase == pg::ServerPhase::ready : state.stopped_at_target) return {};
  return make_error(ErrorKind::check_failed, data(),
                    open ? "the restored server did not come up"
                         : "the restored server did not stop at the recovery target")
      .with_cause(state.last_error);
}

Result<bool> Scratch::lacks(pg::PgClient& client, const std::vector<TableName>& tables) const {
  if (!left_out_) return false;
  if (!left_out_->problem().empty()) return true;
  return left_out_->lacks(client, tables);
}

Status Scratch::stop_server() {
  return server_->stop(pg::StopMode::fast, kStopTimeoutMs);
}

Result<uint64_t> Scratch::end() {
  if (!mount_) return uint64_t{0};
  TRY_ASSIGN(uint64_t fetched, mount_->end());
  mount_.reset();
  return fetched;
}

}  // namespace lifeboat::ops
