// `lifeboat dump create`: globals, then each database in a snapshot of its own, then manifest and card.
#include <algorithm>
#include <chrono>
#include <future>

#include "ops/dump/database_itself.h"
#include "ops/dump/dump.h"
#include "ops/dump/program.h"
#include "ops/dump/snapshot.h"
#include "ops/dump/spool.h"
#include "ops/dump/sql_text.h"
#include "ops/dump/stream_store.h"
#include "ops/given_names.h"
#include "pg/client/facts.h"
#include "pg/server/pg_bin.h"
#include "repo/lease.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kReadBytes = 1 << 20;
constexpr int kFirstWithReadAllData = 14;
constexpr std::chrono::milliseconds kRelayInterval{50};

double since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

// The server as it is asked once, before anything is dumped.
struct DumpSource {
  pg::ServerFacts facts;
  std::string maintenance;  // the database that the question went to
  std::string role;
  bool reads_passwords = false;
  int64_t free_connections = 0;
  std::vector<std::pair<std::string, uint64_t>> databases;  // those to dump, with their size
  std::vector<std::string> closed;                          // that allow no connections, and are no templates
  bool every_database = true;                               // but for closed ones, and perhaps postgres
};

Result<DumpSource> ask_server(const DumpOptions& options, const StopToken& stop) {
  pg::ConnectOptions connect;
  connect.stop = &stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(options.conninfo, connect));
  DumpSource source;
  pg::FactsRequest request;
  request.tablespaces = false;
  TRY_ASSIGN(source.facts, pg::read_facts(client, request));
  TRY_ASSIGN(pg::Rows rows,
             client.query(
                 "select pg_catalog.current_database(), "
                 "pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'select'), (select "
                 "pg_catalog.sum(setting::bigint * case name when 'max_connections' then 1 else -1 end) from "
                 "pg_catalog.pg_settings where name in ('max_connections', 'superuser_reserved_connections', "
                 "'reserved_connections')) - (select pg_catalog.sum(numbackends) from "
                 "pg_catalog.pg_stat_database), current_user"));
  source.maintenance = std::string(rows.text(0, 0));
  source.reads_passwords = rows.truth(0, 1);
  source.free_connections = rows.i64(0, 2).value_or(0) + 1;  // this one will be closed
  source.role = std::string(rows.text(0, 3));
  TRY_ASSIGN(
      rows,
      client.query("select datname, case when pg_catalog.has_database_privilege(oid, 'connect') then "
                   "pg_catalog.pg_database_size(oid) end, datistemplate from pg_catalog.pg_database where "
                   "datallowconn order by datname"));
  std::vector<std::string> known;
  for (int i = 0; i < rows.size(); ++i) {
    std::string name(rows.text(i, 0));
    bool named = std::ranges::find(options.databases, name) != options.databases.end();
    if (named || (options.databases.empty() && !rows.truth(i, 2)))
      source.databases.emplace_back(name, rows.u64(i, 1).value_or(0));
    else if (!rows.truth(i, 2) && name != "postgres")
      source.every_database = false;
    known.push_back(std::move(name));
  }
  TRY_ASSIGN(rows, client.query("select datname from pg_catalog.pg_database where not datallowconn and not "
                                "datistemplate"));
  for (int i = 0; i < rows.size(); ++i) source.closed.emplace_back(rows.text(i, 0));
  for (const std::string& name : options.databases) {
    if (std::ranges::find(source.closed, name) != source.closed.end())
      return make_error(ErrorKind::precondition, cat("database \"", name, "\""), "allows no connections")
          .with_hint(cat("ALTER DATABASE ", name_in_sql(name), " ALLOW_CONNECTIONS true lets a dump in"));
    if (std::ranges::find(known, name) == known.end())
      return no_such_database(name, "on that server", std::move(known));
  }
  return source;
}

// Snapshot and pg_dump, and in directory format as many more as there are jobs.
Status check_headroom(const DumpOptions& options, const DumpSource& source) {
  const int64_t needed = options.format == repo::DumpFormat::directory ? 2 + options.jobs : 2;
  if (source.free_connections >= needed) return {};
  return make_error(ErrorKind::precondition, options.conninfo,
                    cat("has ", source.free_connections,
                        " connections left of max_connections, the dump needs ", needed))
      .with_hint("fewer --jobs, or another hour");
}

