#include "ops/doctor/facts.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>

#include "ops/catalogue/proof.h"
#include "ops/doctor/continuity.h"
#include "ops/restore/marker.h"
#include "ops/wal/commands.h"
#include "pg/client/client.h"
#include "pg/client/ping.h"
#include "pg/server/pg_bin.h"
#include "pg/server/postmaster.h"
#include "pg/server/recovery_settings.h"
#include "repo/tombstone.h"
#include "repo/wal_store.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kPatienceUs = 10'000'000;  // an outage that lasts is a finding
constexpr uint64_t kAutoConfLimit = 4 << 20;
std::string directory_of_url(std::string_view url) {
  constexpr std::string_view kScheme = "file://";
  return url.starts_with(kScheme) ? std::string(url.substr(kScheme.size())) : std::string();
}

std::optional<DiskFacts> look_at_disk(const std::string& path) {
  auto info = stat_path(path);
  struct statvfs status = {};
  if (!info || statvfs(path.c_str(), &status) != 0) return std::nullopt;
  DiskFacts disk;
  disk.path = path;
  disk.device = info->device;
  disk.free_bytes = static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  disk.total_bytes = static_cast<uint64_t>(status.f_blocks) * status.f_frsize;
  return disk;
}

// --- the server
// ----------------------------------------------------------------------------------------------

// While archiving is off the server shows "(disabled)" for the command (show_archive_command in
// src/backend/access/transam/xlog.c); the reset value is what is configured.
void reveal_archive_command(pg::PgClient& client, pg::ServerFacts& server) {
  auto shown = server.settings.find("archive_command");
  if (shown == server.settings.end() || shown->second != "(disabled)") return;
  auto configured = client.value("SELECT reset_val FROM pg_settings WHERE name = 'archive_command'");
  if (configured && *configured) shown->second = **configured;
}

Status gather_server(const DoctorRequest& request, DoctorFacts& facts) {
  pg::ConnectOptions options;
  options.application_name = "lifeboat doctor";
  options.connect_timeout_ms = request.server_timeout_ms;
  options.statement_timeout_ms = request.server_timeout_ms;
  options.stop = request.stop;
  auto keep_problem = [&](Error error) -> Status {
    if (error.kind == ErrorKind::cancelled) return error;
    facts.server_problem = std::move(error);
    return {};
  };
  auto client = pg::PgClient::connect(request.conninfo, options);
  if (!client) {
    Error problem = std::move(client).error();
    // It refuses, and is there.
    if (problem.kind == ErrorKind::unavailable &&
        pg::answers(request.conninfo, request.server_timeout_ms).value_or(false))
      problem.kind = ErrorKind::server;
    return keep_problem(std::move(problem));
  }
  if (request.lock_timeout_ms > 0) {
    auto set = client->exec(cat("SET lock_timeout = ", request.lock_timeout_ms));
    if (!set) return keep_problem(std::move(set).error());
  }
  pg::FactsRequest wanted;
  wanted.settings = checked_settings();
  wanted.archiver = true;
  wanted.replication = true;
  auto server = pg::read_facts(*client, wanted);
  if (!server) return keep_problem(std::move(server).error());
  facts.server = std::move(*server);
  if (auto trace = trace_server(*client, *facts.server)) facts.server_trace = std::move(*trace);
  reveal_archive_command(*client, *facts.server);
  // Patroni names its own connections.
  auto patroni =
      client->query("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'Patroni%' LIMIT 1");
  facts.patroni = patroni && !patroni->empty();
  return {};
}

// --- the data directory
// --------------------------------------------------------------------------------------

// Is this directory the one in which the server at --pg runs? The system identifier alone does not tell: a
// standby on this host has its primary's.
std::optional<Error> other_cluster(const DataDirFacts& data, const pg::ServerFacts& server,
                                   const std::optional<ServerTrace>& trace) {
  if (data.lineage.system_id != server.system_id || data.lineage.major != server.major) {
    return make_error(
        ErrorKind::foreign, data.path,
        cat("the data directory and the server are two clusters: system identifier ",
            data.lineage.system_id.to_string(), " of PostgreSQL ", data.lineage.major, " in the directory, ",
            server.system_id.to_string(), " of PostgreSQL ", server.major, " on the server"));
  }
  auto running = pg::running_server(data.path);
  if (!running) return std::nullopt;  // cannot be told
  if (!trace) return std::nullopt;
  bool same =
      running->has_value() && is_same_server(*trace, (*running)->pid_file, data.path) == SameServer::yes;
  if (same) return std::nullopt;
  return make_error(ErrorKind::precondition, data.path,
                    "the server that was asked does not run in this directory, though it has the same system "
                    "identifier (a standby or a copy?)");
}

