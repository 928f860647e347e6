#include "ops/diff/diff.h"

#include <algorithm>
#include <map>
#include <set>

#include "ops/scratch/for_tables.h"
#include "ops/table/compare.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// What a table consists of: one line each.
using Description = std::set<std::string>;

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
    // One snapshot for everything that is read, and nothing is written.
    TRY(opened->client_->exec("begin isolation level repeatable read read only"));
    return opened;
  }

  pg::PgClient& client() { return *client_; }
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

  // Tables, quoted with their schema; partitions, not what they belong to.
  Result<std::map<std::string, Description>> tables(const std::vector<std::string>& wanted) {
    TRY_ASSIGN(std::vector<TableName> names, find_tables(*client_, wanted));
    std::map<std::string, Description> found;
    for (const TableName& name : names) {
      const std::string quoted = cat(sql_identifier(name.schema), ".", sql_identifier(name.table));
      TRY_ASSIGN(found[quoted], describe(quoted));
    }
    return found;
  }

 private:
  static Result<std::vector<TableName>> find_tables(pg::PgClient& client,
                                                    const std::vector<std::string>& wanted) {
    TRY_ASSIGN(
        pg::Rows rows,
        client.query("select n.nspname, c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n "
                     "on n.oid = c.relnamespace where c.relkind = 'r' and c.relpersistence <> 't' and "
                     "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'"));
    std::vector<TableName> found;
    for (int i = 0; i < rows.size(); ++i) {
      TableName one{std::string(rows.text(i, 0)), std::string(rows.text(i, 1))};
      const bool is_wanted = wanted.empty() || std::ranges::any_of(wanted, [&](const std::string& name) {
                               return name == one.table || name == cat(one.schema, ".", one.table);
                             });
      if (is_wanted) found.push_back(std::move(one));
    }
    return found;
  }

  Status open_backup(const DiffSide& side, const WantedTables& wanted, Reporter& reporter, StopToken& stop) {
    auto in_use = [&wanted](Scratch& copy) -> Result<std::vector<TableName>> {
      TRY_ASSIGN(pg::PgClient client, copy.server().connect(wanted.database));
      return find_tables(client, wanted.tables);
    };
    TRY_ASSIGN(made_, copy_for_tables(*side.scratch, wanted, in_use, reporter, stop));
    Scratch& copy = *made_.copy;
    const Reach& reach = copy.plan().reach;
    name_ = cat("backup ", copy.plan().backup.id.text, " at ", reach.stop.to_string());
    if (reach.last_commit.valid()) name_ += cat(", last commit ", reach.last_commit.to_string());
    TRY_ASSIGN(pg::PgClient client, copy.server().connect(wanted.database));
    client_.emplace(std::move(client));
    return {};
  }

  Status open_live(const DiffSide& side, const std::string& database, StopToken& stop) {
    pg::ConnectOptions connect;
    connect.stop = &stop;
    TRY_ASSIGN(pg::PgClient client,
               pg::PgClient::connect(pg::with_database(side.conninfo, database), connect));
    name_ = cat("the server at ", client.where());
    client_.emplace(std::move(client));
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
            "$1::pg_catalog.regclass and contype <> 'n'",
            {table}));
    Description lines;
    for (int i = 0; i < rows.size(); ++i) lines.emplace(rows.text(i, 0));
    return lines;
  }

  CopyForTables made_;
  std::string name_;
  std::optional<pg::PgClient> client_;
};

bool same_columns(const Description& a, const Description& b) {
  auto columns = [](const Description& all) {
    Description some;
    for (const std::string& line : all)
      if (line.starts_with("column ")) some.insert(line.substr(0, line.find(" not null")));
    return some;
  };
  return columns(a) == columns(b);
}

SchemaDiff diff_descriptions(const std::string& table, const Description& before, const Description& after) {
  SchemaDiff diff{table, {}, {}};
  std::ranges::set_difference(before, after, std::back_inserter(diff.removed));
  std::ranges::set_difference(after, before, std::back_inserter(diff.added));
  return diff;
}

}  // namespace

bool DiffOutcome::equal() const {
  return removed_tables.empty() && added_tables.empty() && schema.empty() && uncompared.empty() &&
         std::ranges::all_of(tables, &TableDiff::equal);
}

Result<DiffOutcome> run_diff(const DiffOptions& options, Reporter& reporter, StopToken& stop) {
  const int64_t began_us = Clock::system().monotonic_us();
  DiffOutcome outcome;
  TRY_ASSIGN(std::unique_ptr<Side> before, Side::open(options.before, options, reporter, stop));
  TRY_ASSIGN(std::unique_ptr<Side> after, Side::open(options.after, options, reporter, stop));
  outcome.before = before->name();
  outcome.after = after->name();
  TRY_ASSIGN(auto old_tables, before->tables(options.tables));
  TRY_ASSIGN(auto new_tables, after->tables(options.tables));
  if (old_tables.empty() && new_tables.empty() && !options.tables.empty())
    return make_error(ErrorKind::not_found, join(options.tables, ", "), "neither side has such a table");
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
    if (!same_columns(description, there->second)) {
      outcome.uncompared.push_back(table);
      continue;
    }
    TRY_ASSIGN(TableDiff diff, diff_table(before->client(), after->client(), table, options.rows));
    outcome.tables.push_back(std::move(diff));
  }
  for (const auto& [table, description] : new_tables)
    if (!old_tables.contains(table)) outcome.added_tables.push_back(table);
  std::ranges::stable_sort(outcome.tables, {}, &TableDiff::equal);
  TRY_ASSIGN(uint64_t fetched_before, before->end(outcome.notes));
  TRY_ASSIGN(uint64_t fetched_after, after->end(outcome.notes));
  outcome.fetched_bytes = fetched_before + fetched_after;
  outcome.seconds = static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
  return outcome;
}

}  // namespace lifeboat::ops
