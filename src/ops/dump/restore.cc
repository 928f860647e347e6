// `lifeboat dump restore`: globals, then each database new from template0.
#include <algorithm>
#include <set>

#include "ops/apart.h"
#include "ops/dump/dump.h"
#include "ops/dump/globals.h"
#include "ops/dump/load.h"
#include "ops/given_names.h"
#include "repo/lease.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

double since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

class DumpRestore {
 public:
  DumpRestore(const DumpRestoreOptions& options, DumpReader dump, Reporter& reporter, StopToken& stop)
      : options_(options),
        dump_(std::move(dump)),
        reporter_(reporter),
        stop_(stop),
        portable_(options.portable || dump_.manifest.card.dump->portable) {}

  Result<DumpRestoreOutcome> run() {
    const int64_t began_us = Clock::system().monotonic_us();
    outcome_.card = dump_.manifest.card;
    TRY(look_at_server());
    TRY(choose());
    TRY(restore_globals_first());
    for (const DatabaseChoice& choice : chosen_) TRY(restore_database(choice));
    outcome_.seconds = since(began_us);
    return std::move(outcome_);
  }

 private:
  Result<pg::PgClient> connect() const {
    pg::ConnectOptions connect;
    connect.stop = &stop_;
    return pg::PgClient::connect(pg::with_database(options_.destination, "postgres"), connect);
  }

  Status look_at_server() {
    TRY_ASSIGN(pg::PgClient client, connect());
    TRY(refuse_older_server(client, dump_.manifest.card));
    // An archive is read by programs no older than those that made it.
    TRY_ASSIGN(client_,
               pg::find_client_bin(std::max(client.major(), dump_.record().client_major), options_.pg_bin));
    if (client_.major > client.major() && client_.major >= 17 && client.major() < 17)
      outcome_.notes.push_back(cat("programs of PostgreSQL ", client_.major, " restore into a server of ",
                                   client.major(),
                                   ", which they do "
                                   "not support"));
    TRY_ASSIGN(pg::Rows rows, client.query("select datname, pg_catalog.shobj_description(oid, 'pg_database')"
                                           " from pg_catalog.pg_database"));
    for (int i = 0; i < rows.size(); ++i) {
      there_.emplace(rows.text(i, 0));
      if (rows.text(i, 1) == kHalfRestored) half_.emplace(rows.text(i, 0));
    }
    return {};
  }

  Status choose() {
    const DumpGlobals globals =
        options_.globals.value_or(portable_ ? DumpGlobals::skip : DumpGlobals::restore);
    globals_ = globals;
    if (globals == DumpGlobals::only) return {};
    chosen_ = options_.databases;
    if (chosen_.empty()) {
      for (const repo::DumpedDatabase& database : dump_.record().databases) {
        // Every server has it, and as a rule nothing is in it.
        const bool empty_one = database.name == "postgres" && database.tables.empty();
        if (empty_one && there_.contains(database.name)) {
          outcome_.notes.emplace_back(
              "database postgres is there already and has no table in the dump: left as it is");
          continue;
        }
        chosen_.push_back({database.name, database.name});
      }
    }
    std::set<std::string> targets;
    for (const DatabaseChoice& choice : chosen_) {
      TRY(dump_.database(choice.name));
      if (half_.contains(choice.target))
        return make_error(
                   ErrorKind::conflict, choice.target,
                   "is there and not whole: a restore that was killed has left it, unless one is at work")
            .with_hint(cat("DROP DATABASE ", name_in_sql(choice.target),
                           " WITH (FORCE), then the same command starts over"));
      if (there_.contains(choice.target))
        return make_error(ErrorKind::conflict, choice.target, "is a database of that server already")
            .with_hint(cat("--database ", shell_quote(cat(choice.name, "=NEW")),
                           " restores under a name that is not there"));
      if (!targets.insert(choice.target).second)
        return make_error(ErrorKind::usage, choice.target,
                          "two databases were to be restored under this name");
    }
    return {};
  }