class Dump {
 public:
  Dump(const DumpOptions& options, const DumpSource& source, pg::PgBin client, const repo::LineageRepo& repo,
       const BackupId& id, Reporter& reporter, StopToken& stop)
      : options_(options),
        source_(source),
        client_(std::move(client)),
        repo_(repo),
        id_(id),
        reporter_(reporter),
        stop_(stop),
        store_(repo, id, options.compression.value_or(repo.compression()), options.jobs) {}

  // Everything between the lease and the card.
  Result<DumpOutcome> run(repo::BackupLease& lease, int64_t began_us) {
    record_.client = client_.version;
    record_.client_major = client_.major;
    record_.jobs = options_.jobs;
    for (const std::string& pattern : options_.tables) record_.patterns.push_back({"table", pattern, 0});
    for (const std::string& pattern : options_.exclude_tables)
      record_.patterns.push_back({"exclude-table", pattern, 0});
    if (options_.databases.empty() && !source_.closed.empty())
      warnings_.push_back(cat("not dumped, because they allow no connections: ", join(source_.closed, ", ")));
    std::map<std::string, repo::Entry> root;
    TRY_ASSIGN(root["globals.sql"], dump_globals());
    std::map<std::string, repo::Entry> databases;
    for (const auto& [name, size] : source_.databases) {
      auto node = dump_database(name, size);
      if (!node) return explained(std::move(node).error(), name);
      databases.emplace(cat(record_.databases.back().oid), directory_entry(*node));
    }
    TRY_ASSIGN(repo::NodeRef node, store_.write_directory(std::move(databases)));
    root.emplace("databases", directory_entry(node));
    TRY_ASSIGN(repo::NodeRef top, store_.write_directory(std::move(root)));
    TRY(store_.finish());
    TRY_ASSIGN(repo::Manifest manifest, describe(top, began_us));
    manifest.lease_sequence = lease.sequence();
    TRY(repo::write_manifest(repo_, manifest));
    TRY(lease.confirm());
    TRY(repo::write_card(repo_, manifest.card));
    return DumpOutcome{manifest.card, std::move(record_), std::move(warnings_)};
  }

 private:
  std::string conninfo(const std::string& database) const {
    return pg::with_database(options_.conninfo, database);
  }

  // Names the database and who may not read it. Programs and servers that refuse a connection tell in words
  // only; an operating system that refuses something writes "Permission denied".
  Error explained(Error error, const std::string& database) const {
    if (error.kind == ErrorKind::cancelled || error.kind == ErrorKind::not_found) return error;
    const std::string where = cat("database \"", database, "\"");
    auto says = [&](std::string_view words) { return error.cause.find(words) != std::string::npos; };
    if (!says("(42501)") && !says("permission denied") && !says("row-level security")) {
      if (error.object.find(database) != std::string::npos) return error;
      return std::move(error).within(cat("dumping ", where));
    }
    std::string hint = grant_hint(error.cause, database);
    return make_error(ErrorKind::permission, where, cat("role ", source_.role, " may not dump it"))
        .with_cause(std::move(error.cause))
        .with_hint(std::move(hint));
  }

  std::string grant_hint(std::string_view said, const std::string& database) const {
    const std::string role = name_in_sql(source_.role);
    if (said.find("row-level security") != std::string::npos)
      return cat("ALTER ROLE ", role, " BYPASSRLS, or dump as a superuser: policies would hide rows");
    if (said.find("CONNECT privilege") != std::string::npos)
      return cat("GRANT CONNECT ON DATABASE ", name_in_sql(database), " TO ", role);
    if (said.find("large object") != std::string::npos)
      return "dump as the owner of its large objects or a superuser";
    if (source_.facts.major >= kFirstWithReadAllData)
      return cat("GRANT pg_read_all_data TO ", role,
                 ", or dump as the owner of everything in it or a superuser");
    return cat("dump as the owner of everything in it or a superuser: PostgreSQL ", source_.facts.major,
               " has no role pg_read_all_data, which 14 and later have");
  }

