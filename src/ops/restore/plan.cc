#include "ops/restore/plan.h"

#include <algorithm>

#include "ops/restore/choose.h"
#include "ops/restore/delta.h"
#include "ops/restore/estimate.h"
#include "ops/restore/layout.h"
#include "ops/restore/libraries.h"
#include "ops/restore/marker.h"
#include "ops/restore/owner.h"
#include "ops/restore/rescue.h"
#include "ops/restore/restore.h"
#include "ops/restore/space.h"
#include "ops/restore/start.h"
#include "ops/restore/target_dir.h"
#include "ops/restore/tree_writer.h"
#include "pg/format/control_file.h"
#include "pg/server/postmaster.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Recovery fetches segments one by one and recycles them at restartpoints, so it keeps about max_wal_size of
// them.
constexpr uint64_t kDefaultMaxWalSize = 1ull << 30;
constexpr uint64_t kLeastWalSegments = 3;
constexpr uint64_t kControlFileLimit = 64 << 10;

uint64_t max_wal_size(const repo::Manifest& manifest) {
  for (const repo::Setting& setting : manifest.settings) {
    if (setting.name != "max_wal_size") continue;
    // SHOW prints a unit, pg_settings megabytes.
    size_t digits = setting.value.find_first_not_of("0123456789");
    auto number = parse_u64(std::string_view(setting.value).substr(0, digits));
    std::string_view unit =
        digits == std::string::npos ? "MB" : trim(std::string_view(setting.value).substr(digits));
    if (!number) break;
    if (unit == "kB") return *number << 10;
    if (unit == "GB") return *number << 30;
    if (unit == "TB") return *number << 40;
    return *number << 20;
  }
  return kDefaultMaxWalSize;
}

uint64_t wal_room(const repo::Manifest& manifest, const Reach& reach) {
  uint64_t segment = manifest.segment_size.bytes;
  uint64_t kept = std::min(reach.wal_bytes + segment, max_wal_size(manifest));
  return std::max(kept, kLeastWalSegments * segment);
}

// The unfinished last segment of the directory that is replaced, when it is not stored.
std::optional<PartialSegment> local_partial(const RescuePlan& rescue) {
  for (const RescueFile& file : rescue.files) {
    if (file.file.kind == WalFileKind::partial && file.end.valid())
      return PartialSegment{file.file.segment, file.path, {}};
  }
  return std::nullopt;
}

// RestorePlan::own_wal_to, but for the timeline that is restored. A file system that was lost under pg_wal
// leaves a directory that is occupied all the same; a standby's has what came; an old primary's ends where
// the next one began.
Result<Lsn> own_wal_to(const RescuePlan& rescue, const repo::LineageRepo& repo, const std::string& directory,
                       SegmentSize size) {
  auto facts = read_data_dir(directory);
  auto standby = path_exists(join_path(directory, "standby.signal"));
  if (!facts || !standby || *standby || !rescue.notes.empty()) return Lsn{};
  const pg::ControlFile& control = facts->control;
  if (control.state == pg::DbState::in_archive_recovery ||
      control.state == pg::DbState::shut_down_in_recovery)
    return Lsn{};
  const Timeline timeline = control.checkpoint.timeline;
  const SegmentName wanted = SegmentName::containing(timeline, control.checkpoint_lsn, size);
  std::optional<SegmentName> last;
  bool holds = false;
  for (const auto* files : {&rescue.stored, &rescue.files}) {
    for (const RescueFile& one : *files) {
      const bool segment = one.file.kind == WalFileKind::segment || one.file.kind == WalFileKind::partial;
      if (!segment || one.file.segment.timeline != timeline) continue;
      last = std::max(last.value_or(one.file.segment), one.file.segment);
      holds = holds || (one.file.segment == wanted && (!one.end.valid() || one.end > control.checkpoint_lsn));
    }
  }
  TRY_ASSIGN(auto newest, repo::WalStore(repo).newest_segment(timeline));
  if (!holds || (newest && *newest > *last)) return Lsn{};
  return control.checkpoint_lsn;
}

