// lifeboat dump restore: databases from a dump, beside what is there.
#include <nlohmann/json.hpp>

#include "app/cli/brought_tables.h"
#include "app/cli/dump_id.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "ops/dump/dump.h"
#include "ops/given_names.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

// Why it is this dump is one of the notes, where there is something to say.
std::vector<std::string> all_notes(const std::string& choice, std::vector<std::string> notes) {
  if (!choice.empty()) notes.insert(notes.begin(), choice);
  return notes;
}

Json to_json(const ops::DumpRestoreOutcome& outcome) {
  Json databases = Json::array();
  for (const ops::RestoredDatabase& database : outcome.databases) {
    databases.push_back({{"name", database.name},
                         {"restored_as", database.target},
                         {"tables", database.tables},
                         {"rows", database.rows},
                         {"load_seconds", database.load_seconds},
                         {"analyze_seconds", database.analyze_seconds},
                         {"count_seconds", database.count_seconds}});
  }
  return {{"dump", outcome.card.id.text},     {"databases", databases},
          {"roles_made", outcome.roles_made}, {"roles_there", outcome.roles_there},
          {"seconds", outcome.seconds},       {"notes", all_notes(outcome.choice, outcome.notes)}};
}

std::string to_text(const ops::DumpRestoreOutcome& outcome) {
  Facts facts;
  facts.add("dump", outcome.card.id.text);
  if (!outcome.roles_made.empty()) facts.add("roles made", join(outcome.roles_made, ", "));
  if (!outcome.roles_there.empty())
    facts.add("roles there", cat(join(outcome.roles_there, ", "), ": left as they are"));
  facts.add("time", format_seconds(outcome.seconds));
  Table table({{"database"},
               {"is now"},
               {"tables", Align::right},
               {"rows, compared", Align::right},
               {"load", Align::right},
               {"analyze", Align::right},
               {"count", Align::right}});
  const bool schema_only = outcome.card.dump->schema_only;
  for (const ops::RestoredDatabase& one : outcome.databases) {
    table.add({one.name, one.target, schema_only ? std::string("schema only") : cat(one.tables),
               schema_only ? std::string("none") : cat(one.rows), format_seconds(one.load_seconds),
               format_seconds(one.analyze_seconds), format_seconds(one.count_seconds)});
  }
  return cat(facts.to_string(), table.empty() ? "" : "\n", table.empty() ? std::string() : table.to_string());
}

// OLD or OLD=NEW; a name's own equals sign is doubled.
ops::DatabaseChoice choice(const std::string& text) {
  std::string names[2];
  size_t part = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const bool equals = text[at] == '=';
    const bool doubled = equals && at + 1 < text.size() && text[at + 1] == '=';
    if (equals && !doubled && part == 0) {
      part = 1;
      continue;
    }
    names[part] += text[at];
    if (doubled) ++at;
  }
  return {names[0], part == 0 ? names[0] : names[1]};
}

Json to_json(const ops::DumpTableOutcome& outcome) {
  return {{"dump", outcome.card.id.text},
          {"database", outcome.database},
          {"into_schema", outcome.schema},
          {"tables", brought_tables_json(outcome.tables)},
          {"left_out", cut_ties_json(outcome.cut)},
          {"seconds", outcome.seconds},
          {"notes", all_notes(outcome.choice, outcome.notes)}};
}

std::string to_text(const ops::DumpTableOutcome& outcome) {
  Facts facts;
  facts.add("dump", outcome.card.id.text);
  facts.add("into", cat("database ", outcome.database, ", schema ", outcome.schema));
  facts.add("time", format_seconds(outcome.seconds));
  return cat(facts.to_string(), "\n", brought_tables_text(outcome.tables));
}

Result<int> restore_tables(const Invocation& invocation, const ops::RepoLocation& location,
                           const std::string& id) {
  ops::DumpTableOptions options;
  options.location = location;
  options.id = id;
  options.destination = invocation.conninfo();
  options.pg_bin = invocation.pg_bin().value_or("");
  options.tables = invocation.list("table");
  std::vector<std::string> databases = invocation.list("database");
  std::optional<std::string> database;
  if (!databases.empty()) database = databases.front();
  TRY_ASSIGN(ops::GivenTables given, ops::read_given_tables(options.tables, database, ""));
  if (databases.size() > 1 || given.database.empty() || given.database.find('=') != std::string::npos)
    return make_error(ErrorKind::usage, "--table",
                      "goes with exactly one --database NAME, the one that it is in")
        .with_hint("--into-database names another one for the result");
  options.database = std::move(given.database);
  options.tables = std::move(given.tables);
  options.into_database = invocation.text("into-database").value_or("");
  options.schema = invocation.text("schema").value_or("");
  if (invocation.flag("merge")) options.merge = ops::TableMerge::missing_rows;
  options.spool = invocation.value("spool");
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::DumpTableOutcome outcome, ops::restore_dump_tables(options, reporter, invocation.stop()));
  for (const std::string& note : outcome.notes) invocation.output().note(LogLevel::warning, note);
  invocation.output().text(to_text(outcome));
  invocation.output().document(to_json_text(to_json(outcome)));
  return 0;
}