  // What a program prints, as a file of the tree.
  Result<repo::Entry> store_output(std::vector<std::string> argv, const std::string& path) {
    TRY_ASSIGN(Program program, Program::start(std::move(argv), Program::Pipe::from));
    auto file = store_.begin(path);
    Bytes buffer(kReadBytes);
    while (true) {
      TRY_ASSIGN(size_t got, program.read(buffer, stop_));
      if (got == 0) break;
      TRY(file->append(ByteView(buffer.data(), got)));
      show_progress(got);
    }
    // Only now is it known that this was all of it.
    TRY(program.finish(stop_));
    note_words(program);
    return file->finish();
  }

  void show_progress(uint64_t more) {
    bytes_ += more;
    reporter_.progress(phase_, bytes_, 0, ProgressUnit::bytes);
  }

  void note_words(const Program& program) {
    if (std::string words = program.said(); !words.empty()) warnings_.push_back(std::move(words));
  }

  Result<repo::Entry> store_text(std::string_view text, const std::string& path) {
    auto file = store_.begin(path);
    TRY(file->append(as_bytes(text)));
    return file->finish();
  }

  Result<repo::Entry> dump_globals() {
    phase_ = "dumping globals";
    std::vector<std::string> argv = {client_.program("pg_dumpall"), "--globals-only", "--no-password",
                                     cat("--dbname=", conninfo(source_.maintenance))};
    record_.role_passwords = options_.passwords == RolePasswords::dump && source_.reads_passwords;
    if (!record_.role_passwords) argv.emplace_back("--no-role-passwords");
    if (options_.passwords == RolePasswords::dump && !source_.reads_passwords)
      warnings_.emplace_back(
          "roles are dumped without their passwords, which this role may not read (pg_authid)");
    if (record_.role_passwords && !repo_.keys().encrypted())
      warnings_.emplace_back(
          "the repository is not encrypted, and globals.sql holds password hashes (--no-role-passwords "
          "leaves them out)");
    return store_output(std::move(argv), "globals.sql");
  }

  Result<repo::NodeRef> dump_database(const std::string& name, uint64_t size) {
    const int64_t began_us = Clock::system().monotonic_us();
    const uint64_t bytes_before = bytes_;
    phase_ = cat("dumping ", name);
    SnapshotOptions asked;
    asked.conninfo = options_.conninfo;
    asked.database = name;
    asked.lock_timeout_ms = options_.lock_timeout_ms;
    asked.in_recovery = source_.facts.in_recovery;
    StopToken give_up;  // of what is asked in the snapshot, beside pg_dump
    asked.stop = &give_up;
    TRY_ASSIGN(DumpSnapshot snapshot, relayed(give_up, [&] { return DumpSnapshot::begin(asked); }));
    TRY(relayed(give_up, [&] { return snapshot.match(record_.patterns); }));
    repo::DumpedDatabase database = snapshot.facts();
    TRY_ASSIGN(database.defined,
               relayed(give_up, [&] { return snapshot.count_definitions(record_.patterns); }));
    if (!options_.schema_only) {
      TRY_ASSIGN(database.tables, relayed(give_up, [&] { return snapshot.lock_tables(record_.patterns); }));
    }

    // Rows are counted while pg_dump reads the same tables.
    auto counting = std::async(std::launch::async, [&] { return snapshot.count(database.tables); });
    auto files = dump_files(database, size);
    if (!files) give_up.request();
    phase_ = cat("counting rows of ", name);
    reporter_.progress(phase_, 0, 0, ProgressUnit::items);
    Status counted = finished(counting, give_up);
    // Without its snapshot pg_dump fails too, and cannot say why.
    if (!counted && counted.error().kind != ErrorKind::cancelled) return std::move(counted).error();
    TRY(files);
    TRY(counted);
    database.files = files->size();
    TRY_ASSIGN(repo::NodeRef node, store_.write_directory(std::move(*files)));
    database.bytes = bytes_ - bytes_before;
    database.seconds = since(began_us);
    record_.databases.push_back(std::move(database));
    return node;
  }

