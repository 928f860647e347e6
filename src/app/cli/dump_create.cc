// lifeboat dump create: a logical backup of a server's databases and globals.
#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/run.h"
#include "ops/dump/dump.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

int64_t rows_of(const repo::DumpedDatabase& database) {
  int64_t rows = 0;
  for (const repo::CountedTable& table : database.tables) rows += table.rows;
  return rows;
}

Json to_json(const ops::DumpOutcome& outcome) {
  Json databases = Json::array();
  for (const repo::DumpedDatabase& database : outcome.record.databases) {
    databases.push_back({{"name", database.name},
                         {"plain_bytes", database.bytes},
                         {"files", database.files},
                         {"tables", database.tables.size()},
                         {"rows", rows_of(database)},
                         {"tables_defined", database.defined.value_or(0)},
                         {"snapshot", database.snapshot},
                         {"taken", json_time(database.taken)},
                         {"seconds", database.seconds}});
  }
  Json patterns = Json::array();
  for (const repo::DumpPattern& pattern : outcome.record.patterns) {
    patterns.push_back(
        {{"option", pattern.option}, {"pattern", pattern.pattern}, {"matched", pattern.matched}});
  }
  return {{"dump", outcome.card.id.text},
          {"format", to_string(outcome.card.dump->format)},
          {"schema_only", outcome.card.dump->schema_only},
          {"portable", outcome.card.dump->portable},
          {"every_database", outcome.card.dump->every_database.value_or(false)},
          {"client", outcome.record.client},
          {"server_version_num", outcome.card.server_version_num},
          {"from_standby", outcome.card.from_standby},
          {"databases", databases},
          {"patterns", patterns},
          {"role_passwords", outcome.record.role_passwords},
          {"plain_bytes", outcome.card.totals.plain_bytes},
          {"stored_bytes", outcome.card.totals.stored_bytes},
          {"compression", outcome.card.compression},
          {"seconds", outcome.card.totals.seconds},
          {"warnings", outcome.warnings}};
}

std::string to_text(const ops::DumpOutcome& outcome) {
  Facts facts;
  facts.add("dump", outcome.card.id.text);
  facts.add("format",
            cat(to_string(outcome.card.dump->format), outcome.card.dump->schema_only ? ", schema only" : "",
                outcome.card.dump->portable ? ", portable" : ""));
  facts.add("made by", outcome.record.client);
  facts.add("stored", cat(format_bytes(outcome.card.totals.stored_bytes), " of ",
                          format_bytes(outcome.card.totals.plain_bytes)));
  facts.add("time", format_seconds(outcome.card.totals.seconds));
  for (const repo::DumpPattern& pattern : outcome.record.patterns)
    facts.add(pattern.option, cat(pattern.pattern, ": ", counted(pattern.matched, "relation")));
  Table table({{"database"},
               {"size", Align::right},
               {"tables", Align::right},
               {"rows, counted", Align::right},
               {"time", Align::right}});
  const bool schema_only = outcome.card.dump->schema_only;
  for (const repo::DumpedDatabase& database : outcome.record.databases) {
    table.add({database.name, format_bytes(database.bytes),
               cat(schema_only ? database.defined.value_or(0) : database.tables.size()),
               schema_only ? std::string("not dumped") : cat(rows_of(database)),
               format_seconds(database.seconds)});
  }
  return cat(facts.to_string(), "\n", table.to_string());
}

std::optional<repo::CompressionOptions> compression(const Invocation& invocation) {
  auto method = invocation.text("compression");
  auto level = invocation.integer("level");
  if (!method && !level) return std::nullopt;
  repo::CompressionOptions options;
  if (method == "none") options = {codec::Compression::none, 0};
  if (method == "lz4") options = {codec::Compression::lz4, 1};
  if (level) options.level = static_cast<int>(*level);
  return options;
}

Result<int> handle(const Invocation& invocation) {
  ops::DumpOptions options;
  TRY_ASSIGN(options.location, repo_location(invocation));
  options.conninfo = invocation.conninfo();
  options.pg_bin = invocation.pg_bin().value_or("");
  options.databases = invocation.list("database");
  auto format = repo::parse_dump_format(invocation.value("format"));
  CHECK(format.has_value());  // one of the choices
  options.format = *format;
  options.schema_only = invocation.flag("schema-only");
  options.portable = invocation.flag("portable");
  options.tables = invocation.list("table");
  options.exclude_tables = invocation.list("exclude-table");
  if (invocation.flag("no-role-passwords")) options.passwords = ops::RolePasswords::leave_out;
  options.compression = compression(invocation);
  options.spool = invocation.value("spool");
  options.lock_timeout_ms = invocation.duration_us("lock-timeout").value_or(0) / 1000;
  options.jobs = invocation.jobs();
  options.label = invocation.text("label").value_or("");
  options.tool_version = kVersion;

  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::DumpOutcome outcome, ops::create_dump(options, reporter, invocation.stop()));
  for (const std::string& warning : outcome.warnings) invocation.output().note(LogLevel::warning, warning);
  invocation.output().text(to_text(outcome));
  invocation.output().document(to_json_text(to_json(outcome)));
  return 0;
}

