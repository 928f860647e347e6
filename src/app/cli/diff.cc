// lifeboat diff: what is different between two states of a database.
#include "ops/diff/diff.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/scratch.h"
#include "ops/given_names.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Result<ops::DiffSide> side_of(const Invocation& invocation, const std::string& name,
                              std::string_view letter) {
  ops::DiffSide side;
  side.name = name;
  side.conninfo = invocation.conninfo();
  if (name == "live") return side;
  TRY_ASSIGN(ops::ScratchOptions scratch,
             scratch_options(invocation, scratch_directory(invocation, invocation.value("scratch-dir"),
                                                           cat("diff-", letter))));
  if (auto id = BackupId::parse(name)) {
    scratch.backup = *id;
    scratch.target.kind = pg::TargetKind::immediate;
  } else if (auto time = parse_time(name)) {
    scratch.target.kind = pg::TargetKind::time;
    scratch.target.time = *time;
  } else if (name != "latest") {
    Error error = make_error(ErrorKind::usage, name, "is no state of a database");
    error.hint =
        cat("live, latest (the end of the stored WAL), the id of a backup, or a time with its zone; ",
            time.error().to_string());
    return error;
  }
  side.scratch = std::move(scratch);
  return side;
}

Json to_json(const ops::TableDiff& table, const ops::TableDiffOptions& options) {
  Json rows = Json::array();
  for (const ops::ChangedRow& row : table.rows) {
    Json one = {{"change", to_string(row.change)}, {options.keys_shown() ? "key" : "key_hash", row.key}};
    if (options.show_data) {
      one["before"] = row.before.empty() ? Json(nullptr) : Json(row.before);
      one["after"] = row.after.empty() ? Json(nullptr) : Json(row.after);
    }
    rows.push_back(std::move(one));
  }
  return {{"table", table.table},
          {"equal", table.equal},
          {"by_key", table.by_key},
          {"rows_before", table.rows_before},
          {"rows_after", table.rows_after},
          {"removed", table.removed},
          {"added", table.added},
          {"changed", table.changed},
          {"left_out_columns", table.left_out_columns},
          {"rows", rows}};
}

Json to_json(const ops::SequenceDiff& sequence, bool shown) {
  Json one = {{"sequence", sequence.sequence}};
  if (!shown) return one;
  auto state = [](const ops::SequenceState& at) {
    return Json{{"last_value", at.last_value}, {"is_called", at.is_called}};
  };
  one["before"] = state(sequence.before);
  one["after"] = state(sequence.after);
  return one;
}

Json to_json(const ops::DiffOutcome& outcome, const ops::TableDiffOptions& options) {
  Json schema = Json::array();
  for (const ops::SchemaDiff& one : outcome.schema)
    schema.push_back({{"table", one.table}, {"removed", one.removed}, {"added", one.added}});
  Json objects = Json::array();
  for (const ops::ObjectDiff& one : outcome.objects) {
    objects.push_back({{"change", to_string(one.change)},
                       {"type", one.object.type},
                       {"schema", one.object.schema.empty() ? Json(nullptr) : Json(one.object.schema)},
                       {"name", one.object.name}});
  }
  Json sequences = Json::array();
  for (const ops::SequenceDiff& one : outcome.sequences)
    sequences.push_back(to_json(one, options.keys_shown()));
  Json tables = Json::array();
  for (const ops::TableDiff& table : outcome.tables) tables.push_back(to_json(table, options));
  return {{"equal", outcome.equal()},
          {"before", outcome.before},
          {"after", outcome.after},
          {"removed_tables", outcome.removed_tables},
          {"added_tables", outcome.added_tables},
          {"schema_compared", outcome.schema_problem.empty()},
          {"schema_objects", objects},
          {"schema_changes", schema},
          {"sequences_compared", outcome.sequences_problem.empty()},
          {"sequences", sequences},
          {"uncompared", outcome.uncompared},
          {"unlogged", outcome.unlogged},
          {"tables", tables},
          {"fetched_bytes", outcome.fetched_bytes},
          {"seconds", outcome.seconds},
          {"notes", outcome.notes}};
}

// Of these a line each; a schema that was made anew has thousands.
constexpr size_t kMostObjects = 200;

void add_objects(const ops::DiffOutcome& outcome, Facts& facts) {
  if (!outcome.schema_problem.empty()) facts.add("schema", "not compared beyond tables");
  size_t listed = 0;
  for (const ops::ObjectDiff& one : outcome.objects) {
    // Tables that only one has stand above.
    if (one.object.type == "TABLE" && one.change != ops::ObjectChange::changed) continue;
    if (listed++ < kMostObjects) facts.add(to_string(one.change), one.to_string());
  }
  if (listed > kMostObjects)
    facts.add("and", cat(listed - kMostObjects, " more objects, which --output json lists"));
}

std::string to_text(const ops::SequenceDiff& one, bool shown) {
  if (!shown) return "stands elsewhere";
  auto at = [](const ops::SequenceState& state) {
    return cat(state.last_value, state.is_called ? "" : " (not taken yet)");
  };
  return cat("stands at ", at(one.after), ", was at ", at(one.before));
}