  // Waits for what another thread does, which `inner` stops when we are to stop.
  template <typename T>
  T finished(std::future<T>& work, StopToken& inner) const {
    while (work.wait_for(kRelayInterval) != std::future_status::ready) {
      if (stop_.stopped()) inner.request();
    }
    return work.get();
  }
  template <typename Work>
  std::invoke_result_t<Work> relayed(StopToken& inner, Work work) const {
    auto future = std::async(std::launch::async, work);
    return finished(future, inner);
  }

  std::vector<std::string> pg_dump(const repo::DumpedDatabase& database) const {
    std::vector<std::string> argv = {client_.program("pg_dump"), "--no-password", "--compress=0",
                                     cat("--snapshot=", database.snapshot)};
    if (options_.lock_timeout_ms != 0) argv.push_back(cat("--lock-wait-timeout=", options_.lock_timeout_ms));
    if (options_.schema_only) argv.emplace_back("--schema-only");
    // An archive has owners all the same; pg_restore leaves them out.
    if (options_.portable) argv.insert(argv.end(), {"--no-owner", "--no-privileges"});
    if (source_.facts.in_recovery) argv.emplace_back("--no-unlogged-table-data");
    if (!options_.tables.empty()) argv.emplace_back("--strict-names");
    for (const repo::DumpPattern& pattern : record_.patterns)
      argv.push_back(cat("--", pattern.option, "=", pattern.pattern));
    argv.push_back(cat("--dbname=", conninfo(database.name)));
    return argv;
  }

  Result<std::map<std::string, repo::Entry>> dump_files(const repo::DumpedDatabase& database, uint64_t size) {
    const std::string path = cat("databases/", database.oid);
    std::map<std::string, repo::Entry> files;
    TRY_ASSIGN(std::string about, database_sql(database));
    TRY_ASSIGN(files["database.sql"], store_text(about, path + "/database.sql"));
    std::vector<std::string> argv = pg_dump(database);
    argv.insert(argv.begin() + 1, cat("--format=", to_string(options_.format)));
    if (options_.format == repo::DumpFormat::directory) {
      TRY_ASSIGN(files["directory"], dump_directory(std::move(argv), path + "/directory", size));
    } else {
      const std::string name = options_.format == repo::DumpFormat::plain ? "plain.sql" : "archive";
      TRY_ASSIGN(files[name], store_output(std::move(argv), cat(path, "/", name)));
    }
    return files;
  }

  Result<std::string> database_sql(const repo::DumpedDatabase& database) {
    TRY_ASSIGN(
        std::vector<SqlStatement> statements,
        dump_database_itself(client_, conninfo(database.name), database.name, database.snapshot, stop_));
    std::string about;
    for (const SqlStatement& statement : statements) about += cat(statement.text, ";\n");
    return about;
  }

  Result<repo::Entry> dump_directory(std::vector<std::string> argv, const std::string& path, uint64_t size) {
    TRY_ASSIGN(Spool spool, Spool::make(options_.spool));
    TRY_ASSIGN(bool gives_back, spool.gives_back());
    if (!gives_back) TRY(spool.require(size));
    std::string directory = join_path(spool.path(), "d");
    TRY(create_dirs(directory, 0700));
    // Not durable there: it is the repository that keeps it.
    argv.insert(argv.begin() + 1, {cat("--jobs=", options_.jobs), "--no-sync", cat("--file=", directory)});
    auto start = [&] { return Program::start(argv, Program::Pipe::none); };
    const uint64_t before = bytes_;
    auto progress = [&](uint64_t bytes) { show_progress(before + bytes - bytes_); };
    TRY_ASSIGN(FollowedFiles files, follow_directory(directory, path, store_, start, progress, stop_));
    bytes_ = before + files.bytes;
    TRY_ASSIGN(repo::NodeRef node, store_.write_directory(std::move(files.entries)));
    return directory_entry(node);
  }