// What reaches the server that runs in `directory`, for a hint.
std::string conninfo_of(const std::string& directory) {
  auto running = pg::running_server(directory);
  if (!running || !running->has_value()) return "";
  const pg::PidFile& file = (*running)->pid_file;
  if (file.socket_directory.empty()) return cat("host=localhost port=", file.port);
  return cat("host=", file.socket_directory, " port=", file.port);
}

void gather_data_directory(const DoctorRequest& request, DoctorFacts& facts) {
  std::string path = request.pgdata.value_or("");
  if (path.empty() && facts.server) path = facts.server->data_directory;
  if (path.empty()) {
    facts.data_problem = make_error(ErrorKind::not_found, "", "the data directory is not known")
                             .with_hint("give --pgdata, or let the role read the setting data_directory");
    return;
  }
  auto data = read_data_dir(path);
  if (!data) {
    facts.data_problem = std::move(data).error();
    if (auto marked = path_exists(join_path(path, kMarkerName)); marked && *marked)
      facts.data_problem = make_error(ErrorKind::precondition, path,
                                      "holds an unfinished restore that PostgreSQL cannot start")
                               .with_hint("the command that made it goes on, or starts over");
    if (!request.pgdata) facts.data_problem->hint = "run lifeboat on the database's host for these checks";
    return;
  }
  if (facts.server) {
    if (auto problem = other_cluster(*data, *facts.server, facts.server_trace)) {
      std::string conninfo = conninfo_of(data->path);
      if (!conninfo.empty()) {
        problem->hint = cat("the server in this directory is reached with --pg ", shell_quote(conninfo));
      }
      facts.data_problem = std::move(problem);
      return;
    }
  }
  facts.data = std::move(*data);
}

// The last line of postgresql.auto.conf that sets it, which wins over every other file.
bool sets_empty(const std::string& auto_conf, std::string_view name) {
  std::string_view last;
  for (std::string_view line : split(auto_conf, '\n'))
    if (pg::setting_name_of_line(line) == name) last = trim(line);
  return last.ends_with("= ''");
}

RestoreLeftovers gather_leftovers(const DoctorFacts& facts) {
  RestoreLeftovers leftovers;
  auto text = read_text(join_path(facts.data->path, "postgresql.auto.conf"), kAutoConfLimit);
  if (text) leftovers.archive_off = archiving_turned_off_by_restore(*text);
  auto signal = path_exists(join_path(facts.data->path, "recovery.signal"));
  leftovers.recovery_signal = signal && *signal;
  if (!facts.server) return leftovers;
  for (const auto& [name, value] : facts.server->settings) {
    bool target = name.starts_with("recovery_target") && name != "recovery_target_timeline" &&
                  name != "recovery_target_action" && name != "recovery_target_inclusive";
    const auto& pending = facts.server->pending_restart;
    if (text && std::ranges::find(pending, name) != pending.end() && sets_empty(*text, name)) continue;
    bool command = name == "recovery_end_command" || name == "archive_cleanup_command";
    if ((target || command) && !value.empty()) leftovers.recovery_set.push_back(cat(name, " = ", value));
  }
  return leftovers;
}

void gather_files_of_server(DoctorFacts& facts) {
  if (!facts.data) return;
  const std::string& directory = facts.data->path;
  std::string wal = join_path(directory, "pg_wal");
  std::string status = join_path(wal, "archive_status");
  if (auto entries = list_dir(status)) facts.backlog = read_backlog(*entries, status);
  facts.leftovers = gather_leftovers(facts);
  auto managed = path_exists(join_path(directory, "patroni.dynamic.json"));
  if (managed && *managed) facts.patroni = true;
  facts.data_disk = look_at_disk(directory);
  facts.wal_disk = look_at_disk(wal);
  if (auto user = OsUser::by_uid(facts.data->owner))
    facts.server_user = ServerUserFacts{*user, {}, {}, {}, false};
}

// Debian keeps clusters at /var/lib/postgresql/<major>/<name> and their configuration in /etc under the same
// name.
std::string debian_cluster_of(const std::string& directory) {
  constexpr std::string_view kPlace = "/var/lib/postgresql/";
  if (!directory.starts_with(kPlace)) return "";
  auto parts = split(std::string_view(directory).substr(kPlace.size()), '/');
  if (parts.size() != 2 || !parse_u64(parts[0])) return "";
  auto known = path_exists(cat("/etc/postgresql/", parts[0], "/", parts[1], "/postgresql.conf"));
  return known && *known ? cat(parts[0], " ", parts[1]) : "";
}

