#include "ops/restore/configure.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <future>
#include <map>

#include "codec/codec.h"
#include "ops/mount/finish.h"
#include "ops/restore/config_text.h"
#include "ops/restore/tree_writer.h"
#include "ops/wal/commands.h"
#include "pg/format/backup_label.h"
#include "pg/format/version.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kConfigLimit = 16 << 20;
constexpr int64_t kAskTimeoutMs = 30'000;

// Directories that PostgreSQL expects and does not make itself (src/bin/initdb/initdb.c, subdirs); those that
// a major does not have are harmless empty directories, so only the common ones are listed.
constexpr std::array<std::string_view, 22> kRequired = {"global",
                                                        "pg_wal",
                                                        "pg_wal/archive_status",
                                                        "pg_commit_ts",
                                                        "pg_dynshmem",
                                                        "pg_notify",
                                                        "pg_serial",
                                                        "pg_snapshots",
                                                        "pg_subtrans",
                                                        "pg_twophase",
                                                        "pg_multixact",
                                                        "pg_multixact/members",
                                                        "pg_multixact/offsets",
                                                        "base",
                                                        "pg_replslot",
                                                        "pg_tblspc",
                                                        "pg_stat",
                                                        "pg_stat_tmp",
                                                        "pg_xact",
                                                        "pg_logical",
                                                        "pg_logical/snapshots",
                                                        "pg_logical/mappings"};

const repo::Setting* find_setting(const repo::Manifest& manifest, std::string_view name) {
  auto found =
      std::ranges::find_if(manifest.settings, [&](const repo::Setting& s) { return s.name == name; });
  return found == manifest.settings.end() ? nullptr : &*found;
}

void set_last(std::vector<std::pair<std::string, std::string>>& settings, std::string_view name,
              std::string value) {
  std::erase_if(settings, [&](const auto& entry) { return entry.first == name; });
  settings.emplace_back(name, std::move(value));
}

class Configurer {
 public:
  Configurer(const ConfigureInput& input, BackupManifestWriter* manifest, const StopToken& stop)
      : in_(input),
        manifest_(manifest),
        stop_(stop),
        directory_(input.plan.placements.front().staging_path),
        places_(input.manifest.data_directory, input.manifest.external_files),
        private_mode_((input.survey.mode & 0050) == 0050 ? 0640 : 0600),
        directory_mode_((input.survey.mode & 0050) == 0050 ? 0750 : 0700) {}

  Result<std::vector<std::string>> run() {
    TRY(make_required_directories());
    TRY(write_labels());
    if (in_.plan.replace) {
      TRY(compare_external_files());
    } else {
      TRY(adopt_configuration());
    }
    TRY(write_recovery_settings());
    TRY(write(in_.options.standby ? "standby.signal" : "recovery.signal", ""));
    return std::move(notes_);
  }

 private:
  Status make_directory(std::string_view below) {
    std::string path = join_path(directory_, below);
    if (mkdir(path.c_str(), directory_mode_) != 0) {
      if (errno == EEXIST) return {};
      return errno_error(errno, path, "create");
    }
    if (chmod(path.c_str(), directory_mode_) != 0) return errno_error(errno, path, "set the mode of");
    return give_away(path);
  }

  Status make_directories(const std::string& below) {
    for (size_t slash = below.find('/'); slash != std::string::npos; slash = below.find('/', slash + 1)) {
      TRY(make_directory(std::string_view(below).substr(0, slash)));
    }
    return make_directory(below);
  }

  Status give_away(const std::string& path) const {
    if (geteuid() == 0 && lchown(path.c_str(), in_.uid, in_.gid) != 0)
      return errno_error(errno, path, "set the owner of");
    return {};
  }

  Status make_required_directories() {
    for (std::string_view name : kRequired) TRY(make_directory(name));
    return {};
  }