Result<int> extract(const Invocation& invocation, const ops::RepoLocation& location, const std::string& id,
                    const std::string& directory) {
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::ExtractedDump extracted,
             ops::extract_dump(location, id, directory, reporter, invocation.stop()));
  invocation.output().text(cat("dump ", extracted.card.id.text, " written to ", directory, ": ",
                               join(extracted.files, ", "), "\n"));
  invocation.output().document(to_json_text(Json{{"dump", extracted.card.id.text},
                                                 {"directory", directory},
                                                 {"files", extracted.files},
                                                 {"notes", all_notes(extracted.choice, {})}}));
  return 0;
}

Result<int> handle(const Invocation& invocation) {
  ops::DumpRestoreOptions options;
  TRY_ASSIGN(options.location, repo_location(invocation));
  options.id = dump_id(invocation);
  if (auto directory = invocation.text("to"))
    return extract(invocation, options.location, options.id, *directory);
  if (!invocation.list("table").empty()) return restore_tables(invocation, options.location, options.id);
  for (std::string_view other : {"schema", "into-database", "merge"}) {
    if (invocation.source(other) == Source::command_line)
      return make_error(ErrorKind::usage, cat("--", other), "goes with --table");
  }
  options.destination = invocation.conninfo();
  options.pg_bin = invocation.pg_bin().value_or("");
  for (const std::string& text : invocation.list("database")) {
    options.databases.push_back(choice(text));
    const ops::DatabaseChoice& chosen = options.databases.back();
    if (chosen.name.empty() || chosen.target.empty())
      return make_error(ErrorKind::usage, cat("--database ", text), "expected OLD or OLD=NEW");
  }
  auto globals = invocation.text("globals");
  if (globals == "only" && !options.databases.empty())
    return make_error(ErrorKind::usage, "--globals only", "restores no database, and --database names one");
  if (globals == "only") options.globals = ops::DumpGlobals::only;
  if (globals == "skip") options.globals = ops::DumpGlobals::skip;
  if (globals == "restore") options.globals = ops::DumpGlobals::restore;
  options.portable = invocation.flag("portable");
  options.spool = invocation.value("spool");
  options.jobs = invocation.jobs();

  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::DumpRestoreOutcome outcome, ops::restore_dump(options, reporter, invocation.stop()));
  for (const std::string& note : outcome.notes) invocation.output().note(LogLevel::warning, note);
  invocation.output().text(to_text(outcome));
  invocation.output().document(to_json_text(to_json(outcome)));
  return 0;
}

constexpr Positional kPositionals[] = {
    {.name = "DUMP",
     .kind = ValueKind::backup,
     .help = "a dump id from lifeboat dump list, or latest, the newest that has what is asked for (default)",
     .required = false},
};
constexpr Option kRestoreOptions[] = {
    {.name = "database",
     .kind = ValueKind::text,
     .placeholder = "OLD[=NEW]",
     .help =
         "a database of the dump, and the name that it gets (default: every one, under its name); an equals "
         "sign in a name is doubled",
     .repeatable = true},
    {.name = "globals",
     .kind = ValueKind::choice,
     .placeholder = "HOW",
     .help =
         "restore makes the roles that are not there, first; skip makes none, so that owners have to be "
         "there "
         "already; only makes roles and restores no database (default: restore; skip with a portable dump or "
         "--portable)",
     .choices = "restore|skip|only",
     .excludes = "to"},
    {.name = "table",
     .kind = ValueKind::text,
     .placeholder = "TABLE",
     .help =
         "only this table, TABLE, SCHEMA.TABLE or DATABASE.SCHEMA.TABLE, with its indexes, into a schema of "
         "its own beside what is there",
     .repeatable = true,
     .excludes = "to|globals|portable"},
    {.name = "into-database",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "with --table: the database that gets the schema (default: the one of the same name)",
     .excludes = "to"},
    {.name = "schema",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "with --table: the schema, which must not be there (default: restored_TIME)",
     .excludes = "to"},
    {.name = "merge",
     .help = "with --table: then insert into the original what it lacks, by its primary key",
     .excludes = "to"},
    {.name = "portable", .help = "without owners and privileges"},
    {.name = "spool",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where an archive stands that several jobs restore from",
     .default_text = "/var/tmp",
     .section = ConfigSection::cluster},
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "write the whole dump's files to a new directory, for pg_restore and psql by hand, and restore "
             "nothing",
     .excludes = "database|portable"},
};
constinit const OptionGroup kRestoreGroup = {"Dump restore", kRestoreOptions};

}  // namespace