void gather_host(const DoctorRequest& request, DoctorFacts& facts) {
  facts.person = person_at_keyboard();
  auto systemd = path_exists("/run/systemd/system");
  facts.systemd = systemd && *systemd;
  facts.debian_cluster = debian_cluster_of(facts.data     ? facts.data->path
                                           : facts.server ? facts.server->data_directory
                                                          : std::string());
  int major = facts.server ? facts.server->major : facts.data ? facts.data->version->major : 0;
  if (major == 0) return;
  if (auto bin = pg::find_pg_bin(major, request.pg_bin)) facts.pg_bin = bin->directory;
}

// How the server's user meets what archive_command names.
void gather_command(const DoctorRequest& request, DoctorFacts& facts) {
  if (!facts.server) return;
  auto found = facts.server->settings.find("archive_command");
  if (found == facts.server->settings.end()) return;
  facts.archive_command = parse_archive_command(found->second);
  CommandFacts& command = facts.archive_command;
  // Of another version's program nobody here knows what it takes.
  if (command.ours && !command.shell && command.program == facts.program && request.refuses)
    command.refused = request.refuses(command.words);
  if (!facts.server_user || !command.ours) return;
  ServerUserFacts& user = *facts.server_user;
  if (command.program.starts_with('/')) {
    user.program = look_at_access(user.user, command.program, Use::execute);
  }
  if (!command.key.path.empty()) user.key = look_at_access(user.user, command.key.path, Use::read);
  if (command.repo) {
    std::string directory = command.repo->starts_with('/') ? *command.repo : directory_of_url(*command.repo);
    if (!directory.empty()) {
      user.repository = look_at_access(user.user, directory, Use::write_into);
      // Objects of our cluster are made below; a directory made by somebody else in between refuses as well.
      std::string cluster = cat(directory, "/clusters/", command.cluster.value_or("main"));
      for (const std::string& inner : {cat(directory, "/clusters"), cluster}) {
        if (!user.repository->allowed) break;
        AccessFacts below = look_at_access(user.user, inner, Use::write_into);
        if (below.exists && !below.allowed) user.repository = below;
      }
      auto marker = path_exists(join_path(directory, "lifeboat.json"));
      // What we may not see may be there all the same.
      user.command_repo_exists = !marker || *marker;
    }
  }
}

// --- the repository
// ------------------------------------------------------------------------------------------

// nullopt: it is not there.
Result<std::optional<codec::Hash128>> hash_of_file(const std::string& path) {
  auto fd = open_file(path, 0);
  if (!fd && fd.error().kind == ErrorKind::not_found) return std::optional<codec::Hash128>();
  TRY(fd);
  codec::Hasher128 hasher;
  Bytes buffer(1 << 20);
  for (;;) {
    TRY_ASSIGN(size_t count, read_some(fd->get(), buffer, path));
    if (count == 0) break;
    hasher.update(ByteView(buffer).first(count));
  }
  return std::optional(hasher.digest());
}

Result<std::optional<FailedWalFacts>> compare_failed_wal(const DoctorFacts& facts,
                                                         const ChosenLineage& lineage,
                                                         const WalFileName& name) {
  // What keeps the server's own file from being read is no fault of the repository.
  auto digest = hash_of_file(cat(facts.data->path, "/pg_wal/", name.text));
  if (!digest) return std::optional<FailedWalFacts>();
  FailedWalFacts failed;
  failed.file = name.text;
  failed.here = digest->has_value();
  if (!failed.here) return std::optional(std::move(failed));
  codec::Hash128 here = lineage.repo.keys().name_hash(name.text, **digest);
  TRY_ASSIGN(auto stored, repo::WalStore(lineage.repo).find_all(name));
  for (const repo::WalObject& object : stored) {
    (object.name_hash == here ? failed.stored_same : failed.stored_other) = true;
  }
  return std::optional(std::move(failed));
}

// The server was asked before the repository is, so what was stored meanwhile is no loss.
Result<ArchivedWalFacts> look_for_archived_wal(const ChosenLineage& lineage, const WalFileName& name) {
  ArchivedWalFacts archived;
  archived.segment = name.segment;
  repo::WalStore wal(lineage.repo);
  auto whole = WalFileName::parse(name.segment.to_string());
  CHECK(whole.has_value());
  TRY_ASSIGN(auto stored, wal.find_all(*whole));
  archived.came = !stored.empty();
  if (archived.came) return archived;
  TRY_ASSIGN(archived.newest, wal.newest_segment(name.timeline));
  archived.came = archived.newest && *archived.newest > name.segment;
  return archived;
}

