// `lifeboat dump restore --table`: single tables, by way of a throw-away database.
#include <algorithm>

#include "ops/dump/dump.h"
#include "ops/dump/globals.h"
#include "ops/dump/load.h"
#include "ops/dump/snapshot.h"
#include "ops/table/destination.h"
#include "ops/wal/find.h"
#include "repo/lease.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

class DumpTables {
 public:
  DumpTables(const DumpTableOptions& options, const DumpReader& dump, Reporter& reporter, StopToken& stop)
      : options_(options), dump_(dump), reporter_(reporter), stop_(stop) {}

  Result<DumpTableOutcome> run() {
    const int64_t began_us = Clock::system().monotonic_us();
    outcome_.card = dump_.manifest.card;
    outcome_.database = options_.into_database.empty() ? options_.database : options_.into_database;
    outcome_.schema = options_.schema.empty() ? default_restore_schema() : options_.schema;
    TRY(refuse_older_destination());
    TRY(check_bring_destination(options_.destination, outcome_.database, outcome_.schema, stop_));
    if (options_.merge == TableMerge::missing_rows)
      TRY(check_merge_destination(options_.destination, outcome_.database, options_.tables, stop_));
    TRY_ASSIGN(const repo::DumpedDatabase* database, dump_.database(options_.database));
    TRY_ASSIGN(LoadOptions load, load_options());
    Loader loader(dump_, *database, load, stop_);
    TRY(loader.create());
    auto brought = bring(loader, *database, load);
    StopToken anyway;
    auto dropped = Loader(dump_, *database, std::move(load), anyway).drop();
    TRY(brought);
    TRY(dropped);
    outcome_.seconds = static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
    return std::move(outcome_);
  }

 private:
  Result<pg::PgClient> connect() const {
    pg::ConnectOptions connect;
    connect.stop = &stop_;
    return pg::PgClient::connect(pg::with_database(options_.destination, "postgres"), connect);
  }

  Status refuse_older_destination() const {
    TRY_ASSIGN(pg::PgClient client, connect());
    return refuse_older_server(client, dump_.manifest.card);
  }

  Result<LoadOptions> load_options() {
    TRY_ASSIGN(pg::PgClient client, connect());
    LoadOptions load;
    load.destination = options_.destination;
    load.target = to_lower(cat(kScratchDatabase, new_backup_id().text));
    load.spool = options_.spool;
    TRY_ASSIGN(load.client,
               pg::find_client_bin(std::max(client.major(), dump_.record().client_major), options_.pg_bin));
    TRY_ASSIGN(std::string script, dump_.text("globals.sql", stop_));
    TRY_ASSIGN(GlobalsPlan globals, plan_globals(client, script));
    load.tablespaces = globals.missing_tablespaces.empty();
    load.portable = dump_.manifest.card.dump->portable || !globals.made.empty();
    if (!globals.made.empty() && !dump_.manifest.card.dump->portable)
      outcome_.notes.push_back(without_roles(globals.made, globals_command()));
    return load;
  }

  std::string globals_command() const {
    return cat("dump restore ", dump_.manifest.card.id.text, " --globals only");
  }

  Status bring(Loader& loader, const repo::DumpedDatabase& database, const LoadOptions& load) {
    TRY_ASSIGN(TempDir work, TempDir::make());
    BringOptions options;
    options.source = pg::with_database(options_.destination, load.target);
    options.tables = options_.tables;
    options.original = options_.database;
    options.destination = options_.destination;
    options.into_database = outcome_.database;
    options.schema = outcome_.schema;
    options.client = load.client;
    options.work_directory = work.path();
    options.where = cat("in dump ", dump_.manifest.card.id.text);
    for (const repo::DumpedDatabase& one : dump_.record().databases) options.databases.push_back(one.name);
    options.missing_hint = "lifeboat dump show names the tables of a dump.";
    options.roles_hint = globals_command();
    Bringer bringer(std::move(options), reporter_, stop_);
    reporter_.progress("restoring", 0, 0, ProgressUnit::items);
    TRY(loader.load_tables([&]() -> Result<std::vector<repo::CountedTable>> {
      TRY(bringer.choose());
      std::vector<repo::CountedTable> tables;
      for (const Bringer::Chosen& one : bringer.chosen()) tables.push_back({one.schema, one.table, 0});
      return tables;
    }));
    TRY(check_counts(bringer, database, load.target));
    TRY(bringer.bring());
    if (options_.merge == TableMerge::missing_rows) TRY(bringer.merge());
    outcome_.tables = bringer.tables();
    outcome_.cut = bringer.cut();
    outcome_.notes.insert(outcome_.notes.end(), bringer.notes().begin(), bringer.notes().end());
    return {};
  }

  Status check_counts(const Bringer& bringer, const repo::DumpedDatabase& database,
                      const std::string& scratch) {
    pg::ConnectOptions connect;
    connect.stop = &stop_;
    TRY_ASSIGN(pg::PgClient client,
               pg::PgClient::connect(pg::with_database(options_.destination, scratch), connect));
    for (const Bringer::Chosen& one : bringer.chosen()) {
      auto counted = std::ranges::find_if(database.tables, [&](const repo::CountedTable& table) {
        return table.schema == one.schema && table.table == one.table;
      });
      if (counted == database.tables.end()) continue;  // it has no rows of its own in the dump
      TRY_ASSIGN(int64_t rows, count_rows(client, *counted));
      if (rows != counted->rows)
        return make_error(ErrorKind::check_failed, qualified_name(*counted),
                          cat("has ", rows, " rows, the dump counted ", counted->rows));
    }
    return {};
  }

  const DumpTableOptions& options_;
  const DumpReader& dump_;
  Reporter& reporter_;
  StopToken& stop_;
  DumpTableOutcome outcome_;
};

}  // namespace

Result<DumpTableOutcome> restore_dump_tables(const DumpTableOptions& options, Reporter& reporter,
                                             StopToken& stop) {
  TRY_ASSIGN(repo::Repository repository, open_repository(options.location));
  TRY_ASSIGN(FoundDump found,
             find_dump(repository, options.location.cluster, options.id,
                       {.databases = {options.database}, .tables = options.tables, .sound = true}));
  tell_choice(found, reporter);
  repo::LeaseOptions lease_options;
  lease_options.stop = &stop;
  TRY_ASSIGN(auto lease, repo::ReaderLease::acquire(found.repo, "restore", {found.card.id}, lease_options));
  TRY_ASSIGN(repo::Manifest manifest, read_dump_manifest(found));
  const DumpReader dump{found.repo, std::move(manifest)};
  auto outcome = DumpTables(options, dump, reporter, stop).run();
  TRY(lease.end());
  if (outcome) outcome->choice = std::move(found.note);
  return outcome;
}

}  // namespace lifeboat::ops