std::string to_text(const ops::DiffOutcome& outcome, const ops::TableDiffOptions& options) {
  Facts facts;
  facts.add("before", outcome.before);
  facts.add("after", outcome.after);
  for (const std::string& table : outcome.removed_tables) facts.add("removed table", table);
  for (const std::string& table : outcome.added_tables) facts.add("added table", table);
  for (const ops::SchemaDiff& one : outcome.schema) {
    for (const std::string& line : one.removed) facts.add(one.table, cat("- ", line));
    for (const std::string& line : one.added) facts.add(one.table, cat("+ ", line));
  }
  add_objects(outcome, facts);
  for (const ops::SequenceDiff& one : outcome.sequences)
    facts.add(one.sequence, to_text(one, options.keys_shown()));
  for (const std::string& table : outcome.uncompared)
    facts.add(table, "rows not compared: other columns, and no key that both have");
  for (const ops::TableDiff& table : outcome.tables) {
    if (!table.left_out_columns.empty())
      facts.add(table.table, cat("rows compared without ", join(table.left_out_columns, ", ")));
  }
  for (const std::string& table : outcome.unlogged)
    facts.add(table, "rows not compared: unlogged, not in backups");
  std::string text = facts.to_string();
  Table table({{"table"},
               {"rows before", Align::right},
               {"after", Align::right},
               {"removed", Align::right},
               {"added", Align::right},
               {"changed", Align::right}});
  size_t equal = 0;
  std::string rows;
  for (const ops::TableDiff& one : outcome.tables) {
    if (one.equal) {
      ++equal;
      continue;
    }
    table.add({one.table, cat(one.rows_before), cat(one.rows_after), cat(one.removed), cat(one.added),
               cat(one.changed)});
    for (const ops::ChangedRow& row : one.rows) {
      rows += cat(to_string(row.change), " ", one.table, " ", row.key, "\n");
      if (!options.show_data) continue;
      if (!row.before.empty()) rows += cat("  - ", row.before, "\n");
      if (!row.after.empty()) rows += cat("  + ", row.after, "\n");
    }
    if (!one.rows.empty() && one.left_out != 0)
      rows += cat("and ", one.left_out, " more of ", one.table, "\n");
  }
  if (!table.empty()) text += cat("\n", table.to_string());
  if (!rows.empty()) text += cat("\n", rows);
  return cat(text, "\n", counted(equal, "table"), " equal, row by row\n");
}

Result<int> handle(const Invocation& invocation) {
  ops::DiffOptions options;
  TRY_ASSIGN(options.before, side_of(invocation, invocation.positional(0), "a"));
  TRY_ASSIGN(options.after, side_of(invocation, invocation.positional(1), "b"));
  std::optional<std::string> database;
  if (invocation.source("database") != Source::default_text) database = invocation.value("database");
  TRY_ASSIGN(ops::GivenTables given,
             ops::read_given_tables(invocation.list("table"), database, invocation.value("database")));
  options.tables = std::move(given.tables);
  options.database_was_given = database || given.database != options.database;
  options.database = std::move(given.database);
  options.rows.most_rows = static_cast<size_t>(invocation.integer("rows").value_or(10));
  options.rows.show_data = invocation.flag("show-data");
  options.rows.show_keys = invocation.flag("show-keys");
  options.pg_bin = invocation.pg_bin().value_or("");
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::DiffOutcome outcome, ops::run_diff(options, reporter, invocation.stop()));
  for (const std::string& note : outcome.notes) invocation.output().note(LogLevel::warning, note);
  invocation.output().text(to_text(outcome, options.rows));
  invocation.output().document(to_json_text(to_json(outcome, options.rows)));
  return 0;
}

constexpr Positional kPositionals[] = {
    {.name = "A", .kind = ValueKind::text, .help = "the first state: live, latest, a backup's id, or a time"},
    {.name = "B", .kind = ValueKind::text, .help = "the second one"},
};

