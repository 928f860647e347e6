#include "ops/backup/source.h"

#include <grp.h>
#include <pwd.h>

#include "ops/archive_setting.h"
#include "ops/same_server.h"
#include "pg/files/remote_source.h"
#include "pg/server/postmaster.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

std::string user_name(uid_t uid) {
  const passwd* entry = getpwuid(uid);
  return entry != nullptr ? entry->pw_name : cat(uid);
}
std::string group_name(gid_t gid) {
  const struct group* entry = getgrgid(gid);
  return entry != nullptr ? entry->gr_name : cat(gid);
}

// Why the server that was asked is not the one that works in the directory; empty: it is.
Result<std::string> why_not_its_directory(const std::string& directory, pg::PgClient& client,
                                          const pg::ServerFacts& server) {
  TRY_ASSIGN(auto running, pg::running_server(directory));
  if (!running)
    return std::string("no server works in this data directory, so it is not the one that --pg reaches");
  TRY_ASSIGN(ServerTrace trace, trace_server(client, server));
  if (is_same_server(trace, running->pid_file, directory) == SameServer::yes) return std::string();
  return std::string("another server works in this data directory than the one that --pg reaches");
}

// Why the data directory that the server names cannot be read here; empty: it can.
std::string why_not_here(pg::PgClient& client, const pg::ServerFacts& server) {
  auto found = read_data_dir(server.data_directory);
  if (!found) return found.error().to_string();
  if (found->control.system_id != server.system_id) return cat(found->path, " is another cluster's");
  auto why = why_not_its_directory(found->path, client, server);
  if (!why) return why.error().to_string();
  return why->empty() ? "" : cat(found->path, ": ", *why);
}

pg::DataDirOptions layout(const pg::ServerFacts& server, const std::string& directory) {
  pg::DataDirOptions options;
  options.data_directory = directory;
  options.tablespace_version_dir = server.tablespace_version_dir();
  options.major = server.major;
  // 13 and 14 keep temporary statistics in a directory that a setting names; inside, it stays empty.
  auto stats = server.settings.find("stats_temp_directory");
  if (stats != server.settings.end() && !stats->second.starts_with('/'))
    options.keep_empty.push_back(stats->second);
  return options;
}

Status open_here(Source& source, const std::string& directory) {
  TRY_ASSIGN(source.data_dir, read_data_dir(directory));
  source.owner = user_name(source.data_dir.owner);
  source.group = group_name(source.data_dir.group);
  source.where = source.data_dir.path;
  if (source.server.major == source.data_dir.version->major) {
    TRY_ASSIGN(auto lister, pg::DataDirLister::open(layout(source.server, source.data_dir.path)));
    source.files = std::make_unique<pg::LocalSource>(std::move(lister));
  }
  return {};
}

Status open_through_connections(Source& source, const SourceOptions& options, const std::string& server_name,
                                const StopToken& stop) {
  source.remote = true;
  source.owner = source.group = source.catalog.bootstrap_role;
  source.where = cat(server_name, ", through connections");
  pg::RemoteOptions remote;
  remote.conninfo = options.conninfo;
  remote.application_name = connect_options(stop).application_name;
  remote.layout = layout(source.server, source.server.data_directory);
  remote.postmaster_start = source.server.postmaster_start;
  remote.owner = source.owner;
  remote.stop = &stop;
  TRY_ASSIGN(source.files, pg::RemoteSource::open(std::move(remote)));
  source.data_dir.path = source.server.data_directory;
  TRY_ASSIGN(source.data_dir.version, pg::require_version(source.server.major));
  TRY_ASSIGN(pg::ControlRead read, pg::read_control_file(*source.files, source.server.major));
  source.data_dir.control = read.control;
  source.data_dir.lineage = {read.control.system_id, source.server.major};
  return {};
}

Status check_identity(const Source& source) {
  if (source.server.system_id == source.data_dir.control.system_id &&
      source.server.major == source.data_dir.version->major) {
    return {};
  }
  return make_error(ErrorKind::foreign, source.data_dir.path,
                    cat("belongs to system identifier ", source.data_dir.control.system_id.to_string(),
                        ", but the server has ", source.server.system_id.to_string()))
      .with_hint("--pg and --pgdata must name the same server");
}