  // Writes one file and lists it in the backup manifest where that lists it.
  Status write(const std::string& below, std::string_view content) {
    TRY(stop_.check());
    std::string path = join_path(directory_, below);
    // Not synced here: the whole tree is, before pg_control gets its name.
    TRY_ASSIGN(Fd fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    TRY(write_all(fd.get(), as_bytes(content), path));
    if (fchmod(fd.get(), private_mode_) != 0) return errno_error(errno, path, "set the mode of");
    TRY(fd.close(path));
    TRY(give_away(path));
    if (manifest_ == nullptr || !listed_in_backup_manifest(below)) return {};
    uint32_t crc = codec::crc32c(0xffffffff, as_bytes(content)) ^ 0xffffffff;
    return manifest_->add(below, content.size(), Clock::system().unix_us(), crc);
  }

  Status write_labels() {
    TRY(write("backup_label", in_.manifest.backup_label));
    TRY_ASSIGN(std::string map, planned_tablespace_map(in_.manifest, in_.plan));
    if (!map.empty()) TRY(write("tablespace_map", map));
    return {};
  }

  // --- configuration
  Result<std::string> tree_text(const std::string& path) {
    repo::TreeReader tree(in_.repo);
    TRY_ASSIGN(repo::Entry entry, tree.find(in_.manifest.root, path));
    TRY_ASSIGN(Bytes content, read_tree_file(in_.repo, entry, in_.manifest.block_size, kConfigLimit));
    return std::string(as_text(content));
  }

  Result<std::string> external_text(const repo::ExternalFile& file) {
    return tree_text(cat("config/", file.entry));
  }

  // Beside the original: every configuration file that the copy needs, with nothing in it that leads back.
  Status adopt_configuration() {
    bool external_main = std::ranges::any_of(in_.manifest.external_files, [](const repo::ExternalFile& file) {
      return file.setting == "config_file";
    });
    if (!external_main && in_.survey.top.contains("postgresql.conf")) {
      TRY_ASSIGN(std::string text, tree_text("pgdata/postgresql.conf"));
      TRY(adopt(text, cat(places_.source_data_directory(), "/postgresql.conf"), "postgresql.conf",
                ConfigSyntax::settings));
    }
    for (const repo::ExternalFile& file : in_.manifest.external_files) {
      TRY_ASSIGN(std::string text, external_text(file));
      const std::string* place = places_.place(file.path);
      bool access = file.setting == "hba_file" || file.setting == "ident_file";
      TRY(adopt(text, file.path, *place, access ? ConfigSyntax::access : ConfigSyntax::settings));
      if (!file.setting.empty())
        notes_.push_back(cat(file.path, " of the source host is ", *place, " in the copy"));
    }
    for (auto [name, text] : {std::pair<std::string_view, std::string_view>{
                                  "postgresql.conf", "# The backup holds no postgresql.conf: defaults.\n"},
                              {"pg_hba.conf",
                               "# The backup holds no pg_hba.conf: local users under their own names only.\n"
                               "local all all peer\n"}}) {
      if (in_.survey.top.contains(std::string(name)) || adopted_.contains(std::string(name))) continue;
      TRY(write(std::string(name), text));
      notes_.push_back(cat(name, " is not in the backup; a minimal one was written"));
    }
    return {};
  }

  Status adopt(const std::string& text, const std::string& source_path, const std::string& place,
               ConfigSyntax syntax) {
    AdoptedConfig adopted = adopt_config(text, source_path, place, places_, syntax);
    if (size_t slash = place.rfind('/'); slash != std::string::npos)
      TRY(make_directories(place.substr(0, slash)));
    TRY(write(place, adopted.text));
    adopted_.insert(place);
    for (const std::string& directory : adopted.directories) {
      if (!directory.empty()) TRY(make_directories(directory));
    }
    notes_.insert(notes_.end(), adopted.notes.begin(), adopted.notes.end());
    return {};
  }

  // In place: what is outside the data directory stays as it is; a difference is shown, the backup's copy is
  // at hand.
  Status compare_external_files() {
    for (const repo::ExternalFile& file : in_.manifest.external_files) {
      TRY_ASSIGN(std::string text, external_text(file));
      auto here = read_text(file.path, kConfigLimit);
      if (here && *here == text) continue;
      std::string copy = cat("lifeboat.conf.d", normal_path(file.path, "/"));
      TRY(make_directories(copy.substr(0, copy.rfind('/'))));
      TRY(write(copy, text));
      std::string final_copy = join_path(in_.plan.placements.front().final_path, copy);
      bool missing = !here && here.error().kind == ErrorKind::not_found;
      notes_.push_back(missing ? cat(file.path, " is missing on this host; the backup's copy is ", final_copy)
                               : cat(file.path,
                                     " is left as it is and differs from the backup's copy; compare: diff ",
                                     shell_quote(file.path), " ", shell_quote(final_copy)));
    }
    return {};
  }

  // --- recovery settings
  Status write_recovery_settings() {
    std::string auto_conf;
    if (in_.survey.top.contains("postgresql.auto.conf")) {
      TRY_ASSIGN(auto_conf, tree_text("pgdata/postgresql.auto.conf"));
      if (!in_.plan.replace) {
        AdoptedConfig adopted =
            adopt_config(auto_conf, cat(places_.source_data_directory(), "/postgresql.auto.conf"),
                         "postgresql.auto.conf", places_, ConfigSyntax::settings);
        auto_conf = std::move(adopted.text);
      }
    }
    pg::RecoverySettings settings = planned_settings(in_);
    fit_to_host(settings);
    TRY(write("postgresql.auto.conf", pg::with_recovery_settings(auto_conf, settings)));
    if (!raise_to_minimum(settings)) return {};
    return write("postgresql.auto.conf", pg::with_recovery_settings(auto_conf, settings));
  }

  bool asked_for(std::string_view name) const {
    return std::ranges::any_of(in_.options.settings, [&](const auto& entry) { return entry.first == name; });
  }

  // Locations that the copy would share with the original, or that this host does not have.
  void fit_to_host(pg::RecoverySettings& settings) {
    if (in_.plan.replace) return;
    const repo::Setting* log = find_setting(in_.manifest, "log_directory");
    if (log != nullptr && log->value.starts_with('/') && !asked_for("log_directory")) {
      set_last(settings.more, "log_directory", "log");
      notes_.push_back(cat("log_directory is log inside the copy instead of ", log->value));
    }
    const repo::Setting* sockets = find_setting(in_.manifest, "unix_socket_directories");
    if (sockets == nullptr || settings.socket_directory || asked_for("unix_socket_directories")) return;
    for (std::string_view part : split(sockets->value, ',')) {
      std::string path(trim(part));
      if (path.empty() || path[0] == '@') continue;
      auto there = path_exists(path);
      if (there && *there) continue;
      settings.socket_directory = "/tmp";
      notes_.push_back(cat("unix_socket_directories is /tmp, because ", path, " is not on this host"));
      return;
    }
  }

  // What PostgreSQL itself makes of the configuration; no answers without its programs, or when it refuses.
  // Each answer takes a process its start, so they are asked for together.
  std::map<std::string, std::string, std::less<>> effective(const std::vector<std::string>& names) {
    std::map<std::string, std::string, std::less<>> values;
    if (!in_.plan.pg_bin) return values;
    std::vector<std::future<Result<ProcessOutcome>>> answers;
    answers.reserve(names.size());
    for (const std::string& name : names)
      answers.push_back(std::async(std::launch::async, [this, &name] { return ask(name); }));
    for (size_t i = 0; i < names.size(); ++i) {
      auto outcome = answers[i].get();
      if (!outcome) continue;
      if (outcome->ok()) {
        values[names[i]] = std::string(trim(outcome->out));
      } else if (!refused_) {
        refused_ = true;
        notes_.push_back(cat("PostgreSQL does not accept the configuration: ", trim(outcome->err)));
      }
    }
    return values;
  }

  Result<ProcessOutcome> ask(const std::string& name) const {
    ProcessSpec spec;
    // -C must come first: only then is root allowed (src/backend/main/main.c).
    spec.argv = {in_.plan.pg_bin->program("postgres"), "-C", name, "-D", directory_};
    spec.env = {{"LC_ALL", "C"}, {"PGDATA", std::nullopt}};
    RunOptions run;
    run.timeout_ms = kAskTimeoutMs;
    run.stop = &stop_;
    return run_process(spec, run);
  }

  // Recovery stops or pauses where these are below what the primary had (T32).
  bool raise_to_minimum(pg::RecoverySettings& settings) {
    bool raised = false;
    std::vector<std::string> names;
    for (const auto& [name, minimum] : in_.plan.minimums) names.push_back(name);
    if (!in_.plan.replace) names.emplace_back("ssl");
    const auto values = effective(names);
    for (const auto& [name, minimum] : in_.plan.minimums) {
      auto value = values.find(name);
      const repo::Setting* recorded = find_setting(in_.manifest, name);
      std::optional<int64_t> number;
      if (value != values.end()) {
        number = parse_i64(value->second);
      } else if (recorded != nullptr) {
        number = parse_i64(recorded->value);
      }
      if (number && *number >= minimum) continue;
      set_last(settings.more, name, cat(minimum));
      raised = true;
      if (number) {
        notes_.push_back(cat(name, " is raised from ", *number, " to ", minimum,
                             ", the value that the WAL was written under"));
      }
    }
    auto ssl = values.find("ssl");
    if (ssl != values.end() && ssl->second == "on") raised |= turn_off_broken_ssl(settings);
    return raised;
  }

  bool turn_off_broken_ssl(pg::RecoverySettings& settings) {
    for (const auto& [name, file] :
         effective({"ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file"})) {
      if (file.empty()) continue;
      std::string path = normal_path(file, directory_);
      if (access(path.c_str(), R_OK) == 0) continue;
      set_last(settings.more, "ssl", "off");
      notes_.push_back(cat("ssl is off, because ", name, " ", path, " cannot be read on this host"));
      return true;
    }
    return false;
  }

  const ConfigureInput& in_;
  BackupManifestWriter* manifest_;
  const StopToken& stop_;
  std::string directory_;
  ConfigPlaces places_;
  mode_t private_mode_;
  mode_t directory_mode_;
  std::set<std::string> adopted_;
  std::vector<std::string> notes_;
  bool refused_ = false;
};

}  // namespace

