#include "ops/restore/restore.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>

#include "ops/catalogue/catalogue.h"
#include "ops/mount/skeleton.h"
#include "ops/restore/backup_manifest.h"
#include "ops/restore/configure.h"
#include "ops/restore/delta.h"
#include "ops/restore/durability.h"
#include "ops/restore/layout.h"
#include "ops/restore/marker.h"
#include "ops/restore/next_command.h"
#include "ops/restore/owner.h"
#include "ops/restore/partial.h"
#include "ops/restore/replace.h"
#include "ops/restore/rescue.h"
#include "ops/restore/target_dir.h"
#include "ops/restore/tree_writer.h"
#include "ops/wal/prefetch.h"
#include "repo/lease.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Adds the time of its life to a phase.
class PhaseTimer {
 public:
  explicit PhaseTimer(double& seconds) : seconds_(seconds), began_us_(Clock::system().monotonic_us()) {}
  ~PhaseTimer() { seconds_ += static_cast<double>(Clock::system().monotonic_us() - began_us_) / 1e6; }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  double& seconds_;
  int64_t began_us_;
};

class Execution {
 public:
  Execution(const RestoreSource& source, const RestoreOptions& options, RestorePlan plan, Reporter& reporter,
            StopToken& stop)
      : repo_(source.repo()), lineage_(*source.lineage), options_(options), reporter_(reporter), stop_(stop) {
    outcome_.plan = std::move(plan);
  }

  Result<RestoreOutcome> run() {
    TRY(read_backup());
    repo::LeaseOptions lease_options;
    lease_options.stop = &stop_;
    TRY_ASSIGN(repo::ReaderLease lease,
               repo::ReaderLease::acquire(repo_, "restore", {plan().backup.id}, lease_options));
    forget_prefetched();
    if (options_.delta) TRY(lock());
    if (Status written = options_.delta ? write_over() : write(); !written)
      return unfinished(std::move(written).error());
    TRY(lease.check());
    {
      PhaseTimer timer(outcome_.phases.replace);
      TRY(check_still_replaceable());
      TRY_ASSIGN(outcome_.kept, put_in_place(plan().placements));
    }
    if (Status ended = lease.end(); !ended) {
      outcome_.notes.push_back(cat("the lease could not be ended: ", ended.error().to_string()));
    }
    outcome_.next_command = start_command(plan(), manifest_);
    return std::move(outcome_);
  }

 private:
  // WAL that an earlier recovery had fetched ahead is none of this one's (T28).
  void forget_prefetched() {
    const std::vector<std::string> spools =
        options_.spool.empty() ? default_spools(geteuid()) : std::vector{options_.spool};
    for (const std::string& spool : spools) {
      Status cleared = clear_spool(spool, options_.location, lineage_.record.lineage);
      // Where we may not look, `wal get` may not either.
      if (!cleared && cleared.error().kind != ErrorKind::permission)
        outcome_.notes.push_back(cat("the spool was not cleared: ", cleared.error().to_string()));
    }
  }

  const RestorePlan& plan() const { return outcome_.plan; }
  const Placement& data() const { return outcome_.plan.placements.front(); }

  Status read_backup() {
    TRY_ASSIGN(manifest_, repo::read_manifest(repo_, plan().backup.id));
    TRY_ASSIGN(survey_, survey_tree(repo_, manifest_, stop_));
    TRY_ASSIGN(owner_, owner_of_files(manifest_));
    return {};
  }

  // Everything up to directories that PostgreSQL can start.
  Status write() {
    TRY(prepare_directories());
    TRY_ASSIGN(DurableTrees trees, DurableTrees::watch(staging_paths()));
    TRY(begin_skeleton());
    TRY(copy());
    TRY(configure());
    return sync_and_publish(trees);
  }

  Status sync_and_publish(DurableTrees& trees) {
    PhaseTimer timer(outcome_.phases.sync);
    reporter_.progress("syncing", 0, 0, ProgressUnit::items);
    uint64_t point = fault::point("restore.sync");
    // What is thrown away anyway need not survive a power cut.
    if (!options_.throw_away) TRY(trees.sync(options_.jobs, stop_));
    fault::passed(point);
    return publish();
  }