Error with_rescue_hint(Error error, const RestorePlan& plan) {
  // The unfinished one is looked at again each time, stored or not.
  std::vector<std::string> whole = plan.rescue;
  std::erase_if(whole, [](const std::string& file) { return file.ends_with(".partial"); });
  if (error.kind != ErrorKind::unreachable || whole.empty()) return error;
  error.hint += cat(error.hint.empty() ? "" : "; ", counted(whole.size(), "WAL file"),
                    " of the old directory not stored yet (", whole.front(),
                    " …); when it is carried out they are stored before the target is looked for");
  return error;
}

// Names what is made and kept beside `directory` by the time; two restores within a second do not meet.
Result<std::string> unused_suffix(const std::string& directory, Timestamp moment) {
  const std::string base = (moment.valid() ? moment : Timestamp{Clock::system().unix_us()}).to_compact();
  std::string suffix = base;
  for (int number = 2;; ++number) {
    bool used = false;
    for (std::string_view place : {".new-", ".old-", "/lifeboat.new-", "/lifeboat.old-"}) {
      TRY_ASSIGN(bool there, path_exists(cat(directory, place, suffix)));
      used = used || there;
    }
    if (!used) return suffix;
    suffix = cat(base, ".", number);  // what follows the last dash is the time
  }
}

// "20261129T024746Z", perhaps with a number behind it.
bool is_time(std::string_view suffix) {
  return suffix.size() >= 16 && suffix[8] == 'T' && suffix[15] == 'Z' &&
         std::ranges::all_of(suffix.substr(0, 8), [](char c) { return c >= '0' && c <= '9'; });
}

class Planner {
 public:
  Planner(const RestoreSource& source, const RestoreOptions& options, Reporter& reporter,
          const StopToken& stop)
      : source_(source), repo_(source.repo()), options_(options), reporter_(reporter), stop_(stop) {}

  Result<RestorePlan> run() {
    TRY(check_options());
    begin_plan();
    TRY(look_at_old_directory());
    if (Status fits = choose_and_look(); !fits) return naming_others(std::move(fits).error(), plan_);
    if (auto theirs = read_data_dir(options_.directory);
        plan_.own_wal_to.valid() && (!theirs || theirs->control.checkpoint.timeline != plan_.reach.timeline))
      plan_.own_wal_to = {};
    collect_warnings();
    return std::move(plan_);
  }

 private:
  Status choose_and_look() {
    TRY(choose());
    TRY(place());
    TRY(look_at_host());
    TRY(look_at_libraries());
    TRY(look_at_port());
    return measure();
  }

  Status check_options() const {
    const RecoveryTarget& target = options_.target;
    bool may_exclude = target.kind == pg::TargetKind::time || target.kind == pg::TargetKind::lsn ||
                       target.kind == pg::TargetKind::xid;
    if (!target.inclusive && !may_exclude) {
      return make_error(ErrorKind::usage, "--exclusive",
                        cat("does not go with a target of ", pg::to_string(target.kind)))
          .with_hint("it stops before a time, an LSN or a transaction");
    }
    if (!options_.program.starts_with('/')) {
      return make_error(ErrorKind::internal, "restore", "the path of the program is not absolute");
    }
    return {};
  }

  void begin_plan() {
    plan_.cluster = repo_.cluster();
    plan_.lineage = repo_.lineage();
    plan_.other_lineages = source_.lineage->others;
    plan_.repository = repo_.store().url();
    plan_.asked = options_.target;
    plan_.replace = options_.replace;
    plan_.delta = options_.delta;
    plan_.archive_off =
        options_.archive == ArchiveChoice::off ||
        (options_.archive == ArchiveChoice::automatic && !options_.replace && !options_.standby);
    bool aims = options_.target.kind != pg::TargetKind::latest;
    plan_.action = options_.action.value_or(aims ? pg::TargetAction::pause : pg::TargetAction::promote);
  }