constexpr Option kDiffOptions[] = {
    {.name = "database",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "that is compared; needed where postgres has no tables",
     .default_text = "postgres"},
    {.name = "table",
     .kind = ValueKind::text,
     .placeholder = "TABLE",
     .help = "only this table (also SCHEMA.TABLE or DATABASE.SCHEMA.TABLE), or its partitions",
     .repeatable = true},
    {.name = "rows",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "how many rows of each table are listed, in order of their keys",
     .default_text = "10",
     .min = 0,
     .max = 1'000'000},
    {.name = "show-keys",
     .help = "list these rows by their keys, and where sequences stand; else a key is a hash of this run"},
    {.name = "show-data", .help = "list the values of these rows too, and their keys"},
    {.name = "scratch-dir",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "below which backups are mounted meanwhile",
     .default_text = "/var/tmp",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kDiffGroup = {"Diff", kDiffOptions};

}  // namespace

extern const Command kDiffCommand;
constinit const Command kDiffCommand = {
    .path = "diff",
    .summary = "what is different between two backups, two moments, or a backup and the server",
    .description =
        "Compares one database in two states: `live` is the server of --pg, `latest` the end "
        "of the "
        "stored WAL, a backup's id that backup, a time (with its zone) that moment. Backups are mounted (as "
        "root, "
        "or where fusermount3 and /dev/fuse are there; else restored whole), recovered, and taken away "
        "again.\n\n"
        "Said are objects of the schema that were added, removed or changed, as pg_dump defines them: views, "
        "functions, triggers, types, extensions, privileges, comments, defaults and all others, the "
        "database's own too; with --table those that belong to these tables. Of tables said are columns, "
        "indexes and constraints that differ, numbers of rows, and rows that were added, removed or changed, "
        "by primary key, over the columns that both have. Equal tables cost one pass on each side. Rows of "
        "unlogged tables are not in backups and are not compared. Sequences are compared as far as WAL knows "
        "them: it is up to 32 values ahead.\n\n"
        "Of the server one snapshot is read, and nothing is written there. A pg_dump that is not older than "
        "either server is needed, and rights to lock the tables for reading; without them only tables are "
        "compared, that is said, and the two are not called equal. Values are shown with "
        "--show-data only, keys with that or --show-keys: else a key is a hash, the same for equal keys of "
        "one run.",
    .danger = Danger::read,
    .positionals = kPositionals,
    .groups = {&kDiffGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .mounts = true,
    .examples =
        "# what has changed since the moment before the release?\n"
        "lifeboat diff --repo /srv/backup '2026-11-20 10:56:25+00' live --database shop --pg "
        "host=/run/postgresql\n"
        "# is what would be recovered what the server has?\n"
        "lifeboat diff --repo /srv/backup latest live --database shop --table orders --pg "
        "host=/run/postgresql",
    .exit_notes = "4: a database or a table was not found; there are tables in other databases only.",
    .schema = R"({
  "type": "object",
  "required": ["equal", "before", "after", "removed_tables", "added_tables", "schema_compared", "schema_objects", "schema_changes", "sequences_compared", "sequences", "uncompared", "unlogged", "tables"],
  "properties": {
    "equal": {"type": "boolean", "description": "nothing differs, and everything was compared"},
    "before": {"type": "string"},
    "after": {"type": "string"},
    "removed_tables": {"type": "array", "items": {"type": "string"}},
    "added_tables": {"type": "array", "items": {"type": "string"}},
    "schema_compared": {"type": "boolean", "description": "false: only tables were compared, notes say why"},
    "schema_objects": {"type": "array", "items": {"type": "object", "required": ["change", "type", "schema", "name"], "properties": {"change": {"enum": ["removed", "added", "changed"]}, "type": {"type": "string", "description": "as pg_dump calls it: VIEW, TRIGGER, ACL"}, "schema": {"type": ["string", "null"]}, "name": {"type": "string"}}}},
    "schema_changes": {"type": "array", "description": "tables that both have", "items": {"type": "object", "properties": {"table": {"type": "string"}, "removed": {"type": "array", "items": {"type": "string"}}, "added": {"type": "array", "items": {"type": "string"}}}}},
    "sequences_compared": {"type": "boolean", "description": "false: not all of them, notes say why"},
    "sequences": {"type": "array", "description": "that stand elsewhere; where, with --show-keys", "items": {"type": "object", "required": ["sequence"], "properties": {"sequence": {"type": "string"}, "before": {"type": "object", "properties": {"last_value": {"type": "integer"}, "is_called": {"type": "boolean"}}}, "after": {"type": "object", "properties": {"last_value": {"type": "integer"}, "is_called": {"type": "boolean"}}}}}},
    "uncompared": {"type": "array", "items": {"type": "string"}, "description": "tables whose columns differ, with no key that both have"},
    "unlogged": {"type": "array", "items": {"type": "string"}, "description": "tables whose rows are not in backups: neither compared nor counted"},
    "tables": {"type": "array", "items": {
      "type": "object",
      "required": ["table", "equal", "rows_before", "rows_after", "removed", "added", "changed"],
      "properties": {
        "table": {"type": "string"},
        "equal": {"type": "boolean"},
        "by_key": {"type": "boolean", "description": "false: it has no primary key, a changed row is one removed and one added"},
        "rows_before": {"type": "integer"},
        "rows_after": {"type": "integer"},
        "removed": {"type": "integer"},
        "added": {"type": "integer"},
        "changed": {"type": "integer"},
        "left_out_columns": {"type": "array", "items": {"type": "string"}, "description": "that only one has, or of another type: rows were compared without them"},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"change": {"enum": ["removed", "added", "changed"]}, "key": {"type": "string", "description": "with --show-keys"}, "key_hash": {"type": "string", "description": "else; the same for equal keys of one run"}, "before": {"type": ["string", "null"]}, "after": {"type": ["string", "null"]}}}}
      }}},
    "fetched_bytes": {"type": "integer"},
    "seconds": {"type": "number"},
    "notes": {"type": "array", "items": {"type": "string"}}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
