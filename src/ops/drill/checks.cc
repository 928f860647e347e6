#include "ops/drill/checks.h"

#include <unistd.h>

#include "ops/heal/indexes.h"
#include "pg/client/client.h"
#include "util/clock.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kFirstWithAmcheckProgram = 14;  // and with verify_heapam
constexpr size_t kMostDetail = 2000;

class Stopwatch {
 public:
  double seconds() const { return static_cast<double>(Clock::system().monotonic_us() - start_) / 1e6; }

 private:
  int64_t start_ = Clock::system().monotonic_us();
};

DrillCheck skipped(std::string id, std::string why) {
  return {std::move(id), CheckResult::skipped, std::move(why), 0};
}

std::string shorten(std::string_view text) {
  text = trim(text);
  return text.size() <= kMostDetail ? std::string(text) : cat(text.substr(0, kMostDetail), " …");
}

// pg_amcheck of 14 and later; it reports each damaged relation and exits 2.
Result<DrillCheck> run_amcheck_program(pg::PgServer& server, const pg::PgBin& bin, int jobs,
                                       const StopToken& stop) {
  Stopwatch watch;
  ProcessSpec spec;
  spec.argv = {bin.program("pg_amcheck"), "--all",          "--install-missing",
               "--heapallindexed",        "--jobs",         cat(jobs),
               "--maintenance-db",        server.conninfo()};
  spec.ends_with_us = true;
  RunOptions options;
  options.stop = &stop;
  TRY_ASSIGN(ProcessOutcome result, run_process(spec, options));
  DrillCheck check{"amcheck", CheckResult::passed, "pg_amcheck --all --heapallindexed found nothing",
                   watch.seconds()};
  if (result.ok()) return check;
  check.result = CheckResult::failed;
  check.detail = shorten(cat(result.out, "\n", result.err));
  return check;
}

enum class AmcheckExtension : uint8_t { created, as_it_is };

// One database's relations of the scope, one by one: its tables where there is verify_heapam, and every valid
// B-tree index.
class RelationCheck {
 public:
  RelationCheck(pg::PgServer& server, const DrillScope& scope, int major, AmcheckExtension extension,
                DrillCheck& check)
      : server_(server), scope_(scope), major_(major), extension_(extension), check_(check) {}

  Status run(const std::string& database, const StopToken& stop) {
    TRY_ASSIGN(pg::PgClient client, server_.connect(database));
    // Where pg_amcheck --install-missing puts it; it may be there already, elsewhere.
    if (extension_ == AmcheckExtension::created)
      TRY(client.exec("create extension if not exists amcheck schema pg_catalog"));
    TRY_ASSIGN(pg::Rows schema, client.query("select n.nspname from pg_catalog.pg_extension e join "
                                             "pg_catalog.pg_namespace n on n.oid = e.extnamespace where "
                                             "e.extname = 'amcheck'"));
    if (schema.empty()) {
      lacking_.push_back(database);
      return {};
    }
    const std::string place = sql_identifier(schema.text(0, 0));
    TRY_ASSIGN(
        pg::Rows rows,
        client.query("select c.oid, n.nspname, t.relname, c.relname, c.relkind from pg_catalog.pg_class c"
                     " left join pg_catalog.pg_index i on i.indexrelid = c.oid join pg_catalog.pg_class t"
                     " on t.oid = coalesce(i.indrelid, c.oid) and t.oid not in (select relation from"
                     " pg_catalog.pg_locks where mode = 'AccessExclusiveLock' and granted and relation is not"
                     " null) and c.oid not in (select relation from pg_catalog.pg_locks where mode ="
                     " 'AccessExclusiveLock' and granted and relation is not null) join "
                     "pg_catalog.pg_namespace n on n.oid ="
                     " t.relnamespace left join pg_catalog.pg_am a on a.oid = c.relam where"
                     " c.relpersistence = 'p' and (c.relkind = 'i' and a.amname = 'btree' and i.indisready"
                     " and i.indisvalid or c.relkind in ('r', 'm') and a.amname = 'heap') order by 1"));
    for (int i = 0; i < rows.size(); ++i) {
      TRY(stop.check());
      const bool index = rows.text(i, 4) == "i";
      const std::string_view in = rows.text(i, 1);
      const bool catalogue = in == "pg_catalog" || in == "pg_toast";
      if (!scope_.all() && !(catalogue && index) && !scope_.has(database, in, rows.text(i, 2))) continue;
      if (!index && major_ < kFirstWithAmcheckProgram) continue;
      TRY(look_at(client, place, database, rows, i, index));
    }
    return {};
  }
  uint64_t indexes() const { return indexes_; }
  uint64_t tables() const { return tables_; }
  const std::vector<std::string>& lacking() const { return lacking_; }  // databases without the extension

