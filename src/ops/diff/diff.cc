#include "ops/diff/diff.h"

#include <algorithm>
#include <map>
#include <set>

#include "codec/codec.h"
#include "ops/diff/schema_dump.h"
#include "ops/given_names.h"
#include "ops/scratch/for_tables.h"
#include "ops/table/compare.h"
#include "pg/server/pg_bin.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kOnServer = "on the server";

// What a table consists of: one line each.
using Description = std::set<std::string>;
constexpr std::string_view kUnlogged = "unlogged";

// One of the two states, open for reading.
class Side {
 public:
  static Result<std::unique_ptr<Side>> open(const DiffSide& side, const DiffOptions& options,
                                            Reporter& reporter, StopToken& stop) {
    std::unique_ptr<Side> opened(new Side());
    if (side.scratch)
      TRY(opened->open_backup(side, {options.database, options.tables}, reporter, stop));
    else
      TRY(opened->open_live(side, options.database, stop));
    TRY(settle_text_form(*opened->client_));
    TRY(opened->find_out_about_recovery());
    // One snapshot for everything that is read, and nothing is written.
    TRY(opened->client_->exec("begin isolation level repeatable read read only"));
    return opened;
  }

  pg::PgClient& client() { return *client_; }
  // Of the database, as this host reaches it.
  const std::string& conninfo() const { return conninfo_; }
  bool is_superuser() const { return client_->parameter("is_superuser") == "on"; }
  // A server that runs, and is no standby: its sequences stand where they stand.
  bool is_primary() const { return has_unlogged_rows_; }
  // Of unlogged tables a backup has their init forks only, and a standby cannot read them.
  bool has_rows(const Description& table) const {
    return has_unlogged_rows_ || !table.contains(std::string(kUnlogged));
  }
  const std::string& name() const { return name_; }
  // Ends it: what a mount fetched.
  Result<uint64_t> end(std::vector<std::string>& notes) {
    client_.reset();
    Scratch* copy = made_.copy.get();
    if (copy == nullptr) return uint64_t{0};
    notes.insert(notes.end(), copy->notes().begin(), copy->notes().end());
    TRY(copy->stop_server());
    return copy->end();
  }

  // Tables, quoted with their schema; partitions, not what they belong to. What there is none for stays in
  // `missing`.
  Result<std::map<std::string, Description>> tables(const std::vector<std::string>& wanted,
                                                    std::set<std::string>& missing) {
    TRY_ASSIGN(std::vector<Found> all, find_tables(*client_, wanted, &missing));
    std::map<std::string, Description> found;
    for (const Found& one : all) {
      const std::string quoted = cat(sql_identifier(one.name.schema), ".", sql_identifier(one.name.table));
      chosen_.push_back(quoted);
      if (!one.holds_rows) continue;
      TRY_ASSIGN(found[quoted], describe(quoted));
    }
    return found;
  }
  // These, quoted, and partitioned ones; after tables().
  const std::vector<std::string>& chosen() const { return chosen_; }

 private:
  struct Found {
    TableName name;
    bool holds_rows = true;  // false: its partitions do
  };
  // A table by itself, and every partition of one; by what it is called in lower case or as it was written.
  static Result<std::vector<Found>> find_tables(pg::PgClient& client, const std::vector<std::string>& wanted,
                                                std::set<std::string>* missing = nullptr) {
    TRY_ASSIGN(
        pg::Rows rows,
        client.query(
            "select n.nspname, c.relname, an.nspname, a.relname, c.relkind from pg_catalog.pg_class c join "
            "pg_catalog.pg_namespace n on n.oid = c.relnamespace left join lateral "
            "pg_catalog.pg_partition_ancestors(c.oid) p(oid) on true left join pg_catalog.pg_class a "
            "on a.oid = p.oid left join pg_catalog.pg_namespace an on an.oid = a.relnamespace where "
            "c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname not in ('pg_catalog', "
            "'information_schema') and n.nspname !~ '^pg_' order by 1, 2"));
    std::vector<Found> found;
    for (int i = 0; i < rows.size(); ++i) {
      const TableName one{std::string(rows.text(i, 0)), std::string(rows.text(i, 1))};
      const TableName ancestor{std::string(rows.text(i, 2)), std::string(rows.text(i, 3))};
      bool is_wanted = wanted.empty();
      for (const std::string& name : wanted) {
        if (!is_called(one, name) && !is_called(ancestor, name)) continue;
        is_wanted = true;
        if (missing != nullptr) missing->erase(name);
      }
      const bool again =
          !found.empty() && found.back().name.schema == one.schema && found.back().name.table == one.table;
      if (is_wanted && !again) found.push_back({one, rows.text(i, 4) == "r"});
    }
    return found;
  }