  Status restore_globals_first() {
    TRY_ASSIGN(std::string script, dump_.text("globals.sql", stop_));
    TRY_ASSIGN(pg::PgClient client, connect());
    TRY_ASSIGN(GlobalsPlan plan, plan_globals(client, script));
    if (!plan.missing_tablespaces.empty()) {
      has_tablespaces_ = false;
      outcome_.notes.push_back(cat("everything goes to the default tablespace, because the server lacks: ",
                                   join(plan.missing_tablespaces, ", ")));
    }
    if (globals_ == DumpGlobals::skip) {
      missing_roles_ = std::move(plan.made);
      return {};
    }
    reporter_.progress("restoring globals", 0, 0, ProgressUnit::items);
    TRY(restore_globals(client, plan));
    outcome_.roles_made = std::move(plan.made);
    outcome_.roles_there = std::move(plan.there);
    return {};
  }

  Status restore_database(const DatabaseChoice& choice) {
    auto restored = try_database(choice, options_.jobs);
    if (restored || options_.jobs == 1 || !is_deadlock(restored.error())) return restored;
    outcome_.notes.push_back(
        cat("database ", choice.target,
            " was restored with one job, because pg_restore's own jobs blocked each other"));
    return try_database(choice, 1);
  }

  // Jobs of pg_restore that attach an index of a partition and add a foreign key to it at once may do that.
  static bool is_deadlock(const Error& error) {
    return error.cause.find("deadlock detected") != std::string::npos;
  }

  // Anew, and dropped again unless it became whole: half of a database must not be taken for one.
  Status try_database(const DatabaseChoice& choice, int jobs) {
    TRY_ASSIGN(const repo::DumpedDatabase* database, dump_.database(choice.name));
    LoadOptions load;
    load.destination = options_.destination;
    load.target = choice.target;
    load.client = client_;
    load.spool = options_.spool;
    load.jobs = jobs;
    load.portable = portable_;
    load.tablespaces = has_tablespaces_;
    load.cut_off = options_.cut_off;
    Loader loader(dump_, *database, load, stop_);
    RestoredDatabase restored{choice.name, choice.target, 0, 0, 0, 0, 0};
    if (auto made = loader.create(); !made) return with_roles_hint(std::move(made).error());
    auto filled = fill(loader, restored);
    if (filled) {
      outcome_.databases.push_back(std::move(restored));
      return {};
    }
    Error error = with_roles_hint(std::move(filled).error().within(cat("restoring database ", choice.name)));
    StopToken anyway;
    if (auto dropped = Loader(dump_, *database, std::move(load), anyway).drop(); !dropped)
      return std::move(error).with_hint(
          cat("database ", choice.target,
              " is not whole and could not be dropped: ", dropped.error().to_string()));
    return error;
  }

  // Owners and grantees that the server lacks are the first thing that a restore without globals meets.
  Error with_roles_hint(Error error) const {
    const bool answered = error.kind == ErrorKind::failed || error.kind == ErrorKind::server;
    if (missing_roles_.empty() || portable_ || !answered || !error.hint.empty()) return error;
    return std::move(error).with_hint(cat("the server lacks ", counted(missing_roles_.size(), "role"),
                                          " of the dump: ", join(missing_roles_, ", "),
                                          "; without --globals skip they are made first, CREATE ROLE ",
                                          name_in_sql(missing_roles_.front()),
                                          " makes one by hand, and --portable restores without owners"));
  }

  Status fill(Loader& loader, RestoredDatabase& restored) {
    int64_t began_us = Clock::system().monotonic_us();
    reporter_.progress(cat("restoring ", restored.target), 0, 0, ProgressUnit::items);
    TRY(loader.load());
    for (const std::string& view : loader.left_out())
      outcome_.notes.push_back(cat("left empty, because the server is cut off: ", view));
    restored.load_seconds = since(began_us);
    began_us = Clock::system().monotonic_us();
    reporter_.progress(cat("analysing ", restored.target), 0, 0, ProgressUnit::items);
    TRY(loader.analyze());
    restored.analyze_seconds = since(began_us);
    began_us = Clock::system().monotonic_us();
    reporter_.progress(cat("counting ", restored.target), 0, 0, ProgressUnit::items);
    TRY(loader.compare(restored));
    restored.count_seconds = since(began_us);
    return loader.finish();
  }