  // It may have been started meanwhile: copying takes long.
  Status check_still_replaceable() const {
    if (data().kept_as.empty()) return {};
    Status still = check_replaceable(data().final_path);
    if (still) return still;
    Error error = std::move(still).error();
    error.hint = cat("nothing was moved; ", error.hint, ", then give the same command again");
    return error;
  }

  Status lock() {
    if (!data().overwrites) return {};
    TRY_ASSIGN(Fd lock, lock_directory(data().staging_path));
    marker_locks_.push_back(std::move(lock));
    return {};
  }

  // The same over what is there.
  Status write_over() {
    TRY(prepare_directories());
    TRY(make_unstartable(data().staging_path));
    std::vector<std::string> roots = staging_paths();
    if (plan().replace) {
      TRY_ASSIGN(std::vector<std::string> linked, linked_directories(data().staging_path));
      std::ranges::move(linked, std::back_inserter(roots));
    }
    TRY_ASSIGN(DurableTrees trees, DurableTrees::watch(std::move(roots)));
    TRY(remove_file(join_path(data().staging_path, "backup_manifest")));
    TRY(copy());
    TRY(remove_what_is_not_in_the_backup());
    TRY(configure());
    return sync_and_publish(trees);
  }

  Status remove_what_is_not_in_the_backup() {
    PhaseTimer timer(outcome_.phases.copy);
    uint64_t point = fault::point("restore.remove");
    TRY_ASSIGN(outcome_.compared->removed, remove_others(repo_, survey_.pgdata, plan().placements,
                                                         configured_files(configure_input()), stop_));
    fault::passed(point);
    return {};
  }

  Error unfinished(Error error) const {
    // Whoever throws it away does so after a failure too.
    if (options_.throw_away) return error;
    error = naming_others(std::move(error), plan());
    std::string state = cat(data().staging_path,
                            " holds an unfinished restore that PostgreSQL cannot start; the same command ",
                            options_.delta ? "goes on" : "starts over");
    error.hint = error.hint.empty() ? state : cat(error.hint, "; ", state);
    return error;
  }

  std::vector<std::string> staging_paths() const {
    std::vector<std::string> paths;
    for (const Placement& place : plan().placements) paths.push_back(place.staging_path);
    return paths;
  }

  Status prepare_directories() {
    const std::vector<std::string> staging = staging_paths();
    auto used_again = [&](const std::string& left) {
      return std::ranges::find(staging, left) != staging.end();
    };
    for (const std::string& left : plan().clears)
      if (used_again(left)) TRY(clear_incomplete(left));
    TRY(mark_directories());
    // What an earlier call left goes when the new marker says what it said: where the old directory went.
    for (const std::string& left : plan().clears) {
      if (used_again(left)) continue;
      TRY(clear_incomplete(left));
      TRY(remove_temporary_files(left));
      if (rmdir(left.c_str()) != 0) return errno_error(errno, left, "remove");
    }
    return {};
  }

  Status mark_directories() {
    RestoreMarker marker = RestoreMarker::make(plan().backup.id, {Clock::system().unix_us()});
    for (const Placement& place : plan().placements) {
      const std::string& path = place.staging_path;
      TRY(create_dirs(parent_path(path), 0755));
      if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return errno_error(errno, path, "create");
      // PostgreSQL accepts 0700 and 0750 only (checkDataDir in src/backend/utils/init/miscinit.c).
      mode_t mode = place.tablespace == 0 && survey_.mode == 0750 ? 0750 : 0700;
      if (chmod(path.c_str(), mode) != 0) return errno_error(errno, path, "set the mode of");
      TRY(give_away(path));
      if (!place.overwrites) TRY(check_still_empty(path));
      TRY(remove_temporary_files(path));
      marker.overwrites = place.overwrites ? plan().lineage.system_id.to_string() : "";
      marker.replaces = place.kept_as.empty() ? "" : place.final_path;
      marker.kept_as = place.kept_as;
      marker.part_of = place.tablespace == 0 ? "" : data().staging_path;
      uint64_t point = fault::point("restore.marker");
      TRY_ASSIGN(Fd lock, write_marker(path, marker));
      fault::passed(point);
      marker_locks_.push_back(std::move(lock));
    }
    return {};
  }