// Before anything is copied: the right to stop would be missed at the end only.
Status check_role(const pg::ServerFacts& server, const std::string& where) {
  std::vector<std::string> lacking;
  const bool renamed = server.major >= 15;
  if (!server.role.start_backup)
    lacking.emplace_back(renamed ? "pg_backup_start(text, boolean)"
                                 : "pg_start_backup(text, boolean, boolean)");
  if (!server.role.stop_backup)
    lacking.emplace_back(renamed ? "pg_backup_stop(boolean)" : "pg_stop_backup(boolean, boolean)");
  if (lacking.empty()) return {};
  return make_error(ErrorKind::permission, where, "this role may not take backups")
      .with_hint(cat("as a superuser in the same database: GRANT EXECUTE ON FUNCTION ", join(lacking, ", "),
                     " TO ", sql_identifier(server.role.name),
                     "; lifeboat init --print-grants has the whole list"));
}

}  // namespace

pg::ConnectOptions connect_options(const StopToken& stop) {
  pg::ConnectOptions options;
  options.application_name = "lifeboat backup";
  options.stop = &stop;
  return options;
}

Timeline Source::timeline() const {
  if (!server.in_recovery) return server.current_timeline;
  Timeline replayed = data_dir.control.min_recovery_timeline;
  return replayed.value != 0 ? replayed : data_dir.control.checkpoint.timeline;
}

Result<Source> open_source(const SourceOptions& options, Reporter& reporter, const StopToken& stop,
                           std::vector<std::string>& warnings) {
  Source source;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(options.conninfo, connect_options(stop)));
  pg::FactsRequest request;
  request.settings = recorded_settings();
  request.settings.push_back("stats_temp_directory");
  request.databases = true;
  request.replication = true;
  TRY_ASSIGN(source.server, pg::read_facts(client, request));
  TRY(check_role(source.server, client.where()));
  if (!options.pgdata && source.server.data_directory.empty()) {
    return make_error(ErrorKind::permission, client.where(), "this role may not read data_directory")
        .with_hint(cat("give --pgdata DIR, or GRANT pg_read_all_settings TO ", source.server.role.name));
  }
  std::string why_remote;
  if (!options.pgdata && !options.remote) why_remote = why_not_here(client, source.server);
  TRY_ASSIGN(source.catalog, read_catalog(client, options.conninfo, source.server, stop));
  if (options.remote || !why_remote.empty()) {
    auto opened = open_through_connections(source, options, client.where(), stop);
    if (!opened && !why_remote.empty() && opened.error().kind == ErrorKind::permission)
      opened.error().message += cat(", and the data directory is not here (", why_remote, ")");
    TRY(opened);
  } else {
    TRY(open_here(source, options.pgdata.value_or(source.server.data_directory)));
  }
  TRY(check_identity(source));
  reporter.note(NoteLevel::info,
                cat("reading ", source.where, why_remote.empty() ? "" : cat(" (", why_remote, ")")));
  TRY_ASSIGN(pg::ConfigFiles config, pg::list_config_files(client, source.data_dir.path, *source.files));
  source.config_files = std::move(config.files);
  if (auto why = why_nothing_is_archived(source.server))
    warnings.push_back(cat("nothing that is written after this backup is known to be archived: ", *why,
                           "; lifeboat init sets archiving up"));
  for (const auto* list : {&source.catalog.warnings, &config.warnings})
    warnings.insert(warnings.end(), list->begin(), list->end());
  return source;
}

Result<std::vector<pg::TablespaceFacts>> check_session(pg::BackupSession& session, const Source& source) {
  TRY_ASSIGN(pg::ServerFacts now, pg::read_facts(session.client(), {}));
  std::string why;
  if (source.remote) {
    if (now.postmaster_start != source.server.postmaster_start)
      why = "is another server than before, or it was restarted";
  } else {
    TRY_ASSIGN(why, why_not_its_directory(source.data_dir.path, session.client(), now));
  }
  if (why.empty()) return std::move(now.tablespaces);
  return make_error(ErrorKind::foreign, source.remote ? session.client().where() : source.data_dir.path,
                    std::move(why))
      .with_hint(source.remote
                     ? "--pg must name one server"
                     : "--pg and --pgdata must name the same server; a copy of the directory has the same "
                       "system identifier");
}

}  // namespace lifeboat::ops
