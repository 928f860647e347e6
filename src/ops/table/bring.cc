#include "ops/table/bring.h"

#include <algorithm>
#include <set>

#include "model/timestamp.h"
#include "ops/given_names.h"
#include "ops/table/compare.h"
#include "ops/table/merge.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

std::string qualified(std::string_view schema, std::string_view table) {
  return cat(sql_identifier(schema), ".", sql_identifier(table));
}

}  // namespace

std::string without_roles(const std::vector<std::string>& missing, std::string_view hint) {
  std::vector<std::string> made;
  for (const std::string& role : missing) made.push_back(cat("CREATE ROLE ", name_in_sql(role)));
  return cat("without owners and privileges, because the server lacks ",
             missing.size() == 1 ? "role " : "roles ", join(missing, ", "), ": ", join(made, "; "), " makes ",
             missing.size() == 1 ? "it" : "them", hint.empty() ? "" : ", or ", hint,
             "; what is brought after that has its owners");
}

std::string default_restore_schema() {
  std::string schema = cat("restored_", Timestamp{Clock::system().unix_us()}.to_compact());
  std::ranges::transform(schema, schema.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return schema;
}

Status check_bring_destination(const std::string& destination, const std::string& database,
                               const std::string& schema, const StopToken& stop) {
  pg::ConnectOptions connect;
  connect.stop = &stop;
  const bool whole = schema.empty();
  TRY_ASSIGN(pg::PgClient client,
             connect_to_database(destination, whole ? "postgres" : database, "on the server that gets it",
                                 connect, "--into-database names the one that gets the tables."));
  if (!whole) {
    TRY_ASSIGN(auto there,
               client.value("select count(*) from pg_catalog.pg_namespace where nspname = $1", {schema}));
    if (there == "0") return {};
    return make_error(ErrorKind::conflict, schema, cat("is a schema of database ", database, " already"))
        .with_hint("name one that is not there with --schema");
  }
  TRY_ASSIGN(auto there,
             client.value("select count(*) from pg_catalog.pg_database where datname = $1", {database}));
  if (there == "0") return {};
  return make_error(ErrorKind::conflict, database, "is a database of that server already")
      .with_hint("name one that is not there with --into-database");
}

Status check_merge_destination(const std::string& destination, const std::string& database,
                               const std::vector<std::string>& tables, const StopToken& stop) {
  pg::ConnectOptions connect;
  connect.names = pg::NameLookup::as_configured;
  connect.stop = &stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(pg::with_database(destination, database), connect));
  for (const std::string& table : tables) {
    TRY_ASSIGN(auto there, client.value("select pg_catalog.to_regclass($1)::pg_catalog.text", {table}));
    if (there) continue;
    TRY_ASSIGN(std::vector<KnownTable> known, list_tables(client));
    return no_such_table(
        table, cat("is not in database ", database, " of that server: there is nothing to merge into"), known,
        "Without --merge its rows come into a schema of their own, from where ALTER TABLE … SET SCHEMA moves "
        "it to its place.");
  }
  return {};
}

// --- at the source

Result<pg::PgClient> Bringer::source(pg::NameLookup names) const {
  pg::ConnectOptions connect;
  connect.names = names;
  connect.stop = &stop_;
  return pg::PgClient::connect(options_.source, connect);
}

Result<pg::PgClient> Bringer::destination(const std::string& database) const {
  pg::ConnectOptions connect;
  connect.stop = &stop_;
  return pg::PgClient::connect(pg::with_database(options_.destination, database), connect);
}

Status Bringer::choose() {
  TRY_ASSIGN(pg::PgClient client, source(pg::NameLookup::as_configured));
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
    TRY_ASSIGN(std::vector<KnownTable> known, list_tables(client));
    return no_such_table(name, cat("does not exist in database ", options_.original, " ", options_.where),
                         known, options_.missing_hint);
  }
  return {};
}

Status Bringer::take(pg::PgClient& client, const std::string& sql,
                     std::initializer_list<pg::Param> parameters) {
  TRY_ASSIGN(pg::Rows rows, client.query(sql, parameters));
  for (int i = 0; i < rows.size(); ++i) {
    Chosen one{std::string(rows.text(i, 0)), std::string(rows.text(i, 1)), std::string(rows.text(i, 2))};
    auto same = [&](const Chosen& other) { return other.schema == one.schema && other.table == one.table; };
    if (std::ranges::none_of(chosen_, same)) chosen_.push_back(std::move(one));
  }
  return {};
}

// Indexes, constraints, comments and sequences that belong to a column go with their table.
Status Bringer::move_to_schema() {
  std::set<std::string> names;
  for (const Chosen& one : chosen_) {
    if (names.insert(one.table).second) continue;
    return make_error(ErrorKind::usage, one.table,
                      "two tables of this name, from two schemas, were asked for")
        .with_hint("bring them one by one: they go into one schema");
  }
  TRY_ASSIGN(pg::PgClient client, source(pg::NameLookup::catalog_only));
  // Event triggers read and write what they like, which may not be there. Who may not say so has them fire.
  (void)client.exec("set session_replication_role = replica");
  TRY(client.exec(cat("create schema ", sql_identifier(options_.schema))));
  for (const Chosen& one : chosen_) {
    TRY(client.exec(cat("alter table ", qualified(one.schema, one.table), " set schema ",
                        sql_identifier(options_.schema))));
  }
  TRY_ASSIGN(cut_, cut_ties(client, options_.schema));
  for (const CutTie& tie : cut_) notes_.push_back(tie.to_string());
  return {};
}