  Result<repo::Manifest> describe(const repo::NodeRef& root, int64_t began_us) {
    const pg::ServerFacts& facts = source_.facts;
    repo::CompressionOptions compression = options_.compression.value_or(repo_.compression());
    repo::Manifest manifest;
    repo::Card& card = manifest.card;
    card.id = id_;
    card.label = options_.label;
    card.started = facts.now;
    card.stopped = facts.now.plus_us(Clock::system().monotonic_us() - began_us);
    card.start_lsn = facts.current_lsn;
    card.stop_lsn = facts.current_lsn;
    card.timeline = facts.timeline;
    card.server_version_num = facts.version_num;
    card.from_standby = facts.in_recovery;
    card.data_checksums = facts.data_checksums;
    card.encrypted = repo_.keys().encrypted();
    card.key_id = repo_.keys().current();
    card.compression = cat(codec::to_string(compression.compression), " ", compression.level);
    card.host = repo::ProcessIdentity::self().host;
    card.tool_version = options_.tool_version;
    card.databases = record_.databases.size();
    card.totals.plain_bytes = bytes_;
    card.totals.read_bytes = bytes_;
    card.totals.stored_bytes = store_.stored_bytes();
    card.totals.seconds = since(began_us);
    card.totals.files = 1;
    card.dump.emplace();
    card.dump->format = options_.format;
    card.dump->schema_only = options_.schema_only;
    card.dump->portable = options_.portable;
    card.dump->chosen_tables = !record_.patterns.empty();
    card.dump->every_database = source_.every_database;
    card.dump->defined = 0;
    for (const repo::DumpedDatabase& database : record_.databases) {
      card.dump->databases.push_back(database.name);
      card.totals.files += database.files;
      card.totals.directories += 1;
      card.tables += database.tables.size();
      *card.dump->defined += database.defined.value_or(0);
      for (const repo::CountedTable& table : database.tables) card.estimated_rows += table.rows;
    }
    manifest.root = root;
    manifest.block_size = kStreamBlock;
    manifest.segment_size = facts.wal_segment_size;
    manifest.catalog_version = facts.catalog_version;
    manifest.start_timeline = facts.timeline;
    manifest.data_directory = facts.data_directory;
    manifest.dump = record_;
    return manifest;
  }

  const DumpOptions& options_;
  const DumpSource& source_;
  const pg::PgBin client_;
  const repo::LineageRepo repo_;
  const BackupId id_;
  Reporter& reporter_;
  StopToken& stop_;
  StreamStore store_;
  repo::DumpRecord record_;
  std::vector<std::string> warnings_;
  std::string phase_;
  uint64_t bytes_ = 0;
};

}  // namespace

Result<DumpOutcome> create_dump(const DumpOptions& options, Reporter& reporter, StopToken& stop) {
  const int64_t began_us = Clock::system().monotonic_us();
  if (!options.tables.empty() || !options.exclude_tables.empty()) {
    if (options.databases.size() != 1)
      return make_error(ErrorKind::usage, options.tables.empty() ? "--exclude-table" : "--table",
                        "goes with exactly one --database");
  }
  TRY_ASSIGN(repo::Repository repository, open_repository(options.location));
  reporter.progress("asking the server", 0, 0, ProgressUnit::items);
  TRY_ASSIGN(DumpSource source, ask_server(options, stop));
  TRY_ASSIGN(ChosenLineage lineage, lineage_of(repository, options.location.cluster,
                                               Lineage{source.facts.system_id, source.facts.major}));
  TRY_ASSIGN(pg::PgBin client, pg::find_client_bin(source.facts.major, options.pg_bin));
  TRY(check_headroom(options, source));

  const repo::LineageRepo dumps = lineage.repo.dumps();
  const BackupId id = new_backup_id();
  repo::LeaseOptions lease_options;
  lease_options.stop = &stop;
  TRY_ASSIGN(repo::BackupLease lease, repo::BackupLease::acquire(dumps, id, {}, std::move(lease_options)));
  auto outcome = Dump(options, source, std::move(client), dumps, id, reporter, stop).run(lease, began_us);
  if (!outcome) {
    auto aborted = lease.abort(outcome.error().to_string());
    if (!aborted)
      reporter.note(NoteLevel::warning,
                    cat("the failed attempt could not be marked: ", aborted.error().to_string()));
  }
  return outcome;
}

}  // namespace lifeboat::ops