  static bool is_called(const TableName& table, const std::string& name) {
    if (name == table.table || name == cat(table.schema, ".", table.table)) return true;
    auto given = parse_given_table(name);
    return given && given->table == table.table && (given->schema.empty() || given->schema == table.schema);
  }

  Status open_backup(const DiffSide& side, const WantedTables& wanted, Reporter& reporter, StopToken& stop) {
    auto in_use = [&wanted](Scratch& copy) -> Result<std::vector<TableName>> {
      TRY_ASSIGN(pg::PgClient client, copy.server().connect(wanted.database));
      TRY_ASSIGN(std::vector<Found> found, find_tables(client, wanted.tables));
      std::vector<TableName> names;
      for (const Found& one : found)
        if (one.holds_rows) names.push_back(one.name);
      return names;
    };
    TRY_ASSIGN(made_, copy_for_tables(*side.scratch, wanted, in_use, reporter, stop));
    Scratch& copy = *made_.copy;
    const Reach& reach = copy.plan().reach;
    name_ = cat("backup ", copy.plan().backup.id.text, " at ", reach.stop.to_string());
    if (reach.last_commit.valid()) name_ += cat(", last commit ", reach.last_commit.to_string());
    conninfo_ = copy.server().conninfo(wanted.database);
    TRY_ASSIGN(pg::PgClient client, copy.server().connect(wanted.database));
    client_.emplace(std::move(client));
    return {};
  }

  Status open_live(const DiffSide& side, const std::string& database, StopToken& stop) {
    pg::ConnectOptions connect;
    connect.stop = &stop;
    TRY_ASSIGN(pg::PgClient client, connect_to_database(side.conninfo, database, kOnServer, connect));
    name_ = cat("the server at ", client.where());
    conninfo_ = pg::with_database(side.conninfo, database);
    client_.emplace(std::move(client));
    return {};
  }

  Status find_out_about_recovery() {
    if (made_.copy) return {};
    TRY_ASSIGN(auto recovering, client_->value("select pg_catalog.pg_is_in_recovery()"));
    has_unlogged_rows_ = recovering == "f";
    return {};
  }

  Result<Description> describe(const std::string& table) {
    TRY_ASSIGN(
        pg::Rows rows,
        client_->query(
            "select 'column ' || attname || ' ' || pg_catalog.format_type(atttypid, atttypmod) || case when "
            "attnotnull then ' not null' else '' end from pg_catalog.pg_attribute where attrelid = "
            "$1::pg_catalog.regclass and attnum > 0 and not attisdropped union all select 'index ' || "
            "pg_catalog.pg_get_indexdef(indexrelid) from pg_catalog.pg_index where indrelid = "
            "$1::pg_catalog.regclass union all select 'constraint ' || conname || ' ' || "
            "pg_catalog.pg_get_constraintdef(oid) from pg_catalog.pg_constraint where conrelid = "
            "$1::pg_catalog.regclass and contype <> 'n' union all select $2::text from pg_catalog.pg_class "
            "where oid = $1::pg_catalog.regclass and relpersistence = 'u'",
            {table, std::string(kUnlogged)}));
    Description lines;
    for (int i = 0; i < rows.size(); ++i) lines.emplace(rows.text(i, 0));
    return lines;
  }

  CopyForTables made_;
  bool has_unlogged_rows_ = false;
  std::string name_;
  std::string conninfo_;
  std::vector<std::string> chosen_;
  std::optional<pg::PgClient> client_;
};

// Before a backup is recovered for nothing.
Status check_live(const DiffSide& side, const std::string& database, const StopToken& stop) {
  if (side.scratch) return {};
  pg::ConnectOptions connect;
  connect.stop = &stop;
  TRY(connect_to_database(side.conninfo, database, kOnServer, connect));
  return {};
}