  Status look_at_old_directory() {
    TRY_ASSIGN(DirectoryLook look, look_at_directory(options_.directory));
    if (!options_.replace && !options_.delta) {
      // "not empty" would be true but not helpful where a server runs.
      if (look.state == DirectoryState::occupied) {
        auto running = pg::running_server(options_.directory);
        if (running && *running) {
          return make_error(ErrorKind::precondition, options_.directory,
                            cat("a server is running there, process ", (*running)->pid_file.pid))
              .with_hint("give a new or empty directory with --to");
        }
      }
      return {};
    }
    TRY(check_replaceable(options_.directory,
                          options_.stops_server ? ServerThere::will_be_stopped : ServerThere::refused));
    plan_.existing_data = look.state == DirectoryState::occupied || look.overwrites();
    if (look.overwrites()) return check_same_system(look.marker->overwrites);
    if (!plan_.existing_data) return {};
    if (auto theirs = lineage_of_directory(options_.directory))
      TRY(check_same_system(theirs->system_id.to_string()));
    if (options_.delta && !options_.replace) TRY(check_is_copy(options_.directory));
    if (auto link = read_link(join_path(options_.directory, "pg_wal")); link && !keeps_links()) {
      plan_.warnings.push_back(
          cat("pg_wal is a symbolic link to ", *link,
              "; the restored one is inside the data directory, move it before the start if it "
              "has to be elsewhere"));
    }
    // All WAL of a standby is its primary's, unless it went its own way, which belongs into no repository.
    if (!options_.replace || options_.standby) return {};
    TRY_ASSIGN(RescuePlan rescue, plan_rescue(*source_.lineage, options_.directory, stop_));
    for (const RescueFile& file : rescue.files) plan_.rescue.push_back(file.file.text);
    plan_.warnings.insert(plan_.warnings.end(), rescue.notes.begin(), rescue.notes.end());
    TRY_ASSIGN(plan_.own_wal_to,
               own_wal_to(rescue, repo_, options_.directory, source_.lineage->record.segment_size));
    local_partial_ = local_partial(rescue);
    // Where it stands it is about to be overwritten.
    if (options_.delta && local_partial_ && is_stored_partial(*source_.lineage, rescue.files))
      local_partial_.reset();
    return {};
  }

  // In its own place a cluster keeps its links when it is overwritten.
  bool keeps_links() const { return options_.delta && options_.replace; }

  // T26.
  Status check_same_system(const std::string& theirs) const {
    if (theirs == plan_.lineage.system_id.to_string()) return {};
    return make_error(ErrorKind::foreign, options_.directory,
                      cat("is of system ", theirs, ", cluster ", plan_.cluster, " is system ",
                          plan_.lineage.system_id.to_string()))
        .with_hint("name the right cluster with --cluster, or restore beside it with --to");
  }

  Status choose() {
    auto chosen = choose_backup(*source_.lineage, options_, local_partial_, reporter_, stop_);
    if (!chosen) return with_rescue_hint(std::move(chosen).error(), plan_);
    plan_.backup = chosen->card;
    plan_.others = std::move(chosen->others);
    plan_.reach = std::move(chosen->reach);
    plan_.warnings.insert(plan_.warnings.end(), chosen->warnings.begin(), chosen->warnings.end());
    plan_.replay_from = plan_.backup.start_lsn;
    TRY_ASSIGN(manifest_, repo::read_manifest(repo_, plan_.backup.id));
    TRY_ASSIGN(pg::ControlFile control, read_backup_control(repo_, manifest_, plan_.lineage.major));
    if (control.system_id != plan_.lineage.system_id) {
      return make_error(ErrorKind::damaged, cat("backup ", plan_.backup.id.text),
                        cat("its pg_control is of system ", control.system_id.to_string(), ", expected ",
                            plan_.lineage.system_id.to_string()));
    }
    plan_.minimums = minimums_of(control);
    raise(plan_.minimums, chosen->replayed.minimums);
    return options_.replace ? Status() : refuse_live_tablespaces(chosen->replayed);
  }