 private:
  Status look_at(pg::PgClient& client, const std::string& place, const std::string& database,
                 const pg::Rows& rows, int row, bool index) {
    (index ? indexes_ : tables_) += 1;
    const std::string what =
        index ? cat("select ", place, ".bt_index_check($1::oid::regclass, true)")
              : cat("select blkno, msg from ", place, ".verify_heapam($1::oid::regclass) limit 3");
    auto checked = client.query(what, {std::string(rows.text(row, 0))});
    if (checked && (index || checked->size() == 0)) return {};
    check_.result = CheckResult::failed;
    check_.detail += cat(
        database, ".", rows.text(row, 1), ".", rows.text(row, 3), ": ",
        checked ? cat("block ", checked->text(0, 0), ": ", checked->text(0, 1)) : checked.error().to_string(),
        "\n");
    return {};
  }

  pg::PgServer& server_;
  const DrillScope& scope_;
  const int major_;
  const AmcheckExtension extension_;
  DrillCheck& check_;
  std::vector<std::string> lacking_;
  uint64_t indexes_ = 0;
  uint64_t tables_ = 0;
};

Result<DrillCheck> run_amcheck_functions(pg::PgServer& server, const DrillScope& scope, int major,
                                         AmcheckExtension extension, const StopToken& stop) {
  Stopwatch watch;
  DrillCheck check{"amcheck", CheckResult::passed, "", 0};
  RelationCheck relations(server, scope, major, extension, check);
  TRY_ASSIGN(auto databases, connectable_databases(server));
  for (const std::string& database : databases) TRY(relations.run(database, stop));
  if (relations.lacking().size() == databases.size()) {
    return skipped("amcheck",
                   "no database has the extension amcheck, and a server in recovery cannot be given it");
  }
  if (check.result == CheckResult::passed) {
    check.detail =
        cat(scope.to_string(), ": bt_index_check with heapallindexed of ", relations.indexes(), " indexes",
            relations.tables() == 0 ? std::string()
                                    : cat(" and verify_heapam of ", relations.tables(), " tables"),
            " found nothing");
    if (!relations.lacking().empty())
      check.detail += cat("; without the extension: ", join(relations.lacking(), ", "));
  }
  check.detail = shorten(check.detail);
  check.seconds = watch.seconds();
  return check;
}

}  // namespace

std::string_view to_string(CheckResult result) {
  switch (result) {
    case CheckResult::passed:
      return "passed";
    case CheckResult::failed:
      return "failed";
    case CheckResult::skipped:
      return "skipped";
  }
  return "?";
}

Result<std::vector<std::string>> connectable_databases(pg::PgServer& server) {
  TRY_ASSIGN(pg::PgClient client, server.connect());
  TRY_ASSIGN(pg::Rows rows,
             client.query("select datname from pg_catalog.pg_database where datallowconn order by datname"));
  std::vector<std::string> names;
  for (int i = 0; i < rows.size(); ++i) names.emplace_back(rows.text(i, 0));
  return names;
}