Error no_table(const std::string& name, const std::string& database, Side& before, Side& after) {
  std::vector<KnownTable> known;
  std::set<std::pair<std::string, std::string>> seen;
  for (Side* side : {&before, &after}) {
    auto tables = list_tables(side->client());
    if (!tables) return std::move(tables).error();
    for (KnownTable& one : *tables) {
      if (seen.emplace(one.schema, one.table).second) known.push_back(std::move(one));
    }
  }
  return no_such_table(name, cat("neither side has it in database ", database), known);
}

// Nobody named this database: "equal" would be said of what nobody asked about.
Status check_database_is_meant(const DiffOptions& options, Side& before, Side& after) {
  if (options.database_was_given || !options.tables.empty()) return {};
  std::set<std::string> others;
  for (Side* side : {&before, &after}) {
    TRY_ASSIGN(std::vector<std::string> names, list_databases(side->client()));
    others.insert(names.begin(), names.end());
  }
  others.erase(options.database);
  if (others.empty()) return {};
  return make_error(ErrorKind::not_found, cat("database \"", options.database, "\""),
                    cat("has no tables on either side; other databases are: ",
                        listed_names({others.begin(), others.end()})))
      .with_hint("say with --database whose tables are to be compared");
}

SchemaDiff diff_descriptions(const std::string& table, const Description& before, const Description& after) {
  SchemaDiff diff{table, {}, {}};
  std::ranges::set_difference(before, after, std::back_inserter(diff.removed));
  std::ranges::set_difference(after, before, std::back_inserter(diff.added));
  return diff;
}

// --pg-bin names the programs of the backup's major, which may be older than the server's.
Result<pg::PgBin> find_pg_dump(int major, const std::string& pg_bin) {
  if (!pg_bin.empty()) {
    auto given = pg::find_client_bin(major, pg_bin);
    if (given) return given;
  }
  return pg::find_client_bin(major);
}

// Whether there is a subscription that pg_dump would leave out.
Result<bool> has_subscriptions(pg::PgClient& client) {
  TRY_ASSIGN(auto some, client.value("select exists (select from pg_catalog.pg_subscription s join "
                                     "pg_catalog.pg_database d on d.oid = s.subdbid where d.datname = "
                                     "pg_catalog.current_database())"));
  return some == "t";
}

// The schema by object. An error: why it was not compared.
Status compare_schema(const DiffOptions& options, Side& before, Side& after, DiffOutcome& outcome,
                      const StopToken& stop) {
  const bool superusers = before.is_superuser() && after.is_superuser();
  SchemaDumpOptions dump;
  TRY_ASSIGN(dump.client,
             find_pg_dump(std::max(before.client().major(), after.client().major()), options.pg_bin));
  dump.whole = options.tables.empty();
  dump.subscriptions = superusers;
  auto read = [&](Side& side) {
    dump.conninfo = side.conninfo();
    if (!dump.whole) dump.tables = side.chosen();
    return dump_schema(side.client(), dump, outcome.notes, stop);
  };
  TRY_ASSIGN(SchemaText::Objects was, read(before));
  TRY_ASSIGN(SchemaText::Objects is, read(after));
  outcome.objects = compare_objects(was, is);
  if (!outcome.objects.empty() && before.client().major() != after.client().major()) {
    outcome.notes.push_back(cat("the servers are PostgreSQL ", before.client().major(), " and ",
                                after.client().major(),
                                ", which word some definitions differently: an object that is called changed "
                                "may be the same"));
  }
  if (superusers || !dump.whole) return {};
  // Others see no options of user mappings, and pg_dump leaves out their subscriptions.
  std::vector<std::string> hidden;
  auto mapping = [](const ObjectDiff& one) {
    return one.object.type == "USER MAPPING" && one.change == ObjectChange::changed;
  };
  if (std::erase_if(outcome.objects, mapping) != 0) hidden.emplace_back("options of user mappings");
  for (Side* side : {&before, &after}) {
    TRY_ASSIGN(bool some, has_subscriptions(side->client()));
    if (!some) continue;
    hidden.emplace_back("subscriptions");
    break;
  }
  if (hidden.empty()) return {};
  return make_error(ErrorKind::permission, join(hidden, " and "), "only a superuser may compare them");
}