constexpr Option kDumpOptions[] = {
    {.name = "database",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "a database to dump (default: every one that is no template and allows connections)",
     .repeatable = true},
    {.name = "format",
     .kind = ValueKind::choice,
     .placeholder = "FORMAT",
     .help = "custom: one stream; directory: by --jobs connections at once, and what restores fastest in "
             "parallel; "
             "plain: SQL",
     .default_text = "custom",
     .choices = "custom|directory|plain"},
    {.name = "schema-only", .help = "definitions without rows"},
    {.name = "portable", .help = "without owners and privileges, for a server that has other roles"},
    {.name = "table",
     .kind = ValueKind::text,
     .placeholder = "PATTERN",
     .help = "only tables, views and sequences that match, as pg_dump --table takes it, of exactly one "
             "--database; "
             "a pattern that matches nothing is an error",
     .repeatable = true},
    {.name = "exclude-table",
     .kind = ValueKind::text,
     .placeholder = "PATTERN",
     .help =
         "all but tables, views and sequences that match, of exactly one --database; a pattern that matches "
         "nothing is an error",
     .repeatable = true},
    {.name = "no-role-passwords", .help = "leave the password hashes of roles out of the globals"},
    {.name = "compression",
     .kind = ValueKind::choice,
     .placeholder = "METHOD",
     .help = "of what is stored (default: the repository's)",
     .choices = "zstd|lz4|none"},
    {.name = "level",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "of zstd: higher is smaller and slower",
     .min = 1,
     .max = 19},
    {.name = "lock-timeout",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "how long to wait for tables that somebody has locked; 0: without limit",
     .default_text = "5min",
     .min = 0,
     .max = 86'400'000'000},
    {.name = "spool",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where directory format stands on its way into the repository",
     .default_text = "/var/tmp",
     .section = ConfigSection::cluster},
    {.name = "label", .kind = ValueKind::text, .placeholder = "TEXT", .help = "kept with the dump"},
};
constinit const OptionGroup kDumpGroup = {"Dump", kDumpOptions};

}  // namespace

extern const Command kDumpCreateCommand;
constinit const Command kDumpCreateCommand = {
    .path = "dump create",
    .summary = "dump databases into the repository",
    .description =
        "A logical backup, by pg_dump and pg_dumpall: globals (roles, tablespaces) always, and each database "
        "in one "
        "snapshot, in which the rows of every table are counted, so that a restore can be compared with it. "
        "What they "
        "write goes through a pipe into the repository, compressed, encrypted and hashed as backups are; "
        "directory "
        "format, which --jobs connections write at once, needs a directory on the way, from which what is "
        "stored is "
        "given back as it grows.\n\n"
        "The programs are those of the server's own major where they are installed, else of the nearest "
        "newer one, never "
        "of an older one. A dump that fails or is stopped is not listed and makes no older one expire.\n\n"
        "Dumps are no way to a point in time: that takes lifeboat backup and WAL. They are for one small "
        "database, for "
        "another major or another host, and for keeping what a schema looked like.",
    .danger = Danger::write,
    .groups = {&kDumpGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# every database and the globals\n"
        "lifeboat dump create --repo /srv/backup\n"
        "# a large one, with four connections\n"
        "lifeboat dump create --repo /srv/backup --database shop --format directory --jobs 4\n"
        "# two tables\n"
        "lifeboat dump create --repo /srv/backup --database shop --table orders --table 'public.customer*'",
    .exit_notes =
        "4: a database or a pattern was not found. 6: the role of --pg may not read something. 15: "
        "another dump of this cluster is running.",
    .schema = R"({
  "type": "object",
  "required": ["dump", "format", "databases", "plain_bytes", "stored_bytes"],
  "properties": {
    "dump": {"type": "string", "description": "dump id"},
    "format": {"enum": ["custom", "directory", "plain"]},
    "schema_only": {"type": "boolean"},
    "portable": {"type": "boolean"},
    "every_database": {"type": "boolean", "description": "the server has no other, but perhaps postgres and such that allow no connections"},
    "client": {"type": "string", "description": "the pg_dump that made it"},
    "server_version_num": {"type": "integer"},
    "from_standby": {"type": "boolean"},
    "databases": {"type": "array", "items": {"type": "object", "required": ["name", "tables", "rows"], "properties": {
      "name": {"type": "string"},
      "plain_bytes": {"type": "integer"},
      "files": {"type": "integer"},
      "tables": {"type": "integer", "description": "with rows of their own"},
      "rows": {"type": "integer", "description": "counted in the snapshot"},
      "tables_defined": {"type": "integer", "description": "whose definitions are in it, also without rows: partitioned, foreign, all of a schema-only dump"},
      "snapshot": {"type": "string"},
      "taken": {"type": ["string", "null"]},
      "seconds": {"type": "number"}
    }}},
    "patterns": {"type": "array", "items": {"type": "object", "properties": {"option": {"type": "string"}, "pattern": {"type": "string"}, "matched": {"type": "integer"}}}},
    "role_passwords": {"type": "boolean"},
    "plain_bytes": {"type": "integer"},
    "stored_bytes": {"type": "integer"},
    "compression": {"type": "string"},
    "seconds": {"type": "number"},
    "warnings": {"type": "array", "items": {"type": "string"}}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
