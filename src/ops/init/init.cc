#include "ops/init/init.h"

#include <unistd.h>

#include <algorithm>

#include "ops/apart.h"
#include "pg/client/client.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
}

// Of a file:// repository, else "".
std::string directory_of(const std::string& url) {
  constexpr std::string_view kFile = "file://";
  return url.starts_with(kFile) ? url.substr(kFile.size()) : "";
}

// Is anything there that only a repository has? Without its marker it is the rest of one.
Result<bool> has_clusters(storage::Store& store) {
  TRY_ASSIGN(auto clusters, store.list_dirs("clusters/"));
  return !clusters.empty();
}

struct OpenedRepository {
  repo::Repository repository;
  Done repository_done;
  Done key_file_done;
};

Result<OpenedRepository> create_repository(const InitRequest& request,
                                           std::unique_ptr<storage::Store> store) {
  TRY_ASSIGN(bool rest, has_clusters(*store));
  if (rest) {
    // Or of one that was made since the marker was looked for.
    auto marker = repo::Repository::read_marker(*store);
    if (marker) return make_error(ErrorKind::conflict, store->url(), "a repository is there already");
    return make_error(ErrorKind::damaged, store->url(),
                      "objects of a repository without its marker lifeboat.json")
        .with_hint("restore the marker from a copy of the repository, or give another --repo");
  }
  Done key_done = Done::found;
  const repo::KeySource& key = request.where.key;
  if (key.kind == repo::KeySourceKind::key_file) {
    TRY_ASSIGN(bool exists, path_exists(key.path));
    if (!exists) {
      auto made = repo::create_key_file(key.path);
      // Another init makes the same one at this moment: so this one uses it too.
      if (made) {
        key_done = Done::created;
      } else if (made.error().kind != ErrorKind::conflict) {
        Error error = std::move(made).error();
        if (error.hint.empty()) {
          error.hint = cat("the directory ", parent_path(key.path),
                           " has to exist and be writable for the user that runs lifeboat, usually postgres");
        }
        return std::move(error).within("make the key file");
      }
    }
  }
  auto made = repo::Repository::create(std::move(store), key,
                                       request.compression.value_or(repo::CompressionOptions()));
  if (!made) {
    Error error = std::move(made).error();
    // It is not removed: another init may use it by now.
    if (key_done == Done::created && error.kind != ErrorKind::conflict) {
      error.hint += cat(error.hint.empty() ? "" : "; ", "the key file ", key.path,
                        " was made, opens nothing yet, and is used when this is run again");
    }
    return error;
  }
  return OpenedRepository{std::move(*made), Done::created, key_done};
}

Result<OpenedRepository> open_or_create(const InitRequest& request) {
  TRY_ASSIGN(auto store, open_store(request.where, storage::StoreMode::create_missing));
  auto marker = repo::Repository::read_marker(*store);
  if (!marker && marker.error().kind == ErrorKind::not_found) {
    auto created = create_repository(request, std::move(store));
    if (created || created.error().kind != ErrorKind::conflict) return created;
    // Somebody else made one at the same moment: it is adopted, when the key is right.
    TRY_ASSIGN(store, storage::open_store(request.where.url, storage::StoreMode::existing));
    marker = repo::Repository::read_marker(*store);
  }
  TRY(marker);
  const repo::KeySource& key = request.where.key;
  if (marker->encrypted && key.kind == repo::KeySourceKind::key_file) {
    TRY_ASSIGN(bool exists, path_exists(key.path));
    if (!exists) {
      return make_error(ErrorKind::wrong_key, key.path,
                        "the repository is encrypted already, and this key file does not exist")
          .with_hint(
              "give the key file that was used when the repository was made; a new one cannot open it");
    }
  }
  TRY_ASSIGN(auto repository, repo::Repository::open(std::move(store), key));
  return OpenedRepository{std::move(repository), Done::found, Done::found};
}

// Who is to be registered: what the server says and what its data directory says, which have to agree.
Result<repo::LineageRecord> identify(const DoctorFacts& facts, bool directory_was_given) {
  if (!facts.server && !facts.data) {
    // Neither: the server's answer is the better explanation, unless --pgdata was the only thing that was
    // given.
    Error problem = *facts.server_problem;
    if (facts.data_problem && facts.data_problem->kind != ErrorKind::not_found) problem = *facts.data_problem;
    return std::move(problem).within("find out which cluster this is");
  }
  if (facts.data_problem && directory_was_given && facts.data_problem->kind == ErrorKind::not_found)
    return *facts.data_problem;
  if (facts.data_problem && (facts.data_problem->kind == ErrorKind::foreign ||
                             facts.data_problem->kind == ErrorKind::precondition)) {
    return *facts.data_problem;
  }
  repo::LineageRecord record;
  record.lineage = *facts.lineage();
  if (facts.server) {
    record.catalog_version = facts.server->catalog_version;
    record.segment_size = facts.server->wal_segment_size;
    record.block_size = facts.server->block_size;
    if (record.lineage.system_id.value == 0) {
      return make_error(ErrorKind::permission, "pg_control_system()",
                        "the role may not read the system identifier")
          .with_hint(cat("GRANT EXECUTE ON FUNCTION pg_control_system() TO ",
                         sql_identifier(facts.server->role.name)));
    }
  }
  if (facts.data) {
    const pg::ControlFile& control = facts.data->control;
    if (facts.server &&
        (control.catalog_version != record.catalog_version ||
         control.wal_segment_size != record.segment_size.bytes || control.block_size != record.block_size)) {
      return make_error(ErrorKind::foreign, facts.data->path,
                        "pg_control and the server disagree about catalog version, segment or block size");
    }
    record.catalog_version = control.catalog_version;
    record.segment_size = {control.wal_segment_size};
    record.block_size = control.block_size;
  }
  record.registered = facts.now;
  record.registered_by = host_name();
  return record;
}

