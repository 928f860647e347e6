#include "ops/table/table.h"

#include <algorithm>
#include <set>

#include "ops/table/compare.h"
#include "ops/table/merge.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

double since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

std::string qualified(std::string_view schema, std::string_view table) {
  return cat(sql_identifier(schema), ".", sql_identifier(table));
}

// A table of the backup that was chosen.
struct Chosen {
  std::string schema;
  std::string table;
  std::string kind;  // relkind
  bool holds_rows() const { return kind != "p"; }
};

class TableRestore {
 public:
  TableRestore(const TableRestoreOptions& options, Reporter& reporter, StopToken& stop)
      : options_(options), reporter_(reporter), stop_(stop), whole_(options.tables.empty()) {}

  Result<TableRestoreOutcome> run() {
    const int64_t began_us = Clock::system().monotonic_us();
    TRY(name_destination());
    TRY(look_at_destination());
    TRY(make_scratch());
    outcome_.recovered_seconds = since(began_us);
    TRY(choose());
    if (!whole_) TRY(move_to_schema());
    TRY(dump());
    TRY(load());
    TRY(compare());
    if (options_.merge == TableMerge::missing_rows) TRY(merge());
    TRY(scratch_->stop_server());
    TRY_ASSIGN(outcome_.fetched_bytes, scratch_->end());
    outcome_.notes.insert(outcome_.notes.end(), scratch_->notes().begin(), scratch_->notes().end());
    outcome_.seconds = since(began_us);
    return std::move(outcome_);
  }