std::set<std::string> configured_files(const ConfigureInput& input) {
  std::set<std::string> names = {"backup_label",         "tablespace_map",  "backup_manifest",
                                 "postgresql.auto.conf", "recovery.signal", "standby.signal"};
  if (input.plan.replace) return names;
  names.insert("postgresql.conf");
  ConfigPlaces places(input.manifest.data_directory, input.manifest.external_files);
  for (const repo::ExternalFile& file : input.manifest.external_files) names.insert(*places.place(file.path));
  return names;
}

Result<std::string> planned_tablespace_map(const repo::Manifest& manifest, const RestorePlan& plan) {
  TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(plan.lineage.major));
  TRY_ASSIGN(std::vector<pg::TablespaceMapEntry> entries,
             pg::parse_tablespace_map(manifest.tablespace_map, *version));
  bool moved = false;
  for (const Placement& place : plan.placements) {
    if (place.tablespace == 0) continue;
    auto entry = std::ranges::find_if(entries, [&](const auto& e) { return e.oid == place.tablespace; });
    if (entry == entries.end()) {
      // Without its line the link that the restore makes stays, which is right too; with it, recovery makes
      // the link.
      entries.push_back({place.tablespace, place.final_path});
      moved = true;
    } else if (entry->path != place.final_path) {
      entry->path = place.final_path;
      moved = true;
    }
  }
  return moved ? pg::print_tablespace_map(entries, *version) : manifest.tablespace_map;
}