  const DumpRestoreOptions& options_;
  const DumpReader dump_;
  Reporter& reporter_;
  StopToken& stop_;
  const bool portable_;
  pg::PgBin client_;
  std::set<std::string> there_;  // databases of the destination
  std::set<std::string> half_;   // of them, those that an earlier call has left
  std::vector<DatabaseChoice> chosen_;
  DumpGlobals globals_ = DumpGlobals::restore;
  bool has_tablespaces_ = true;
  std::vector<std::string> missing_roles_;  // of the dump, that the server lacks and that are not made
  DumpRestoreOutcome outcome_;
};

}  // namespace

Result<DumpRestoreOutcome> restore_dump(const DumpRestoreOptions& options, Reporter& reporter,
                                        StopToken& stop) {
  TRY_ASSIGN(repo::Repository repository, open_repository(options.location));
  DumpWish wish;
  for (const DatabaseChoice& choice : options.databases) wish.databases.push_back(choice.name);
  wish.every_database = wish.databases.empty();
  wish.globals_alone = options.globals == DumpGlobals::only;
  wish.sound = true;
  TRY_ASSIGN(FoundDump found, find_dump(repository, options.location.cluster, options.id, wish));
  tell_choice(found, reporter);
  repo::LeaseOptions lease_options;
  lease_options.stop = &stop;
  TRY_ASSIGN(auto lease, repo::ReaderLease::acquire(found.repo, "restore", {found.card.id}, lease_options));
  TRY_ASSIGN(repo::Manifest manifest, read_dump_manifest(found));
  const bool plain = found.card.dump->format == repo::DumpFormat::plain;
  if (plain && options.portable && !found.card.dump->portable)
    return make_error(ErrorKind::usage, "--portable", "plain SQL has its owners and privileges in it")
        .with_hint("dump create --portable makes one without");
  auto outcome = DumpRestore(options, {found.repo, std::move(manifest)}, reporter, stop).run();
  TRY(lease.end());
  if (outcome) outcome->choice = std::move(found.note);
  return outcome;
}

Result<ExtractedDump> extract_dump(const RepoLocation& location, const std::string& id,
                                   const std::string& directory, Reporter& reporter, const StopToken& stop) {
  auto listing = list_dir(directory);
  if (listing && !listing->empty())
    return make_error(ErrorKind::precondition, directory, "is not empty")
        .with_hint("--to takes a directory that is absent or empty");
  TRY(check_apart_from_others(directory));
  TRY_ASSIGN(repo::Repository repository, open_repository(location));
  TRY_ASSIGN(FoundDump found,
             find_dump(repository, location.cluster, id, {.every_database = true, .sound = true}));
  tell_choice(found, reporter);
  TRY_ASSIGN(auto lease, repo::ReaderLease::acquire(found.repo, "restore", {found.card.id}));
  TRY_ASSIGN(repo::Manifest manifest, read_dump_manifest(found));
  DumpReader dump{found.repo, std::move(manifest)};
  TRY(create_dirs(directory, 0700));
  std::vector<std::string> written;
  auto write = [&](const std::string& path, const std::string& name) -> Status {
    TRY(dump.write_out(path, join_path(directory, name), stop));
    written.push_back(name);
    return {};
  };
  TRY(write("globals.sql", "globals.sql"));
  for (const repo::DumpedDatabase& database : dump.record().databases) {
    // A database's name may hold a slash; its oid does not.
    const std::string from = cat("databases/", database.oid, "/");
    const std::string name = database.name.find('/') == std::string::npos ? database.name : cat(database.oid);
    TRY(write(from + "database.sql", cat(name, ".database.sql")));
    switch (found.card.dump->format) {
      case repo::DumpFormat::custom:
        TRY(write(from + "archive", cat(name, ".dump")));
        break;
      case repo::DumpFormat::directory:
        TRY(write(from + "directory", cat(name, ".directory")));
        break;
      case repo::DumpFormat::plain:
        TRY(write(from + "plain.sql", cat(name, ".sql")));
        break;
    }
  }
  TRY(lease.end());
  return ExtractedDump{std::move(found.card), std::move(found.note), std::move(written)};
}

}  // namespace lifeboat::ops