Result<CountedRows> count_rows(pg::PgServer& server, const DrillScope& scope, size_t most, Reporter& reporter,
                               const StopToken& stop) {
  CountedRows counted;
  counted.scope = scope;
  TRY_ASSIGN(pg::PgClient first, server.connect());
  TRY_ASSIGN(auto next_xid, first.value("select pg_snapshot_xmax(pg_current_snapshot())"));
  counted.next_xid = parse_u64(next_xid.value_or("")).value_or(0);
  TRY_ASSIGN(auto databases, connectable_databases(server));
  for (const std::string& database : databases) {
    TRY_ASSIGN(pg::PgClient client, server.connect(database));
    TRY_ASSIGN(
        pg::Rows tables,
        client.query("select n.nspname, c.relname, pg_catalog.pg_relation_filenode(c.oid),"
                     " (select oid from pg_catalog.pg_database where datname = current_database())"
                     " from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
                     " where c.relkind in ('r', 'm') and c.relpersistence = 'p' and (c.relkind <> 'm' or "
                     "c.relispopulated)"
                     " and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') order by 1, 2"));
    for (int i = 0; i < tables.size(); ++i) {
      TRY(stop.check());
      if (!scope.has(database, tables.text(i, 0), tables.text(i, 1))) continue;
      if (counted.counts.size() >= most) {
        ++counted.left_out;
        continue;
      }
      RowCount count{database,
                     std::string(tables.text(i, 0)),
                     std::string(tables.text(i, 1)),
                     static_cast<uint32_t>(tables.u64(i, 2).value_or(0)),
                     static_cast<Oid>(tables.u64(i, 3).value_or(0)),
                     0};
      TRY_ASSIGN(auto rows, client.value(cat("select count(*) from only ", sql_identifier(count.schema), ".",
                                             sql_identifier(count.table))));
      count.rows = parse_i64(rows.value_or("")).value_or(-1);
      counted.counts.push_back(std::move(count));
      reporter.progress("counting rows", static_cast<uint64_t>(i) + 1, static_cast<uint64_t>(tables.size()),
                        ProgressUnit::items);
    }
  }
  return counted;
}

Result<DrillCheck> check_amcheck(pg::PgServer& server, const pg::PgBin& bin, const DrillScope& scope,
                                 int jobs, const StopToken& stop) {
  TRY_ASSIGN(pg::PgClient client, server.connect());
  TRY_ASSIGN(auto available,
             client.value("select count(*) from pg_catalog.pg_available_extensions where name = 'amcheck'"));
  if (available.value_or("0") == "0") {
    return skipped("amcheck",
                   "the extension amcheck is not installed on this host (package postgresql-contrib)");
  }
  if (bin.major < kFirstWithAmcheckProgram || !scope.all())
    return run_amcheck_functions(server, scope, bin.major, AmcheckExtension::created, stop);
  if (access(bin.program("pg_amcheck").c_str(), X_OK) != 0)
    return skipped("amcheck", cat(bin.program("pg_amcheck"), " is not there"));
  return run_amcheck_program(server, bin, jobs, stop);
}

Result<DrillCheck> check_amcheck_as_it_is(pg::PgServer& server, const DrillScope& scope, int major,
                                          const StopToken& stop) {
  return run_amcheck_functions(server, scope, major, AmcheckExtension::as_it_is, stop);
}

Result<DrillCheck> check_page_checksums(const pg::PgBin& bin, const std::string& directory, bool checksums,
                                        const StopToken& stop) {
  if (!checksums) return skipped("page_checksums", "the cluster has no data checksums");
  Stopwatch watch;
  ProcessSpec spec;
  spec.argv = {bin.program("pg_checksums"), "--check", "--pgdata", directory};
  RunOptions options;
  options.stop = &stop;
  TRY_ASSIGN(ProcessOutcome result, run_process(spec, options));
  DrillCheck check{"page_checksums", CheckResult::passed, "", watch.seconds()};
  if (!result.ok()) check.result = CheckResult::failed;
  check.detail = shorten(cat(result.out, "\n", result.err));
  for (char& c : check.detail) {
    if (c == '\n') c = ';';
  }
  return check;
}