// Of what was lost when WAL was verified, what is stored by now is not.
Status forget_what_came_later(const ChosenLineage& lineage, std::vector<ProvenLoss>& lost) {
  repo::WalStore wal(lineage.repo);
  std::vector<ProvenLoss> still;
  for (ProvenLoss& one : lost) {
    auto name = WalFileName::parse(one.segment);
    if (!name) continue;
    TRY_ASSIGN(auto stored, wal.find_all(*name));
    if (stored.size() != 1) still.push_back(std::move(one));
  }
  lost = std::move(still);
  return {};
}

Status read_catalogue_of(const DoctorRequest& request, const repo::Repository& repository,
                         DoctorFacts& facts) {
  RepositoryFacts& known = facts.repository;
  TRY_ASSIGN(known.lineages, repo::list_lineages(repository, request.where.cluster));
  if (!request.catalogue) return {};
  auto ours = facts.lineage();
  // Without a server the newest lineage is looked at.
  if (!ours && !known.lineages.empty()) ours = known.lineages.back().lineage;
  auto record =
      std::ranges::find_if(known.lineages, [&](const auto& one) { return ours && one.lineage == *ours; });
  if (record == known.lineages.end()) return {};
  ChosenLineage lineage{repo::LineageRepo(repository, request.where.cluster, record->lineage), *record,
                        known.lineages.size() - 1};
  TRY_ASSIGN(auto condemned, repo::read_condemned(lineage.repo));
  TRY_ASSIGN(auto cards, repo::read_cards(lineage.repo));
  TRY_ASSIGN(known.proofs, read_proofs(lineage.repo));
  TRY(forget_what_came_later(lineage, known.proofs.lost));
  for (repo::Card& card : cards) {
    if (card.state == repo::BackupState::aborted) {
      known.attempts.push_back(std::move(card));
      continue;
    }
    if (condemned.condemns(card.id)) continue;
    const BackupProofs* proven = known.proofs.of(card.id);
    if (proven != nullptr && proven->good()) known.newest_verified = card.id;
    known.backups.push_back(std::move(card));
  }
  if (facts.server && facts.server->archiver && facts.data) {
    auto name = WalFileName::parse(facts.server->archiver->last_failed_wal);
    if (name) {
      TRY_ASSIGN(known.failed_wal, compare_failed_wal(facts, lineage, *name));
    }
  }
  if (facts.server && facts.server->archiver) {
    auto name = WalFileName::parse(facts.server->archiver->last_archived_wal);
    // A backup's label is handed over behind its first segment; of histories nothing follows.
    if (name && (name->kind == WalFileKind::segment || name->kind == WalFileKind::backup_label)) {
      TRY_ASSIGN(known.archived_wal, look_for_archived_wal(lineage, *name));
    }
  }
  std::optional<Timeline> servers;
  // 0: a standby that receives nothing does not know.
  if (facts.server && facts.server->current_timeline.value != 0) servers = facts.server->current_timeline;
  TRY_ASSIGN(known.continuity, follow_wal(lineage, known.backups, servers));
  return {};
}

void gather_repository(const DoctorRequest& request, DoctorFacts& facts) {
  RepositoryFacts& known = facts.repository;
  known.url = request.where.url;
  known.cluster = request.where.cluster;
  known.key = request.where.key;
  known.directory = directory_of_url(request.where.url);
  if (!known.directory.empty()) facts.repository_disk = look_at_disk(known.directory);
  RepoLocation where = request.where;
  where.patience = where.patience.shortened_to(kPatienceUs);
  auto store = open_store(where, storage::StoreMode::existing);
  if (!store) {
    known.problem = std::move(store).error();
    return;
  }
  auto marker = repo::Repository::read_marker(**store);
  if (!marker) {
    known.problem = std::move(marker).error();
    return;
  }
  known.marker = *marker;
  if (marker->encrypted) {
    if (auto slots = repo::list_slots(**store)) known.key_slots = std::move(*slots);
  }
  auto repository = repo::Repository::open(std::move(*store), request.where.key);
  if (!repository) {
    known.problem = std::move(repository).error();
    return;
  }
  known.opened = std::make_shared<const repo::Repository>(*std::move(repository));
  if (auto read = read_catalogue_of(request, *known.opened, facts); !read) {
    known.catalogue_problem = std::move(read).error();
  }
}

}  // namespace