extern const Command kDumpRestoreCommand;
constinit const Command kDumpRestoreCommand = {
    .path = "dump restore",
    .summary = "restore databases from a dump",
    .description =
        "Each database is made anew from template0, under its own name or another one, and never into one "
        "that is there. "
        "Roles come first; those that are there already stay as they are and are named. Restoring stops at "
        "the first "
        "error. Then everything is analysed, every table's rows are counted and compared with what was "
        "counted in the "
        "dump's snapshot, and the database's own settings and privileges are set. A database that did not "
        "come back "
        "whole is dropped again.\n\n"
        "Without an id, or with latest, it is the newest complete dump that has what is asked for: the "
        "databases "
        "of --database whole and with rows, the rows of --table, else every database that the server had. A "
        "newer "
        "one that has less is passed over, and one with less (schema only, some tables) is taken only where "
        "none "
        "has more; either is noted. One that failed its last verification or drill is passed over too, with "
        "a "
        "warning.\n\n"
        "The server is the one of --pg: of the same major or a newer one. Tablespaces are used where the "
        "server has "
        "them, and not made.\n\n"
        "With --table single tables come into a schema of their own, by way of a throw-away database on the "
        "same server, and "
        "every row is compared; foreign keys stay behind. With --merge the rows that the original lacks are "
        "inserted "
        "into it, none is changed; its triggers fire. What was inserted is compared before it stays.\n\n"
        "With --jobs 1 a dump goes through a pipe; with more, and in directory format, its archive stands in "
        "--spool "
        "meanwhile.",
    .danger = Danger::write,
    .positionals = kPositionals,
    .groups = {&kRestoreGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .examples =
        "# beside the original\n"
        "lifeboat dump restore latest --repo /srv/backup --database shop=shop_restored\n"
        "# everything, into a new server\n"
        "lifeboat dump restore latest --repo /srv/backup --pg 'host=new user=postgres' --jobs 4\n"
        "# one table beside the original\n"
        "lifeboat dump restore latest --repo /srv/backup --table shop.public.orders --schema back\n"
        "# the roles alone\n"
        "lifeboat dump restore latest --repo /srv/backup --globals only\n"
        "# the files, for pg_restore by hand\n"
        "lifeboat dump restore latest --repo /srv/backup --to /tmp/dump",
    .exit_notes =
        "4: the dump, a database or a table was not found. 5: a database of that name is there. 17: a "
        "table has other rows than the dump, or a row that was merged is not what was brought.",
    .schema = R"({
  "type": "object",
  "required": ["dump"],
  "properties": {
    "dump": {"type": "string"},
    "databases": {"type": "array", "items": {"type": "object", "required": ["name", "restored_as", "rows"], "properties": {
      "name": {"type": "string"},
      "restored_as": {"type": "string"},
      "tables": {"type": "integer"},
      "rows": {"type": "integer", "description": "counted after the restore, equal to the dump's"},
      "load_seconds": {"type": "number"},
      "analyze_seconds": {"type": "number"},
      "count_seconds": {"type": "number"}
    }}},
    "database": {"type": "string", "description": "with --table, as into_schema and tables"},
    "into_schema": {"type": "string"},
    "tables": {"type": "array", "items": {"type": "object", "properties": {"original": {"type": "string"}, "brought": {"type": "string"}, "rows": {"type": "integer"}, "merged_rows": {"type": ["integer", "null"]}}}},
    "left_out": {"type": "array", "description": "what tied tables of --table to others that were not brought", "items": {"type": "object", "properties": {"what": {"enum": ["foreign_key", "partition", "inheritance"]}, "table": {"type": "string"}, "other": {"type": "string"}, "statement": {"type": "string", "description": "ties them again"}}}},
    "roles_made": {"type": "array", "items": {"type": "string"}},
    "roles_there": {"type": "array", "items": {"type": "string"}, "description": "left as they are"},
    "seconds": {"type": "number"},
    "notes": {"type": "array", "items": {"type": "string"}},
    "directory": {"type": "string", "description": "with --to"},
    "files": {"type": "array", "items": {"type": "string"}, "description": "with --to"}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