  Status place() {
    TRY_ASSIGN(survey_, survey_tree(repo_, manifest_, stop_));
    TRY_ASSIGN(std::string suffix, unused_suffix(options_.directory, options_.moment));
    TRY_ASSIGN(plan_.placements, place_trees(manifest_, survey_, options_, suffix));
    if (options_.delta) TRY(measure_growth(repo_, survey_.pgdata, plan_.placements, stop_));
    plan_.files = survey_.data_directory.files;
    plan_.bytes = survey_.data_directory.bytes;
    for (const auto& [oid, part] : survey_.tablespaces) {
      plan_.files += part.files;
      plan_.bytes += part.bytes;
    }
    for (const repo::TablespaceInfo& tablespace : manifest_.tablespaces) {
      if (tablespace.in_place)
        plan_.in_place_tablespaces.push_back(cat(tablespace.name, " (", tablespace.oid, ")"));
    }
    for (const Placement& place : plan_.placements) {
      if (place.kept_as.empty() && !place.overwrites) {
        TRY_ASSIGN(DirectoryLook look, look_at_directory(place.staging_path));
        if (look.state == DirectoryState::incomplete) plan_.clears.push_back(place.staging_path);
      }
      if (options_.replace) {
        TRY(find_aborted_replacements(staging_beside(place.final_path)));
        TRY(find_aborted_replacements(staging_inside(place.final_path)));
      }
    }
    return {};
  }

  // An aborted --replace leaves a directory beside or inside the one to be replaced, with an earlier time in
  // its name, also when the old one was moved aside already.
  Status find_aborted_replacements(const std::string& path_begins) {
    std::string parent = parent_path(path_begins);
    std::string_view prefix = base_name(path_begins);
    auto entries = list_dir(parent);
    if (!entries) return {};  // may not be listed: then nothing is cleared either
    for (const DirEntry& entry : *entries) {
      if (entry.kind != FileKind::directory || !std::string_view(entry.name).starts_with(prefix)) continue;
      std::string path = join_path(parent, entry.name);
      TRY_ASSIGN(DirectoryLook look, look_at_directory(path));
      // It may have ended before its marker was there.
      if (look.overwrites()) continue;
      bool made_by_us = is_time(std::string_view(entry.name).substr(prefix.size()));
      if (look.state == DirectoryState::incomplete || (look.state == DirectoryState::empty && made_by_us))
        plan_.clears.push_back(path);
    }
    return {};
  }

  Status look_at_host() {
    TRY_ASSIGN(Owner owner, owner_of_files(manifest_));
    plan_.owner = owner.user;
    auto bin = pg::find_pg_bin(plan_.lineage.major, options_.pg_bin);
    if (bin) {
      plan_.pg_bin = std::move(*bin);
    } else if (options_.start || !options_.pg_bin.empty() || bin.error().kind != ErrorKind::not_found) {
      return std::move(bin).error();
    } else {
      plan_.warnings.push_back(
          cat("PostgreSQL ", plan_.lineage.major,
              " is not on this host: the directory can be written, but not started here"));
    }
    return {};
  }

  // Without one of them the server does not start, which must not turn out when the old one is stopped or
  // moved.
  Status look_at_libraries() {
    if (options_.read_only) return {};
    TRY_ASSIGN(auto missing, missing_libraries(repo_, manifest_, plan_, options_));
    for (const MissingLibrary& one : missing) {
      Error error = missing_library_error(one);
      if (options_.start || options_.replace) return error;
      plan_.warnings.push_back(cat(error.object, " ", error.message));
    }
    return {};
  }