  // Whoever came in between loses.
  static Status check_still_empty(const std::string& path) {
    TRY_ASSIGN(DirectoryLook look, look_at_directory(path));
    if (look.state == DirectoryState::empty) return {};
    return make_error(ErrorKind::precondition, path, cat("is not empty any more, it holds ", look.found));
  }

  Status give_away(const std::string& path) const {
    if (geteuid() != 0 || lchown(path.c_str(), owner_.uid, owner_.gid) == 0) return {};
    return errno_error(errno, path, "set the owner of");
  }

  ConfigureInput configure_input() const {
    return {repo_, manifest_, survey_, plan(), options_, owner_.uid, owner_.gid};
  }

  // --- the tree
  Status begin_skeleton() {
    if (options_.medium != RestoreMedium::mount) return {};
    for (const Placement& place : plan().placements) TRY(check_can_carry(place.staging_path));
    TRY_ASSIGN(Skeleton skeleton,
               Skeleton::begin(data().staging_path, manifest_.block_size, owner_.uid, owner_.gid));
    skeleton_.emplace(std::move(skeleton));
    return {};
  }

  Status begin_backup_manifest() {
    TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(plan().lineage.major));
    TRY_ASSIGN(BackupManifestWriter files,
               BackupManifestWriter::create(join_path(data().staging_path, "backup_manifest"),
                                            survey_.mode == 0750 ? 0640 : 0600,
                                            {version, plan().lineage.system_id}));
    backup_manifest_.emplace(std::move(files));
    return give_away(join_path(data().staging_path, "backup_manifest"));
  }

  Status copy() {
    PhaseTimer timer(outcome_.phases.copy);
    // It lists checksums of everything, which a skeleton does not have.
    if (!skeleton_) TRY(begin_backup_manifest());
    const std::set<std::string> configured = configured_files(configure_input());
    TreeWriteOptions write;
    write.workers = options_.jobs;
    if (options_.delta) write.existing = plan().replace ? Existing::compared_links : Existing::compared;
    write.block_size = manifest_.block_size;
    write.uid = owner_.uid;
    write.gid = owner_.gid;
    write.total_bytes = plan().bytes;
    write.place = [&](const std::string& path, const repo::Entry& entry) {
      return place(path, entry, configured);
    };
    if (skeleton_) {
      write.hole = [&](const std::string& path, const repo::Entry& entry, const std::string& absolute,
                       int fd) { return skeleton_->add(path, entry, absolute, fd); };
    } else {
      write.written = [&](const WrittenFile& file) -> Status {
        if (!listed_in_backup_manifest(file.path)) return {};
        return backup_manifest_->add(file.path, file.size, file.mtime_us, file.crc);
      };
    }
    uint64_t point = fault::point("restore.tree");
    TRY_ASSIGN(TreeWriteTotals totals, write_tree(repo_, survey_.pgdata, write, reporter_, stop_));
    fault::passed(point);
    if (skeleton_) TRY(skeleton_->close_table());
    outcome_.files = totals.files;
    outcome_.bytes = totals.bytes;
    if (options_.delta) {
      RestoreOutcome::Compared& compared = outcome_.compared.emplace();
      compared.read = totals.compared;
      compared.unchanged = totals.unchanged;
      compared.fetched = totals.fetched;
      compared.fetched_stored = totals.fetched_stored;
      compared.written = totals.written;
    }
    return {};
  }

  TreePlace place(const std::string& path, const repo::Entry& entry,
                  const std::set<std::string>& configured) const {
    using Do = TreePlace::Do;
    if (configured.contains(path)) return {Do::skip, "", ""};
    if (path == kControlFile) return {Do::write, join_path(data().staging_path, kControlFileStaged), ""};
    const Do how = skeleton_ && Skeleton::is_hole(path, entry) ? Do::as_hole : Do::write;
    for (const Placement& tablespace : plan().placements) {
      if (tablespace.tablespace == 0) continue;
      std::string link = cat("pg_tblspc/", tablespace.tablespace);
      if (path == link) return {Do::as_link, join_path(data().staging_path, link), tablespace.final_path};
      if (path.starts_with(cat(link, "/"))) {
        return {how, join_path(tablespace.staging_path, below_tablespace(path.substr(link.size() + 1))), ""};
      }
    }
    std::string target;
    if (entry.type == repo::EntryType::symlink &&
        entry.target.starts_with(cat(manifest_.data_directory, "/"))) {
      // A link into the original would lead the copy to its files.
      target = cat(data().final_path, entry.target.substr(manifest_.data_directory.size()));
    }
    return {how, join_path(data().staging_path, path), target};
  }

  // A mount's tablespaces have another name for their version directory until they are whole.
  std::string below_tablespace(const std::string& path) const {
    if (!skeleton_) return path;
    const std::string first = path.substr(0, path.find('/'));
    return real_name(TreeKind::tablespace, "", first).value_or(first) + path.substr(first.size());
  }

  // --- configuration
  Status configure() {
    PhaseTimer timer(outcome_.phases.configure);
    reporter_.progress("configuring", 0, 0, ProgressUnit::items);
    TRY_ASSIGN(
        std::vector<std::string> notes,
        configure_directory(configure_input(), backup_manifest_ ? &*backup_manifest_ : nullptr, stop_));
    std::ranges::move(notes, std::back_inserter(outcome_.notes));
    // A standby gets the unfinished segment from its primary.
    if (const auto& partial = plan().reach.partial; partial && !options_.standby) {
      std::string path = cat(data().staging_path, "/pg_wal/", partial->segment.to_string());
      TRY(write_partial_segment(lineage_, *partial, path, survey_.mode == 0750 ? 0640 : 0600));
      TRY(give_away(path));
    }
    if (!backup_manifest_) return {};
    return backup_manifest_->finish(
        {manifest_.start_timeline, plan().backup.start_lsn, plan().backup.stop_lsn});
  }

  // pg_control gets its name when everything else is durable, and only then the markers go (T04), that of the
  // data directory last. What is to replace another directory keeps its marker until it stands there.
  // A mount's pg_control waits until every block is there.
  Status publish() {
    uint64_t point = fault::point("restore.publish");
    if (skeleton_) {
      TRY_ASSIGN(MountState state, mount_state());
      TRY(skeleton_->finish(std::move(state)));
    } else {
      TRY(rename_durable(join_path(data().staging_path, kControlFileStaged),
                         join_path(data().staging_path, kControlFile)));
    }
    fault::passed(point);
    for (const Placement& place : std::views::reverse(plan().placements)) {
      if (place.kept_as.empty()) TRY(unmark(place));
    }
    return {};
  }

  Result<MountState> mount_state() const {
    MountState state;
    state.location = options_.location;
    state.location.patience = {};
    state.lineage = plan().lineage;
    state.backup = plan().backup.id;
    state.throw_away = options_.throw_away;
    if (state.throw_away) state.boot = repo::ProcessIdentity::self().boot_id;
    state.read_only = options_.read_only;
    state.hydrate = options_.hydrate;
    state.owner = owner_.user;
    state.next = start_command(plan(), manifest_);
    state.action = plan().action;
    if (options_.instant) {
      InstantRestore& instant = state.instant.emplace();
      instant.target = options_.target.to_string();
      instant.stop = plan().reach.stop;
      instant.timeline = plan().reach.timeline;
      if (options_.target.kind == pg::TargetKind::time) {
        instant.time = options_.target.time;
        instant.exclusive = !options_.target.inclusive;
      }
      instant.replay_from = plan().replay_from;
      instant.wal_bytes = plan().reach.wal_bytes;
      if (plan().pg_bin) instant.pg_bin = plan().pg_bin->directory;
    }
    for (const Placement& place : plan().placements) {
      TRY_ASSIGN(std::string path, resolve_path(place.final_path));
      state.trees.push_back({place.tablespace, std::move(path)});
    }
    return state;
  }

  Status unmark(const Placement& place) {
    uint64_t point = fault::point("restore.unmark");
    TRY(remove_marker(place.staging_path));
    fault::passed(point);
    return {};
  }

  const repo::LineageRepo& repo_;
  const ChosenLineage& lineage_;
  const RestoreOptions& options_;
  Reporter& reporter_;
  StopToken& stop_;
  RestoreOutcome outcome_;
  repo::Manifest manifest_;
  TreeSurvey survey_;
  Owner owner_;
  std::optional<BackupManifestWriter> backup_manifest_;  // of a copy
  std::optional<Skeleton> skeleton_;                     // of a mount
  std::vector<Fd> marker_locks_;
};