// Where a chosen table stands on the scratch server now, and at the destination.
std::string Bringer::place_of(const Chosen& one) const {
  return qualified(whole_ ? one.schema : options_.schema, one.table);
}

// --- from there to the destination
std::string Bringer::dump_file() const {
  return join_path(options_.work_directory, "dump");
}

Result<ProcessOutcome> Bringer::run_program(std::vector<std::string> argv) const {
  ProcessSpec spec;
  spec.argv = std::move(argv);
  spec.ends_with_us = true;
  RunOptions run;
  run.stop = &stop_;
  return run_process(spec, run);
}

Status Bringer::run_checked(std::vector<std::string> argv) const {
  const std::string program(base_name(argv.front()));
  TRY_ASSIGN(ProcessOutcome outcome, run_program(std::move(argv)));
  if (outcome.ok()) return {};
  return make_error(ErrorKind::failed, program, outcome.describe())
      .with_cause(std::string(trim(outcome.err)));
}

Status Bringer::dump() {
  reporter_.progress("dumping", 0, 0, ProgressUnit::items);
  std::vector<std::string> argv = {options_.client.program("pg_dump"),
                                   "--format=custom",
                                   "--compress=1",
                                   "--no-publications",
                                   "--no-subscriptions",
                                   cat("--file=", dump_file())};
  if (!whole_) argv.push_back(cat("--schema=", sql_identifier(options_.schema)));
  argv.push_back(cat("--dbname=", options_.source));
  return run_checked(std::move(argv));
}

Status Bringer::load() {
  reporter_.progress("bringing", 0, 0, ProgressUnit::items);
  if (whole_) TRY(create_database());
  TRY_ASSIGN(std::vector<std::string> options, owner_options());
  const std::string target =
      cat("--dbname=", pg::with_database(options_.destination, options_.into_database));
  const std::string program = options_.client.program("pg_restore");
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
  if (!outcome.ok()) notes_.push_back(cat("not every foreign key holds: ", trim(outcome.err)));
  return {};
}

Result<Bringer::ForeignKeys> Bringer::list_contents(const std::string& program) const {
  TRY_ASSIGN(ProcessOutcome listed, run_program({program, "--list", dump_file()}));
  if (!listed.ok()) return make_error(ErrorKind::failed, "pg_restore --list", listed.describe());
  ForeignKeys keys{join_path(options_.work_directory, "others.list"),
                   join_path(options_.work_directory, "keys.list"), 0};
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
Status Bringer::create_database() {
  TRY_ASSIGN(pg::PgClient client, source(pg::NameLookup::catalog_only));
  TRY_ASSIGN(pg::Rows rows,
             client.query("select pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype from "
                          "pg_catalog.pg_database where datname = current_database()"));
  TRY_ASSIGN(pg::PgClient there, destination("postgres"));
  return there.exec(cat("create database ", sql_identifier(options_.into_database),
                        " template template0 encoding ", sql_literal(rows.text(0, 0)), " lc_collate ",
                        sql_literal(rows.text(0, 1)), " lc_ctype ", sql_literal(rows.text(0, 2))));
}

// Owners and grantees that the destination does not know would fail everything.
Result<std::vector<std::string>> Bringer::owner_options() {
  TRY_ASSIGN(pg::PgClient client, source(pg::NameLookup::catalog_only));
  TRY_ASSIGN(pg::Rows rows,
             client.query(
                 "select distinct pg_catalog.pg_get_userbyid(role) from (select c.relowner as role from "
                 "pg_catalog.pg_class c where c.relkind in ('r', 'p', 'S', 'v', 'm') union select a.grantee "
                 "from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a union select nspowner from "
                 "pg_catalog.pg_namespace) r where role <> 0"));
  TRY_ASSIGN(pg::PgClient there, destination(options_.into_database));
  std::vector<std::string> missing;
  for (int i = 0; i < rows.size(); ++i) {
    TRY_ASSIGN(auto known, there.value("select count(*) from pg_catalog.pg_roles where rolname = $1",
                                       {std::string(rows.text(i, 0))}));
    if (known == "0") missing.emplace_back(rows.text(i, 0));
  }
  if (missing.empty()) return std::vector<std::string>();
  notes_.push_back(without_roles(missing, options_.roles_hint));
  return std::vector<std::string>{"--no-owner", "--no-privileges"};
}

// --- proof
Status Bringer::compare() {
  TRY_ASSIGN(pg::PgClient ours, source(pg::NameLookup::catalog_only));
  TRY_ASSIGN(pg::PgClient theirs, destination(options_.into_database));
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
    tables_.push_back({qualified(one.schema, one.table), place, found.rows, std::nullopt});
  }
  return {};
}

Status Bringer::merge() {
  TRY_ASSIGN(pg::PgClient client, destination(options_.into_database));
  std::vector<MergePair> pairs;
  for (const BroughtTable& table : tables_) pairs.push_back({table.brought, table.original, 0});
  TRY(merge_missing_rows(client, pairs));
  for (size_t i = 0; i < pairs.size(); ++i) tables_[i].merged = pairs[i].merged;
  return {};
}

// --- all of it

Status Bringer::bring() {
  if (!whole_) TRY(move_to_schema());
  TRY(dump());
  return load();
}

}  // namespace lifeboat::ops