namespace {
constexpr int64_t kLockTimeoutMs = 10'000;
constexpr std::string_view kSyntaxError = "42601";

// src/backend/utils/errcodes.txt: XX is an internal error or corrupted data, 58 the system's (an input/output
// error), 57 and 08 that the session was ended. All else is an answer to what was asked.
bool may_be_damage(std::string_view sqlstate) {
  if (sqlstate.empty()) return true;
  const std::string_view kind = sqlstate.substr(0, 2);
  const bool timed_out = sqlstate == "57014";
  return kind == "XX" || kind == "58" || kind == "08" || (kind == "57" && !timed_out);
}

}  // namespace

Result<DrillCheck> check_assertion(pg::PgServer& server, const std::string& database, const std::string& sql,
                                   const StopToken& stop) {
  Stopwatch watch;
  DrillCheck check{"assertion", CheckResult::failed, sql, 0};
  pg::ConnectOptions options;
  options.names =
      pg::NameLookup::as_configured;  // the operator's SQL, written for the database as it is set up
  options.stop = &stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(server.conninfo(database), options));
  TRY(client.exec(cat("SET lock_timeout = ", kLockTimeoutMs)));
  auto rows = client.query(sql);
  if (!rows && rows.error().kind == ErrorKind::cancelled) return std::move(rows).error();
  check.slip = !rows && client.last_sqlstate() == kSyntaxError;
  check.beside_the_backup = rows || !may_be_damage(client.last_sqlstate());
  if (!rows) {
    check.detail += cat(": ", rows.error().to_string());
    auto paused = client.value("SELECT pg_is_in_recovery()::text");
    if (check.detail.find("lock timeout") != std::string::npos && paused && *paused == "true")
      check.detail +=
          "; the transaction that recovery stopped before holds the lock until the server is promoted, so "
          "this cannot be asked here: a restore to a directory of its own, with --action promote, can";
  } else if (rows->size() != 1 || rows->columns() < 1) {
    check.detail += cat(": ", rows->size(), " rows, expected one whose first column is true");
  } else if (!rows->null(0, 0) && rows->text(0, 0) != "t" && rows->text(0, 0) != "f") {
    check.slip = true;
    check.detail += cat(": ", shorten(rows->text(0, 0)), ", expected true or false");
  } else if (!rows->truth(0, 0)) {
    check.detail +=
        cat(": ", rows->null(0, 0) ? std::string_view("null") : rows->text(0, 0), ", expected true");
  } else {
    check.result = CheckResult::passed;
  }
  check.seconds = watch.seconds();
  return check;
}

Result<DrillCheck> check_by_program(pg::PgServer& server, const DrillProgram& program,
                                    const std::string& database, int64_t timeout_ms, const StopToken& stop) {
  Stopwatch watch;
  const pg::LaunchOptions& launch = server.options();
  ProcessSpec spec;
  spec.argv = program.argv;
  spec.env = {{"PGHOST", launch.socket_directory}, {"PGPORT", cat(launch.port)}, {"PGDATABASE", database}};
  if (!launch.role.empty()) spec.env.emplace_back("PGUSER", launch.role);
  if (std::string settings = server.session_options(); !settings.empty())
    spec.env.emplace_back("PGOPTIONS", std::move(settings));
  spec.ends_with_us = true;
  RunOptions options;
  options.stop = &stop;
  options.timeout_ms = timeout_ms;
  DrillCheck check{program.name, CheckResult::failed, "", 0};
  check.beside_the_backup = true;
  auto outcome = run_process(spec, options);
  if (!outcome) {
    if (outcome.error().kind == ErrorKind::cancelled) return std::move(outcome).error();
    check.detail = outcome.error().to_string();
  } else {
    const std::string_view said = trim(trim(outcome->out).empty() ? outcome->err : outcome->out);
    check.detail =
        shorten(said.substr(said.rfind('\n') == std::string_view::npos ? 0 : said.rfind('\n') + 1));
    if (outcome->ok()) {
      check.result = CheckResult::passed;
    } else {
      check.detail = cat(outcome->describe(), check.detail.empty() ? "" : ": ", check.detail);
    }
  }
  check.seconds = watch.seconds();
  return check;
}