// The lineage to restore from: the one asked for, the backup's, that of the directory to be replaced, else
// the newest.
Result<ChosenLineage> restore_lineage(const repo::Repository& repository, const RestoreOptions& options) {
  const std::string& cluster = options.location.cluster;
  if (options.lineage) return choose_lineage(repository, cluster, options.lineage);
  if (options.backup) {
    TRY_ASSIGN(FoundBackup found, find_backup(repository, cluster, options.backup->text));
    return found.lineage;
  }
  if (options.replace || options.delta) {
    if (auto theirs = lineage_of_directory(options.directory))
      return lineage_of(repository, cluster, *theirs);
  }
  return choose_lineage(repository, cluster);
}

// R3: what only the old directory has goes into the repository before anything is decided.
Status rescue_old_wal(const RestoreSource& source, const RestoreOptions& options, RestoreOutcome& rescued,
                      const StopToken& stop) {
  PhaseTimer timer(rescued.phases.rescue);
  TRY(check_replaceable(options.directory));
  // An aborted --delta had it stored before it touched anything.
  TRY_ASSIGN(DirectoryLook look, look_at_directory(options.directory));
  if (look.overwrites()) return {};
  TRY_ASSIGN(RescuePlan plan, plan_rescue(*source.lineage, options.directory, stop));
  TRY_ASSIGN(rescued.rescued, carry_out_rescue(*source.lineage, plan, rescued.notes, stop));
  rescued.wal_left_behind = !rescued.notes.empty();
  if (options.delta) return check_all_rescued(*source.lineage, plan, rescued.rescued, stop);
  return {};
}

}  // namespace

