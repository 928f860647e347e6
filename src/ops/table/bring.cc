#include "ops/table/bring.h"

#include <algorithm>
#include <set>

#include "model/timestamp.h"
#include "ops/given_names.h"
#include "ops/table/compare.h"
#include "ops/table/merge.h"
#include "ops/table/named_table.h"
#include "ops/table/new_database.h"
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
    if (chosen_.size() == before) return not_there(client, name);
  }
  return {};
}

Status Bringer::not_there(pg::PgClient& client, const std::string& name) const {
  TRY(require_no_other_relation(client, name));
  TRY_ASSIGN(std::vector<KnownTable> known, list_tables(client));
  std::vector<std::string> others = options_.databases;
  std::erase(others, options_.original);
  std::ranges::sort(others);
  const std::string elsewhere =
      others.empty() ? "" : cat("It may be in another database (--database): ", join(others, ", "), ". ");
  return no_such_table(name, cat("does not exist in database ", options_.original, " ", options_.where),
                       known, cat(elsewhere, options_.missing_hint));
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

Status Bringer::load(const RolesConcerned& roles) {
  reporter_.progress("bringing", 0, 0, ProgressUnit::items);
  const std::vector<std::string> options = owner_options(roles);
  TRY_ASSIGN(pg::PgClient client, source(pg::NameLookup::catalog_only));
  TRY_ASSIGN(std::vector<NeedsRole> needless, what_needs_roles(client, roles.missing));
  TRY_ASSIGN(Contents contents, list_contents(needless));
  auto restore = [&](std::vector<std::string> argv) {
    argv.insert(argv.begin(), options_.client.program("pg_restore"));
    argv.insert(argv.end(), options.begin(), options.end());
    argv.insert(
        argv.end(),
        {cat("--dbname=", pg::with_database(options_.destination, options_.into_database)), dump_file()});
    return argv;
  };
  // Rows that foreign keys refer to may be gone or different: such a key is reported, and the rest stands.
  TRY(run_checked(restore({"--single-transaction", cat("--use-list=", contents.others)})));
  if (contents.keys_count == 0) return {};
  TRY_ASSIGN(ProcessOutcome outcome, run_program(restore({cat("--use-list=", contents.keys)})));
  if (!outcome.ok()) notes_.push_back(cat("not every foreign key holds: ", trim(outcome.err)));
  return {};
}

Result<Bringer::Contents> Bringer::list_contents(const std::vector<NeedsRole>& needless) {
  TRY_ASSIGN(ProcessOutcome listed,
             run_program({options_.client.program("pg_restore"), "--list", dump_file()}));
  if (!listed.ok()) return make_error(ErrorKind::failed, "pg_restore --list", listed.describe());
  Contents contents{join_path(options_.work_directory, "others.list"),
                    join_path(options_.work_directory, "keys.list"), 0};
  std::string others;
  std::string keys;
  for (std::string_view line : split(listed.out, '\n')) {
    auto names = [&](const NeedsRole& one) {
      return line.find(cat("; ", one.entry, " ")) != std::string_view::npos;
    };
    // public is there in every new database; pg_dump knows that from 15 on.
    if (whole_ && options_.client.major < 15 && line.find(" SCHEMA - public ") != std::string_view::npos)
      continue;
    if (auto left_out = std::ranges::find_if(needless, names); left_out != needless.end()) {
      notes_.push_back(cat(left_out->name, " was left out, because of a role that the server lacks"));
      continue;
    }
    const bool key = line.find(" FK CONSTRAINT ") != std::string_view::npos;
    (key ? keys : others) += cat(line, "\n");
    contents.keys_count += key ? 1 : 0;
  }
  TRY(write_file_durable(contents.others, as_bytes(others), 0600));
  TRY(write_file_durable(contents.keys, as_bytes(keys), 0600));
  return contents;
}

Result<RolesConcerned> Bringer::roles_concerned() {
  TRY_ASSIGN(pg::PgClient client, source(pg::NameLookup::catalog_only));
  TRY_ASSIGN(pg::PgClient there, destination(whole_ ? "postgres" : options_.into_database));
  return look_at_roles(client, there, whole_ ? "" : options_.schema);
}

// Owners and grantees that the destination does not know would fail everything.
std::vector<std::string> Bringer::owner_options(const RolesConcerned& roles) {
  if (!roles.objects_missing.empty()) {
    notes_.push_back(
        without_roles({roles.objects_missing.begin(), roles.objects_missing.end()}, options_.roles_hint));
    return {"--no-owner", "--no-privileges"};
  }
  if (!roles.objects_not_ours) return {};
  notes_.push_back(cat("everything belongs to the role that connects, because it is no member of ",
                       join({roles.not_ours.begin(), roles.not_ours.end()}, ", ")));
  return {"--no-owner"};
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

// Triggers of the live tables get the names that every session has.
Status Bringer::merge() {
  TRY_ASSIGN(pg::PgClient catalogue, destination(options_.into_database));
  pg::ConnectOptions connect;
  connect.names = pg::NameLookup::as_configured;
  connect.stop = &stop_;
  TRY_ASSIGN(pg::PgClient session,
             pg::PgClient::connect(pg::with_database(options_.destination, options_.into_database), connect));
  std::vector<MergePair> pairs;
  for (const BroughtTable& table : tables_) {
    const std::string keys = qualified(options_.schema, cat("lifeboat missing keys ", pairs.size() + 1));
    pairs.push_back({table.brought, table.original, keys, 0});
  }
  if (Status merged = merge_missing_rows(catalogue, session, pairs); !merged) {
    Error error = std::move(merged).error();
    const std::string more =
        cat("nothing was merged; schema ", options_.schema, " of database ", options_.into_database,
            " holds what was brought: DROP SCHEMA ", name_in_sql(options_.schema), " CASCADE takes it away");
    std::string hint = error.hint.empty() ? more : cat(error.hint, "; ", more);
    return std::move(error).with_hint(std::move(hint));
  }
  for (size_t i = 0; i < pairs.size(); ++i) tables_[i].merged = pairs[i].merged;
  return {};
}

// --- all of it

Status Bringer::bring() {
  if (whole_) return bring_database();
  TRY(move_to_schema());
  TRY(dump());
  TRY_ASSIGN(RolesConcerned roles, roles_concerned());
  TRY(load(roles));
  return compare();
}

// Half of a database must not be taken for one.
Status Bringer::bring_database() {
  TRY(dump());
  TRY_ASSIGN(RolesConcerned roles, roles_concerned());
  TRY_ASSIGN(NewDatabase database,
             NewDatabase::plan({options_.source, options_.original, options_.into_database,
                                options_.destination, options_.client},
                               roles, stop_));
  TRY(database.create());
  auto fill = [&]() -> Status {
    TRY(load(roles));
    TRY(compare());
    return database.finish();
  };
  if (Status filled = fill(); !filled) return database.drop(std::move(filled).error());
  notes_.insert(notes_.end(), database.notes().begin(), database.notes().end());
  return {};
}

}  // namespace lifeboat::ops