  // A copy with the original's port and socket directory cannot start beside it. Where they come from the
  // backup, the files may say otherwise, which is known only when they are written.
  Status look_at_port() {
    if (options_.read_only || (options_.replace && !options_.start)) return {};
    pid_t ours = 0;  // that is stopped first
    if (options_.replace) {
      auto running = pg::running_server(options_.directory);
      if (running && *running) ours = (*running)->pid_file.pid;
    }
    int port = options_.port.value_or(
        static_cast<int>(parse_u64(recorded_setting(manifest_, "port")).value_or(5432)));
    std::string sockets =
        options_.socket_directory.value_or(recorded_setting(manifest_, "unix_socket_directories"));
    for (std::string_view directory : split(sockets, ',')) {
      Status free = check_socket_free(std::string(trim(directory)), port, ours);
      if (free) continue;
      if (options_.start && !options_.replace) return std::move(free).error();
      // The files outside may say otherwise by now.
      const bool as_recorded = !options_.port && !outside_config_file(plan_, manifest_).empty();
      if (options_.replace && !as_recorded) plan_.port_taken = free.error();
      plan_.warnings.push_back(cat("port ", port, " is in use here, ", free.error().object,
                                   ": to start it beside that server give it another with --port"));
    }
    return {};
  }

  Status measure() {
    TRY_ASSIGN(plan_.space, measure_space(plan_.placements, wal_room(manifest_, plan_.reach)));
    if (options_.medium == RestoreMedium::copy || options_.hydrate) {
      TRY(check_space(plan_.space));
    } else if (Status room = check_space(plan_.space); !room) {
      // Only what is looked at takes space.
      plan_.warnings.push_back(cat("not all of it has room here: ", room.error().to_string()));
    }
    if (options_.medium == RestoreMedium::mount) {
      // Rates are learnt by reading samples; there is no copy whose time they would tell.
      plan_.estimate.basis = "not estimated: what is mounted is not copied first";
      return {};
    }
    TRY_ASSIGN(plan_.estimate, estimate_time(repo_, manifest_, survey_.pgdata, plan_.bytes,
                                             plan_.reach.wal_bytes, options_.jobs, stop_));
    if (options_.delta)
      plan_.estimate.basis += "; the copy of everything: what is equal already is compared, not fetched";
    return {};
  }

  void collect_warnings() {
    for (const std::string& link : survey_.links) {
      plan_.warnings.push_back(cat("symbolic link in the data directory is restored as a link: ", link));
    }
    for (const Placement& place : plan_.placements) {
      if (place.tablespace == 0 || place.final_path != place.recorded || options_.replace) continue;
      plan_.warnings.push_back(cat("tablespace ", place.name, " goes to its recorded location ",
                                   place.final_path, ", which is free on this host"));
    }
  }

  const RestoreSource& source_;
  const repo::LineageRepo& repo_;
  const RestoreOptions& options_;
  Reporter& reporter_;
  const StopToken& stop_;
  RestorePlan plan_;
  repo::Manifest manifest_;
  TreeSurvey survey_;
  std::optional<PartialSegment> local_partial_;
};

}  // namespace

Error naming_others(Error error, const RestorePlan& plan) {
  if (error.kind != ErrorKind::damaged || plan.others.empty()) return error;
  error.hint = cat(error.hint, error.hint.empty() ? "" : "; ", "another backup may lead there: --backup ",
                   plan.others.front().text);
  return error;
}

Result<pg::ControlFile> read_backup_control(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                                            int major) {
  repo::TreeReader tree(repo);
  TRY_ASSIGN(repo::Entry entry, tree.find(manifest.root, cat("pgdata/", kControlFile)));
  TRY_ASSIGN(Bytes content, read_tree_file(repo, entry, manifest.block_size, kControlFileLimit));
  auto control = pg::parse_control_file(content, major);
  if (!control)
    return std::move(control).error().within(cat("backup ", manifest.card.id.text, ": ", kControlFile));
  return control;
}

Result<RestorePlan> plan_restore(const RestoreSource& source, const RestoreOptions& options,
                                 Reporter& reporter, StopToken& stop) {
  return Planner(source, options, reporter, stop).run();
}

}  // namespace lifeboat::ops