pg::RecoverySettings planned_settings(const ConfigureInput& input) {
  const RestorePlan& plan = input.plan;
  pg::RecoverySettings settings;
  const WalCommandLine line{input.options.program, input.options.location, input.options.spool,
                            input.options.placed_wal};
  settings.restore_command = restore_command(line, RestoreCommandFor::recovery);
  settings.target = plan.reach.effective.kind;
  settings.target_value = plan.reach.effective.value();
  settings.inclusive = plan.reach.effective.inclusive;
  settings.timeline = plan.reach.timeline;
  settings.action = plan.action;
  if (const auto& standby = input.options.standby) {
    // Follows whatever timeline the primary goes to, and asks again where a recovery would have to stop
    // (T29).
    settings.restore_command = restore_command(line, RestoreCommandFor::standby);
    settings.timeline.reset();
    settings.target = pg::TargetKind::latest;  // whatever position that is in the repository
    settings.target_value.clear();
    settings.inclusive = true;
    settings.primary_conninfo = standby->conninfo;
    settings.primary_slot_name = standby->slot;
    settings.keep_synchronous_standby_names = standby->keeps_synchronous_names;
  }
  settings.port = input.options.port;
  settings.socket_directory = input.options.socket_directory;
  settings.written_by = cat("restored from backup ", plan.backup.id.text, " of cluster ", plan.cluster);
  // PostgreSQL refuses a number whose history file it cannot get.
  if (!plan.reach.has_history_file && !input.options.standby)
    settings.more.emplace_back("recovery_target_timeline", "current");
  // A pause needs hot standby, and the recovery is watched through it; a delayed standby's delay is not
  // wanted.
  settings.more.emplace_back("hot_standby", "on");
  settings.more.emplace_back("recovery_min_apply_delay", "0");
  if (plan.archive_off) {
    settings.archive_off = true;
    settings.archive_off_reason =
        "a restored copy must not write into the archive of its source; to make it the primary: "
        "ALTER SYSTEM RESET archive_mode; ALTER SYSTEM RESET max_logical_replication_workers; and restart";
    // Its subscriptions would take over the slots of the source's (T33).
    settings.more.emplace_back("max_logical_replication_workers", "0");
  }
  // Without it recovery stops at a directory in pg_tblspc (CheckTablespaceDirectory in xlogrecovery.c).
  if (!plan.in_place_tablespaces.empty()) settings.more.emplace_back("allow_in_place_tablespaces", "on");
  const pg::VersionTraits* version = pg::find_version(plan.lineage.major);
  if (!plan.replace && version != nullptr && version->stats_temp_directory) {
    settings.more.emplace_back("stats_temp_directory", "pg_stat_tmp");
  }
  if (input.options.medium == RestoreMedium::mount) {
    for (const auto& [name, value] : mount_settings(plan.lineage.major)) set_last(settings.more, name, value);
  }
  for (const auto& [name, value] : input.options.settings) set_last(settings.more, name, value);
  return settings;
}

Result<std::vector<std::string>> configure_directory(const ConfigureInput& input,
                                                     BackupManifestWriter* manifest, const StopToken& stop) {
  return Configurer(input, manifest, stop).run();
}

}  // namespace lifeboat::ops
