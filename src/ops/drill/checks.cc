#include "ops/drill/checks.h"

#include <unistd.h>

#include "pg/client/client.h"
#include "util/clock.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kFirstWithAmcheckProgram = 14;
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

Result<std::vector<std::string>> connectable_databases(pg::PgServer& server) {
  TRY_ASSIGN(pg::PgClient client, server.connect());
  TRY_ASSIGN(pg::Rows rows,
             client.query("select datname from pg_catalog.pg_database where datallowconn order by datname"));
  std::vector<std::string> names;
  for (int i = 0; i < rows.size(); ++i) names.emplace_back(rows.text(i, 0));
  return names;
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

// 13: every valid B-tree index, one by one.
Result<DrillCheck> run_amcheck_functions(pg::PgServer& server, const StopToken& stop) {
  Stopwatch watch;
  DrillCheck check{"amcheck", CheckResult::passed, "", 0};
  uint64_t indexes = 0;
  TRY_ASSIGN(auto databases, connectable_databases(server));
  for (const std::string& database : databases) {
    TRY_ASSIGN(pg::PgClient client, server.connect(database));
    // Where pg_amcheck --install-missing of later majors puts it; it may be there already, elsewhere.
    TRY(client.exec("create extension if not exists amcheck schema pg_catalog"));
    TRY_ASSIGN(auto schema, client.value("select n.nspname from pg_catalog.pg_extension e join "
                                         "pg_catalog.pg_namespace n on n.oid = e.extnamespace where "
                                         "e.extname = 'amcheck'"));
    const std::string check_one = cat("select ", sql_identifier(schema.value_or("pg_catalog")),
                                      ".bt_index_check($1::oid::regclass, true)");
    TRY_ASSIGN(
        pg::Rows rows,
        client.query(
            "select c.oid, c.oid::regclass::text from pg_catalog.pg_index i join pg_catalog.pg_class c on"
            " c.oid = i.indexrelid join pg_catalog.pg_am a on a.oid = c.relam where a.amname = 'btree' and"
            " c.relpersistence <> 't' and i.indisready and i.indisvalid"));
    for (int i = 0; i < rows.size(); ++i, ++indexes) {
      TRY(stop.check());
      auto checked = client.query(check_one, {std::string(rows.text(i, 0))});
      if (checked) continue;
      check.result = CheckResult::failed;
      check.detail += cat(database, ".", rows.text(i, 1), ": ", checked.error().to_string(), "\n");
    }
  }
  if (check.result == CheckResult::passed)
    check.detail = cat("bt_index_check with heapallindexed of ", indexes, " indexes found nothing");
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

Result<CountedRows> count_rows(pg::PgServer& server, size_t most, Reporter& reporter, const StopToken& stop) {
  CountedRows counted;
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

Result<DrillCheck> check_amcheck(pg::PgServer& server, const pg::PgBin& bin, int jobs,
                                 const StopToken& stop) {
  TRY_ASSIGN(pg::PgClient client, server.connect());
  TRY_ASSIGN(auto available,
             client.value("select count(*) from pg_catalog.pg_available_extensions where name = 'amcheck'"));
  if (available.value_or("0") == "0") {
    return skipped("amcheck",
                   "the extension amcheck is not installed on this host (package postgresql-contrib)");
  }
  if (bin.major < kFirstWithAmcheckProgram) return run_amcheck_functions(server, stop);
  if (access(bin.program("pg_amcheck").c_str(), X_OK) != 0)
    return skipped("amcheck", cat(bin.program("pg_amcheck"), " is not there"));
  return run_amcheck_program(server, bin, jobs, stop);
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

Result<DrillCheck> check_assertion(pg::PgServer& server, const std::string& database,
                                   const std::string& sql) {
  Stopwatch watch;
  DrillCheck check{"assertion", CheckResult::failed, sql, 0};
  pg::ConnectOptions options;
  options.names =
      pg::NameLookup::as_configured;  // the operator's SQL, written for the database as it is set up
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(server.conninfo(database), options));
  auto rows = client.query(sql);
  if (!rows) {
    check.detail += cat(": ", rows.error().to_string());
  } else if (rows->size() != 1 || rows->columns() < 1) {
    check.detail += cat(": ", rows->size(), " rows, expected one whose first column is true");
  } else if (!rows->truth(0, 0)) {
    check.detail +=
        cat(": ", rows->null(0, 0) ? std::string_view("null") : rows->text(0, 0), ", expected true");
  } else {
    check.result = CheckResult::passed;
  }
  check.seconds = watch.seconds();
  return check;
}

Result<std::vector<DrillCheck>> check_catalogues(pg::PgServer& server, const StopToken& stop) {
  Stopwatch watch;
  DrillCheck indexes{"invalid_indexes", CheckResult::passed, "", 0};
  DrillCheck collations{"collation_versions", CheckResult::passed, "", 0};
  TRY_ASSIGN(auto databases, connectable_databases(server));
  for (const std::string& database : databases) {
    TRY(stop.check());
    TRY_ASSIGN(pg::PgClient client, server.connect(database));
    TRY_ASSIGN(
        pg::Rows invalid,
        client.query("select indexrelid::regclass::text from pg_catalog.pg_index where not indisvalid"));
    for (int i = 0; i < invalid.size(); ++i) indexes.detail += cat(database, ".", invalid.text(i, 0), " ");
    TRY_ASSIGN(pg::Rows changed,
               client.query("select collname from pg_catalog.pg_collation where collversion is not null and"
                            " collversion is distinct from pg_catalog.pg_collation_actual_version(oid)"));
    for (int i = 0; i < changed.size(); ++i) collations.detail += cat(database, ".", changed.text(i, 0), " ");
  }
  // An index that is invalid was so on the source: the copy is right, and its owner should know.
  if (!indexes.detail.empty()) indexes.detail = cat("invalid, as on the source: ", indexes.detail);
  if (!collations.detail.empty()) {
    collations.detail =
        cat("other versions on this host, indexes on them would have to be rebuilt: ", collations.detail);
  }
  indexes.seconds = watch.seconds();
  return std::vector<DrillCheck>{indexes, collations};
}

}  // namespace lifeboat::ops