// Last of all: an error ends a transaction.
Status compare_sequence_values(const DiffOptions& options, Side& before, Side& after, DiffOutcome& outcome) {
  const bool exact = before.is_primary() && after.is_primary();
  auto read = [&](Side& side) {
    std::optional<std::vector<std::string>> tables;
    if (!options.tables.empty()) tables = side.chosen();
    return read_sequences(side.client(), tables, exact ? Unlogged::read : Unlogged::leave_out);
  };
  TRY_ASSIGN(SequenceStates was, read(before));
  TRY_ASSIGN(SequenceStates is, read(after));
  outcome.sequences =
      compare_sequences(was, is, exact ? SequenceForm::as_it_stands : SequenceForm::as_logged);
  for (const SequenceStates* states : {&was, &is}) {
    if (states->forbidden.empty()) continue;
    return make_error(ErrorKind::permission, listed_names(states->forbidden), "may not be read");
  }
  return {};
}

// What could not be compared is told, and does not end the rest.
Status told(Status compared, std::string_view what, std::string& problem, DiffOutcome& outcome) {
  if (compared) return {};
  if (compared.error().kind == ErrorKind::cancelled) return compared;
  problem = std::move(compared).error().to_string();
  outcome.notes.push_back(cat(what, ", so nobody can say that both are equal: ", problem));
  return {};
}

}  // namespace

bool DiffOutcome::equal() const {
  return removed_tables.empty() && added_tables.empty() && schema.empty() && uncompared.empty() &&
         objects.empty() && schema_problem.empty() && sequences.empty() && sequences_problem.empty() &&
         std::ranges::all_of(tables, &TableDiff::equal);
}

Result<DiffOutcome> run_diff(const DiffOptions& options, Reporter& reporter, StopToken& stop) {
  const int64_t began_us = Clock::system().monotonic_us();
  DiffOutcome outcome;
  TRY(check_live(options.before, options.database, stop));
  TRY(check_live(options.after, options.database, stop));
  TRY_ASSIGN(std::unique_ptr<Side> before, Side::open(options.before, options, reporter, stop));
  TRY_ASSIGN(std::unique_ptr<Side> after, Side::open(options.after, options, reporter, stop));
  outcome.before = before->name();
  outcome.after = after->name();
  std::set<std::string> missing(options.tables.begin(), options.tables.end());
  TRY_ASSIGN(auto old_tables, before->tables(options.tables, missing));
  TRY_ASSIGN(auto new_tables, after->tables(options.tables, missing));
  if (!missing.empty()) return no_table(*missing.begin(), options.database, *before, *after);
  if (old_tables.empty() && new_tables.empty()) TRY(check_database_is_meant(options, *before, *after));
  reporter.progress("comparing the schema", 0, 0, ProgressUnit::items);
  TRY(told(compare_schema(options, *before, *after, outcome, stop),
           "the schema was not compared beyond tables", outcome.schema_problem, outcome));
  TableDiffOptions rows = options.rows;
  Bytes salt(32);
  codec::random_bytes(salt);
  rows.salt = as_text(salt);
  uint64_t done = 0;
  for (const auto& [table, description] : old_tables) {
    TRY(stop.check());
    reporter.progress("comparing", ++done, old_tables.size(), ProgressUnit::items);
    auto there = new_tables.find(table);
    if (there == new_tables.end()) {
      outcome.removed_tables.push_back(table);
      continue;
    }
    SchemaDiff schema = diff_descriptions(table, description, there->second);
    if (!schema.removed.empty() || !schema.added.empty()) outcome.schema.push_back(std::move(schema));
    if (!before->has_rows(description) || !after->has_rows(there->second)) {
      outcome.unlogged.push_back(table);
      continue;
    }
    TRY_ASSIGN(std::optional<TableDiff> diff, diff_table(before->client(), after->client(), table, rows));
    if (diff)
      outcome.tables.push_back(*std::move(diff));
    else
      outcome.uncompared.push_back(table);
  }
  for (const auto& [table, description] : new_tables)
    if (!old_tables.contains(table)) outcome.added_tables.push_back(table);
  std::ranges::stable_sort(outcome.tables, {}, &TableDiff::equal);
  TRY(told(compare_sequence_values(options, *before, *after, outcome), "not every sequence was compared",
           outcome.sequences_problem, outcome));
  TRY_ASSIGN(uint64_t fetched_before, before->end(outcome.notes));
  TRY_ASSIGN(uint64_t fetched_after, after->end(outcome.notes));
  outcome.fetched_bytes = fetched_before + fetched_after;
  outcome.seconds = static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
  return outcome;
}

}  // namespace lifeboat::ops