 private:
  // --- before anything is restored
  Status name_destination() {
    outcome_.database = options_.into_database;
    if (outcome_.database.empty())
      outcome_.database = whole_ ? cat(options_.database, "_restored") : options_.database;
    if (whole_) return {};
    outcome_.schema = options_.schema;
    if (outcome_.schema.empty()) {
      outcome_.schema = cat("restored_", Timestamp{Clock::system().unix_us()}.to_compact());
      std::ranges::transform(outcome_.schema, outcome_.schema.begin(),
                             [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    }
    return {};
  }

  Result<pg::PgClient> destination(const std::string& database) const {
    pg::ConnectOptions connect;
    connect.stop = &stop_;
    return pg::PgClient::connect(pg::with_database(options_.destination, database), connect);
  }

  Status look_at_destination() {
    if (!whole_) {
      TRY_ASSIGN(pg::PgClient client, destination(outcome_.database));
      TRY_ASSIGN(auto there, client.value("select count(*) from pg_catalog.pg_namespace where nspname = $1",
                                          {outcome_.schema}));
      if (there == "0") return {};
      return make_error(ErrorKind::conflict, outcome_.schema,
                        cat("is a schema of database ", outcome_.database, " already"))
          .with_hint("name one that is not there with --schema");
    }
    TRY_ASSIGN(pg::PgClient client, destination("postgres"));
    TRY_ASSIGN(auto there, client.value("select count(*) from pg_catalog.pg_database where datname = $1",
                                        {outcome_.database}));
    if (there == "0") return {};
    return make_error(ErrorKind::conflict, outcome_.database, "is a database of that server already")
        .with_hint("name one that is not there with --into-database");
  }

  Status make_scratch() {
    TRY_ASSIGN(scratch_, Scratch::make(options_.scratch));
    TRY_ASSIGN(source_, open_restore(scratch_->restore()));
    TRY_ASSIGN(RestorePlan plan, plan_restore(source_, scratch_->restore(), reporter_, stop_));
    for (const std::string& note : plan.reach.notes) outcome_.notes.push_back(note);
    TRY(scratch_->start(source_, std::move(plan), reporter_, stop_));
    outcome_.plan = scratch_->plan();
    outcome_.medium = scratch_->medium();
    return {};
  }

  // --- on the scratch server
  Result<pg::PgClient> scratch_client(pg::NameLookup names) {
    pg::ConnectOptions connect;
    connect.names = names;
    connect.stop = &stop_;
    auto client = pg::PgClient::connect(scratch_->server().conninfo(options_.database), connect);
    if (client || client.error().kind != ErrorKind::not_found) return client;
    return make_error(ErrorKind::not_found, options_.database, "is no database of the backup at that moment")
        .with_hint("wal find --dropped tells when a database was dropped; --before-drop goes to before that");
  }

  Status choose() {
    TRY_ASSIGN(pg::PgClient client, scratch_client(pg::NameLookup::as_configured));
    if (whole_) {
      return take(
          client,
          "select n.nspname, c.relname, c.relkind from pg_catalog.pg_class c join pg_catalog.pg_namespace n "
          "on n.oid = c.relnamespace where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', "
          "'information_schema') and n.nspname !~ '^pg_' order by 1, 2",
          {});
    }
    for (const std::string& name : options_.tables) {
      const size_t before = chosen_.size();
      // With its partitions.
      TRY(take(
          client,
          "select n.nspname, c.relname, c.relkind from pg_catalog.pg_class c join pg_catalog.pg_namespace n "
          "on "
          "n.oid = c.relnamespace where c.relkind in ('r', 'p') and (c.oid = pg_catalog.to_regclass($1) or "
          "c.oid in (select relid from pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1)))) order by "
          "c.oid = pg_catalog.to_regclass($1) desc, 1, 2",
          {name}));
      if (chosen_.size() > before) continue;
      return make_error(ErrorKind::not_found, name,
                        cat("is no table of database ", options_.database, " at that moment"))
          .with_hint("wal find --dropped tells when a table was dropped; --before-drop goes to before that");
    }
    return {};
  }

  Status take(pg::PgClient& client, const std::string& sql, std::initializer_list<pg::Param> parameters) {
    TRY_ASSIGN(pg::Rows rows, client.query(sql, parameters));
    for (int i = 0; i < rows.size(); ++i) {
      Chosen one{std::string(rows.text(i, 0)), std::string(rows.text(i, 1)), std::string(rows.text(i, 2))};
      auto same = [&](const Chosen& other) { return other.schema == one.schema && other.table == one.table; };
      if (std::ranges::none_of(chosen_, same)) chosen_.push_back(std::move(one));
    }
    return {};
  }

  // Indexes, constraints, comments and sequences that belong to a column go with their table.
  Status move_to_schema() {
    std::set<std::string> names;
    for (const Chosen& one : chosen_) {
      if (names.insert(one.table).second) continue;
      return make_error(ErrorKind::usage, one.table,
                        "two tables of this name, from two schemas, were asked for")
          .with_hint("bring them one by one: they go into one schema");
    }
    TRY_ASSIGN(pg::PgClient client, scratch_client(pg::NameLookup::catalog_only));
    TRY(client.exec(cat("create schema ", sql_identifier(outcome_.schema))));
    for (const Chosen& one : chosen_) {
      TRY(client.exec(cat("alter table ", qualified(one.schema, one.table), " set schema ",
                          sql_identifier(outcome_.schema))));
    }
    return {};
  }

  // Where a chosen table stands on the scratch server now, and at the destination.
  std::string place_of(const Chosen& one) const {
    return qualified(whole_ ? one.schema : outcome_.schema, one.table);
  }

  // --- from there to the destination
  std::string dump_file() const { return join_path(scratch_->work_directory(), "dump"); }

  Result<ProcessOutcome> run_program(std::vector<std::string> argv) const {
    ProcessSpec spec;
    spec.argv = std::move(argv);
    spec.ends_with_us = true;
    RunOptions run;
    run.stop = &stop_;
    return run_process(spec, run);
  }

  Status run_checked(std::vector<std::string> argv) const {
    const std::string program(base_name(argv.front()));
    TRY_ASSIGN(ProcessOutcome outcome, run_program(std::move(argv)));
    if (outcome.ok()) return {};
    return make_error(ErrorKind::failed, program, outcome.describe())
        .with_cause(std::string(trim(outcome.err)));
  }

  Status dump() {
    reporter_.progress("dumping", 0, 0, ProgressUnit::items);
    std::vector<std::string> argv = {scratch_->plan().pg_bin->program("pg_dump"),
                                     "--format=custom",
                                     "--compress=1",
                                     "--no-publications",
                                     "--no-subscriptions",
                                     cat("--file=", dump_file())};
    if (!whole_) argv.push_back(cat("--schema=", sql_identifier(outcome_.schema)));
    argv.push_back(cat("--dbname=", scratch_->server().conninfo(options_.database)));
    return run_checked(std::move(argv));
  }

  Status load() {
    reporter_.progress("bringing", 0, 0, ProgressUnit::items);
    if (whole_) TRY(create_database());
    TRY_ASSIGN(std::vector<std::string> options, owner_options());
    const std::string target = cat("--dbname=", pg::with_database(options_.destination, outcome_.database));
    const std::string program = scratch_->plan().pg_bin->program("pg_restore");
    TRY_ASSIGN(ForeignKeys keys, list_contents(program));
    // Rows of other tables that foreign keys refer to may be gone or different: such a key is reported, and
    // the rest stands.
    std::vector<std::string> argv = {program, "--single-transaction", cat("--use-list=", keys.others)};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.insert(argv.end(), {target, dump_file()});
    TRY(run_checked(argv));
    if (keys.count == 0) return {};
    argv = {program, cat("--use-list=", keys.keys)};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.insert(argv.end(), {target, dump_file()});
    TRY_ASSIGN(ProcessOutcome outcome, run_program(std::move(argv)));
    if (!outcome.ok()) outcome_.notes.push_back(cat("not every foreign key holds: ", trim(outcome.err)));
    return {};
  }

  struct ForeignKeys {
    std::string others;  // a file with everything else
    std::string keys;    // a file with them
    size_t count = 0;
  };
  Result<ForeignKeys> list_contents(const std::string& program) const {
    TRY_ASSIGN(ProcessOutcome listed, run_program({program, "--list", dump_file()}));
    if (!listed.ok()) return make_error(ErrorKind::failed, "pg_restore --list", listed.describe());
    ForeignKeys keys{join_path(scratch_->work_directory(), "others.list"),
                     join_path(scratch_->work_directory(), "keys.list"), 0};
    std::string others;
    std::string of_keys;
    for (std::string_view line : split(listed.out, '\n')) {
      const bool key = line.find(" FK CONSTRAINT ") != std::string_view::npos;
      // public is there in every new database.
      if (whole_ && line.find(" SCHEMA - public ") != std::string_view::npos) continue;
      (key ? of_keys : others) += cat(line, "\n");
      keys.count += key ? 1 : 0;
    }
    TRY(write_file_durable(keys.others, as_bytes(others), 0600));
    TRY(write_file_durable(keys.keys, as_bytes(of_keys), 0600));
    return keys;
  }

  // As it is in the backup, from template0.
  Status create_database() {
    TRY_ASSIGN(pg::PgClient client, scratch_client(pg::NameLookup::catalog_only));
    TRY_ASSIGN(pg::Rows rows,
               client.query("select pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype from "
                            "pg_catalog.pg_database where datname = current_database()"));
    TRY_ASSIGN(pg::PgClient there, destination("postgres"));
    return there.exec(cat("create database ", sql_identifier(outcome_.database),
                          " template template0 encoding ", sql_literal(rows.text(0, 0)), " lc_collate ",
                          sql_literal(rows.text(0, 1)), " lc_ctype ", sql_literal(rows.text(0, 2))));
  }

  // Owners and grantees that the destination does not know would fail everything.
  Result<std::vector<std::string>> owner_options() {
    TRY_ASSIGN(pg::PgClient client, scratch_client(pg::NameLookup::catalog_only));
    TRY_ASSIGN(
        pg::Rows rows,
        client.query(
            "select distinct pg_catalog.pg_get_userbyid(role) from (select c.relowner as role from "
            "pg_catalog.pg_class c where c.relkind in ('r', 'p', 'S', 'v', 'm') union select a.grantee "
            "from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a union select nspowner from "
            "pg_catalog.pg_namespace) r where role <> 0"));
    TRY_ASSIGN(pg::PgClient there, destination(outcome_.database));
    std::vector<std::string> missing;
    for (int i = 0; i < rows.size(); ++i) {
      TRY_ASSIGN(auto known, there.value("select count(*) from pg_catalog.pg_roles where rolname = $1",
                                         {std::string(rows.text(i, 0))}));
      if (known == "0") missing.emplace_back(rows.text(i, 0));
    }
    if (missing.empty()) return std::vector<std::string>();
    outcome_.notes.push_back(
        cat("without owners and privileges, because these roles are not there: ", join(missing, ", ")));
    return std::vector<std::string>{"--no-owner", "--no-privileges"};
  }

  // --- proof
  Status compare() {
    TRY_ASSIGN(pg::PgClient ours, scratch_client(pg::NameLookup::catalog_only));
    TRY_ASSIGN(pg::PgClient theirs, destination(outcome_.database));
    TRY(settle_text_form(ours));
    TRY(settle_text_form(theirs));
    uint64_t done = 0;
    for (const Chosen& one : chosen_) {
      reporter_.progress("comparing", ++done, chosen_.size(), ProgressUnit::items);
      if (!one.holds_rows()) continue;
      const std::string place = place_of(one);
      TRY_ASSIGN(TableDigest expected, digest_table(ours, place));
      TRY_ASSIGN(TableDigest found, digest_table(theirs, place));
      if (found != expected) {
        return make_error(ErrorKind::check_failed, place,
                          cat("is not what the backup has: ", found.rows, " rows, expected ", expected.rows,
                              found.rows == expected.rows ? "; some differ" : ""));
      }
      outcome_.tables.push_back({qualified(one.schema, one.table), place, found.rows, std::nullopt});
    }
    return {};
  }

  Status merge() {
    TRY_ASSIGN(pg::PgClient client, destination(outcome_.database));
    std::vector<MergePair> pairs;
    for (const BroughtTable& table : outcome_.tables) pairs.push_back({table.brought, table.original, 0});
    TRY(merge_missing_rows(client, pairs));
    for (size_t i = 0; i < pairs.size(); ++i) outcome_.tables[i].merged = pairs[i].merged;
    return {};
  }

  const TableRestoreOptions& options_;
  Reporter& reporter_;
  StopToken& stop_;
  const bool whole_;
  TableRestoreOutcome outcome_;
  RestoreSource source_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<Chosen> chosen_;
};

}  // namespace

Result<TableRestoreOutcome> restore_tables(const TableRestoreOptions& options, Reporter& reporter,
                                           StopToken& stop) {
  return TableRestore(options, reporter, stop).run();
}

}  // namespace lifeboat::ops