Result<RestoreSource> open_restore(const RestoreOptions& options) {
  RestoreSource source;
  TRY_ASSIGN(repo::Repository repository, open_repository(options.location));
  source.repository = std::make_unique<repo::Repository>(std::move(repository));
  TRY_ASSIGN(ChosenLineage lineage, restore_lineage(*source.repository, options));
  source.lineage.emplace(std::move(lineage));
  return source;
}

Result<RestoreOutcome> execute_restore(const RestoreSource& source, const RestoreOptions& options,
                                       RestorePlan plan, Reporter& reporter, StopToken& stop) {
  return Execution(source, options, std::move(plan), reporter, stop).run();
}

Result<RestoreOutcome> run_restore(const RestoreOptions& options, Reporter& reporter, StopToken& stop) {
  RestoreOutcome before;
  TRY_ASSIGN(RestoreSource source, open_restore(options));
  if (options.replace) TRY(rescue_old_wal(source, options, before, stop));
  std::optional<RestorePlan> plan;
  {
    PhaseTimer timer(before.phases.preflight);
    TRY_ASSIGN(plan, plan_restore(source, options, reporter, stop));
  }
  if (plan->port_taken) return std::move(*plan->port_taken);
  if (options.begins) options.begins(*plan);
  TRY_ASSIGN(RestoreOutcome outcome, execute_restore(source, options, std::move(*plan), reporter, stop));
  outcome.phases.preflight = before.phases.preflight;
  outcome.phases.rescue = before.phases.rescue;
  outcome.rescued = std::move(before.rescued);
  outcome.wal_left_behind = before.wal_left_behind;
  outcome.notes.insert(outcome.notes.begin(), before.notes.begin(), before.notes.end());
  if (options.start) TRY(start_restored(source, options, outcome, reporter, stop));
  return outcome;
}

}  // namespace lifeboat::ops