const std::vector<std::string>& checked_settings() {
  static const std::vector<std::string> kSettings = {
      "wal_level",
      "archive_mode",
      "archive_command",
      "archive_library",
      "archive_timeout",
      "max_wal_senders",
      "max_replication_slots",
      "max_slot_wal_keep_size",
      "synchronous_standby_names",
      "synchronous_commit",
      "fsync",
      "full_page_writes",
      "port",
      "recovery_target",
      "recovery_target_lsn",
      "recovery_target_name",
      "recovery_target_time",
      "recovery_target_xid",
      "recovery_end_command",
      "archive_cleanup_command",
  };
  return kSettings;
}

std::optional<Lineage> DoctorFacts::lineage() const {
  if (server) return Lineage{server->system_id, server->major};
  if (data) return data->lineage;
  return std::nullopt;
}

std::string server_user(const DoctorFacts& facts) {
  return facts.server_user ? facts.server_user->user.name : "postgres";
}

std::string our_command(const DoctorFacts& facts, std::string_view words, std::string_view more) {
  const RepositoryFacts& known = facts.repository;
  FollowUp follow_up = {facts.program, {known.url, known.cluster, known.key}, facts.conninfo, std::nullopt};
  if (facts.data) follow_up.pgdata = facts.data->path;
  const bool server = words == "init" || words == "backup" || words == "doctor";
  // Drills, alerts and policies stand there.
  const std::string config =
      facts.config_path.empty() ? "" : cat(" --config ", shell_quote(facts.config_path));
  return cat(as_ourselves(facts.person, server_user(facts)),
             command_line(follow_up, cat(words, config), server ? Needs::server : Needs::repository, more));
}

std::string their_program(const DoctorFacts& facts, std::string_view name) {
  std::string program = facts.pg_bin.empty() ? std::string(name) : join_path(facts.pg_bin, name);
  return cat(as_owner(facts.person, server_user(facts)), shell_quote(program));
}

BacklogFacts read_backlog(const std::vector<DirEntry>& archive_status, const std::string& directory) {
  constexpr std::string_view kReady = ".ready";
  BacklogFacts backlog;
  for (const DirEntry& entry : archive_status) {
    if (!entry.name.ends_with(kReady)) continue;
    ++backlog.ready;
    auto info = stat_path(join_path(directory, entry.name));
    if (!info) continue;  // archived meanwhile
    if (!backlog.oldest.valid() || info->modified_us < backlog.oldest.unix_us) {
      backlog.oldest = {info->modified_us};
      backlog.oldest_name = entry.name.substr(0, entry.name.size() - kReady.size());
    }
  }
  return backlog;
}

bool archiving_turned_off_by_restore(std::string_view auto_conf) {
  bool ours = false;
  bool off = false;
  for (std::string_view line : split(auto_conf, '\n')) {
    std::string_view text = trim(line);
    if (text.starts_with('#') && to_lower(text).find("lifeboat") != std::string::npos) ours = true;
    auto name = pg::setting_name_of_line(text);
    if (name && *name == "archive_mode") {
      // The last line wins, as in PostgreSQL.
      std::string value = to_lower(text);
      off = ours && value.find("off") != std::string::npos;
    }
  }
  return off;
}

Result<DoctorFacts> gather_facts(const DoctorRequest& request) {
  DoctorFacts facts;
  facts.now = request.now.valid() ? request.now : Timestamp{Clock::system().unix_us()};
  facts.conninfo = request.conninfo;
  facts.config_path = request.config_path;
  facts.program = request.program;
  if (facts.program.empty()) {
    TRY_ASSIGN(facts.program, own_program_path());
  }
  facts.expected_archive_command = archive_command({facts.program, request.where});

  TRY(gather_server(request, facts));
  gather_data_directory(request, facts);
  gather_files_of_server(facts);
  gather_host(request, facts);
  gather_command(request, facts);
  gather_repository(request, facts);

  facts.state_directory = facts.archive_command.state_directory.empty()
                              ? std::string(kDefaultStateDirectory)
                              : facts.archive_command.state_directory;
  if (auto lineage = facts.lineage()) {
    std::string cluster = facts.archive_command.cluster.value_or(request.where.cluster);
    auto failure = read_push_failure(facts.state_directory, cluster, *lineage);
    if (failure) facts.push_failure = std::move(*failure);
    auto dropped = read_dropped(facts.state_directory, cluster, *lineage);
    if (dropped) facts.dropped = std::move(*dropped);
  }
  if (request.stop != nullptr) TRY(request.stop->check());
  return facts;
}

}  // namespace lifeboat::ops