Result<DrillCheck> check_analyze(pg::PgServer& server, const CountedRows& counted, const StopToken& stop) {
  Stopwatch watch;
  DrillCheck check{"analyze", CheckResult::passed, "", 0};
  check.beside_the_backup = true;
  std::optional<pg::PgClient> client;
  std::string connected;
  for (const RowCount& table : counted.counts) {
    TRY(stop.check());
    if (!client || connected != table.database) {
      pg::ConnectOptions options;
      options.names = pg::NameLookup::as_configured;  // of the operator's functions in indexes
      options.stop = &stop;
      TRY_ASSIGN(client, pg::PgClient::connect(server.conninfo(table.database), options));
      connected = table.database;
    }
    Status analyzed =
        client->exec(cat("ANALYZE ", sql_identifier(table.schema), ".", sql_identifier(table.table)));
    if (analyzed) continue;
    if (analyzed.error().kind == ErrorKind::cancelled) return std::move(analyzed).error();
    if (may_be_damage(client->last_sqlstate())) check.beside_the_backup = false;
    check.result = CheckResult::failed;
    check.detail +=
        cat(table.database, ".", table.schema, ".", table.table, ": ", analyzed.error().to_string(), "; ");
  }
  check.detail =
      check.detail.empty() ? cat(lifeboat::counted(counted.counts.size(), "table")) : shorten(check.detail);
  check.seconds = watch.seconds();
  return check;
}

Result<std::vector<DrillCheck>> check_catalogues(pg::PgServer& server, const StopToken& stop) {
  Stopwatch watch;
  DrillCheck indexes{"invalid_indexes", CheckResult::passed, "", 0};
  DrillCheck collations{"collation_versions", CheckResult::passed, "", 0};
  DrillCheck extensions{"extensions", CheckResult::passed, "", 0};
  extensions.beside_the_backup = true;
  TRY_ASSIGN(auto doubtful, find_doubtful_indexes(server.conninfo(), stop));
  for (const DoubtfulIndex& one : doubtful) {
    if (one.doubt == IndexDoubt::collation) {
      collations.detail += cat(one.database, ".", one.index, " (", one.detail, ") ");
    } else {
      indexes.detail += cat(one.database, ".", one.index, " ");
    }
  }
  indexes.seconds = watch.seconds();
  TRY_ASSIGN(auto databases, connectable_databases(server));
  for (const std::string& database : databases) {
    TRY(stop.check());
    TRY_ASSIGN(pg::PgClient client, server.connect(database));
    TRY_ASSIGN(
        pg::Rows missing,
        client.query("select extname from pg_catalog.pg_extension where extname not in (select name from "
                     "pg_catalog.pg_available_extensions)"));
    for (int i = 0; i < missing.size(); ++i) extensions.detail += cat(database, ".", missing.text(i, 0), " ");
  }
  // An index that is invalid was so on the source: the copy is right, and its owner should know.
  if (!indexes.detail.empty()) indexes.detail = shorten(cat("invalid, as on the source: ", indexes.detail));
  if (!collations.detail.empty())
    collations.detail =
        shorten(cat("made with other versions of their collations than this host has, to be rebuilt after a "
                    "restore here (lifeboat heal indexes): ",
                    collations.detail));
  if (extensions.detail.empty()) {
    extensions.detail = "all that the databases use are on this host";
  } else {
    extensions.result = CheckResult::failed;
    extensions.detail = shorten(cat("used by the databases and not on this host: ", extensions.detail));
  }
  return std::vector<DrillCheck>{indexes, collations, extensions};
}

}  // namespace lifeboat::ops