Result<Done> register_cluster(const InitRequest& request, const repo::Repository& repository,
                              repo::LineageRecord& record, size_t& others) {
  TRY_ASSIGN(auto known, repo::list_lineages(repository, request.where.cluster));
  auto same = std::ranges::find(known, record.lineage, &repo::LineageRecord::lineage);
  others = known.size() - (same == known.end() ? 0 : 1);
  if (same != known.end()) {
    record = *same;
    return Done::found;
  }
  if (!known.empty() && !request.new_lineage) {
    return make_error(ErrorKind::foreign, cat("cluster ", request.where.cluster),
                      cat("is registered with system identifier ", known.back().lineage.system_id.to_string(),
                          " of PostgreSQL ", known.back().lineage.major, ", this server has ",
                          record.lineage.system_id.to_string(), " of PostgreSQL ", record.lineage.major))
        .with_hint(
            "after pg_upgrade or a new initdb add --new-lineage: old backups stay; for another cluster "
            "choose "
            "another --cluster");
  }
  repo::LineageRepo repo(repository, request.where.cluster, record.lineage);
  auto registered = repo::register_lineage(repo, record);
  // Somebody else registered the same server at the same moment.
  if (!registered && registered.error().kind == ErrorKind::conflict) {
    TRY_ASSIGN(record, repo::require_lineage(repo));
    return Done::found;
  }
  TRY(registered);
  return Done::created;
}

// Sets on the server what can be set. What fails here is told and does not undo the registration.
void change_server(const InitRequest& request, InitSummary& summary) {
  std::vector<SettingChange> changes = plan_settings(summary.facts, request.archive_timeout_s);
  if (summary.facts.patroni) {
    summary.changes = changes;
    if (!changes.empty()) summary.patroni_command = patroni_command(changes);
    return;
  }
  if (request.changes == ServerChanges::print || !summary.facts.server) {
    summary.changes = std::move(changes);
    if (request.changes == ServerChanges::apply) summary.apply_problem = summary.facts.server_problem;
    return;
  }
  std::vector<SettingChange> allowed;
  for (SettingChange& change : changes) {
    (change.replaces && !request.may_replace ? summary.not_replaced : allowed).push_back(std::move(change));
  }
  pg::ConnectOptions options;
  options.application_name = "lifeboat init";
  options.stop = request.stop;
  auto client = pg::PgClient::connect(request.conninfo, options);
  auto applied = client ? apply_settings(*client, allowed) : Result<ApplyOutcome>(std::move(client).error());
  if (!applied) {
    summary.apply_problem = std::move(applied).error();
    summary.changes = std::move(allowed);
  } else {
    summary.applied = std::move(*applied);
  }
  summary.changes.insert(summary.changes.end(), summary.not_replaced.begin(), summary.not_replaced.end());
}

DoctorRequest doctor_request(const InitRequest& request) {
  DoctorRequest look;
  look.where = request.where;
  look.conninfo = request.conninfo;
  look.pgdata = request.pgdata;
  look.program = request.program;
  look.pg_bin = request.pg_bin;
  look.config_path = request.config_path;
  look.catalogue = false;
  look.stop = request.stop;
  return look;
}

}  // namespace

Result<std::optional<repo::Marker>> look_for_repository(const RepoLocation& where) {
  // To a store a directory that is not there is an outage (it may not be mounted); to init it is a place to
  // make one.
  if (std::string directory = directory_of(where.url); !directory.empty()) {
    TRY_ASSIGN(bool there, path_exists(directory));
    if (!there) return std::optional<repo::Marker>();
  }
  TRY_ASSIGN(auto store, open_store(where, storage::StoreMode::existing));
  auto marker = repo::Repository::read_marker(*store);
  if (!marker && marker.error().kind == ErrorKind::not_found) return std::optional<repo::Marker>();
  TRY(marker);
  return std::optional<repo::Marker>(std::move(*marker));
}

Result<InitSummary> init_repository(const InitRequest& request) {
  InitSummary summary;
  DoctorRequest look = doctor_request(request);
  // The cluster is identified before anything is created: a wrong --pg leaves nothing behind.
  TRY_ASSIGN(summary.facts, gather_facts(look));
  TRY_ASSIGN(summary.lineage, identify(summary.facts, request.pgdata.has_value()));

  const std::string directory = directory_of(request.where.url);
  if (!directory.empty()) TRY(check_apart_from_others(directory));
  TRY_ASSIGN(bool there, path_exists(directory));
  auto opening = open_or_create(request);
  // An empty directory would look like a repository that is not mounted. One with something in it stays.
  if (!opening && !there) ::rmdir(directory.c_str());
  TRY_ASSIGN(OpenedRepository opened, std::move(opening));
  summary.repository = opened.repository_done;
  summary.key_file = opened.key_file_done;
  summary.marker = opened.repository.marker();
  TRY_ASSIGN(summary.registration,
             register_cluster(request, opened.repository, summary.lineage, summary.other_lineages));

  change_server(request, summary);

  // Looked at again: the repository is there now, and settings may have changed.
  TRY_ASSIGN(summary.facts, gather_facts(look));
  summary.findings = run_checks(summary.facts, CheckScope::setup);
  return summary;
}

}  // namespace lifeboat::ops
