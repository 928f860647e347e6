// lifeboat dump list and dump show.
#include <nlohmann/json.hpp>

#include "app/cli/dump_id.h"
#include "app/cli/proofs.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "ops/dump/dump.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

// A dump needs no WAL: the level beyond `hashed` says nothing more of it.
std::string dump_proof_cell(std::optional<ops::BackupProof> proof) {
  if (proof && proof->level == ops::ProofLevel::wal) proof->level = ops::ProofLevel::hashed;
  return proof_cell(proof);
}

std::string kind_text(const repo::DumpSummary& dump) {
  std::string schema;
  if (dump.schema_only)
    schema = cat(", schema only", dump.defined ? cat(" of ", counted(*dump.defined, "table")) : "");
  return cat(to_string(dump.format), schema, dump.portable ? ", portable" : "",
             dump.chosen_tables ? ", chosen tables" : "");
}

Json card_json(const repo::Card& card, const Lineage& lineage, const ops::BackupProofs& proofs) {
  Json json = {{"id", card.id.text},
               {"lineage", lineage.to_string()},
               {"state", to_string(card.state)},
               {"reason", card.reason},
               {"label", card.label},
               {"started", json_time(card.started)},
               {"stopped", json_time(card.stopped)},
               {"duration_seconds", card.totals.seconds}};
  if (card.dump) {
    json["format"] = to_string(card.dump->format);
    json["databases"] = card.dump->databases;
    json["schema_only"] = card.dump->schema_only;
    json["portable"] = card.dump->portable;
    json["chosen_tables"] = card.dump->chosen_tables;
    if (card.dump->every_database) json["every_database"] = *card.dump->every_database;
    if (card.dump->defined) json["tables_defined"] = *card.dump->defined;
  }
  json.update({{"tables", card.tables},
               {"rows", card.estimated_rows},
               {"plain_bytes", card.totals.plain_bytes},
               {"stored_bytes", card.totals.stored_bytes},
               {"server_version_num", card.server_version_num},
               {"from_standby", card.from_standby},
               {"encrypted", card.encrypted},
               {"compression", card.compression},
               {"host", card.host},
               {"tool_version", card.tool_version},
               {"verified", proof_json(proofs.verified)},
               {"drilled", proof_json(proofs.drilled)}});
  return json;
}

Result<int> list_handler(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::DumpList list, ops::list_dumps(repository, where.cluster, invocation.flag("all")));
  Json dumps = Json::array();
  Table table({{"dump"},
               {"state"},
               {"took", Align::right},
               {"size", Align::right},
               {"stored", Align::right},
               {"rows", Align::right},
               {"kind"},
               {"databases"},
               {"verified"},
               {"drilled"}});
  for (const ops::DumpEntry& entry : list.dumps) {
    const repo::Card& card = entry.card;
    dumps.push_back(card_json(card, entry.lineage, entry.proofs));
    if (!card.dump) {
      table.add({card.id.text, std::string(to_string(card.state)), "", "", "", "", card.reason, "", "", ""});
      continue;
    }
    table.add({card.id.text, std::string(to_string(card.state)), format_seconds(card.totals.seconds),
               format_bytes(card.totals.plain_bytes), format_bytes(card.totals.stored_bytes),
               card.dump->schema_only ? std::string("none") : cat(card.estimated_rows), kind_text(*card.dump),
               join(card.dump->databases, ", "), dump_proof_cell(entry.proofs.verified),
               dump_proof_cell(entry.proofs.drilled)});
  }
  Json problems = Json::array();
  for (const Error& error : list.problems) problems.push_back(error.to_string());
  invocation.output().text(table.empty() ? std::string("no dump yet\n") : table.to_string());
  invocation.output().document(to_json_text(
      Json{{"cluster", where.cluster}, {"repository", where.url}, {"dumps", dumps}, {"problems", problems}}));
  if (list.problems.empty()) return 0;
  return std::move(list.problems.front()).with_hint("run lifeboat verify: the repository is damaged");
}

constexpr Option kListOptions[] = {
    {.name = "all", .help = "also those that never completed, with the reason"}};
constinit const OptionGroup kListGroup = {"List", kListOptions};

std::string definitions_text(const repo::DumpedDatabase& database) {
  return database.defined ? cat("definitions of ", counted(*database.defined, "table"))
                          : std::string("definitions");
}

std::string details_text(const ops::DumpDetails& details) {
  const repo::Manifest& manifest = details.manifest;
  const repo::Card& card = manifest.card;
  const repo::DumpRecord& record = *manifest.dump;
  Facts facts;
  facts.add("dump", card.id.text);
  if (!card.label.empty()) facts.add("label", card.label);
  facts.add("kind", kind_text(*card.dump));
  facts.add("server",
            cat("PostgreSQL ", card.server_version_num / 10000, ".", card.server_version_num % 10000,
                card.from_standby ? ", a standby" : "", ", lineage ", details.lineage.to_string()));
  facts.add("made by", cat(record.client, ", on ", card.host));
  facts.add("started", card.started.to_string());
  facts.add("took", format_seconds(card.totals.seconds));
  facts.add("stored",
            cat(format_bytes(card.totals.stored_bytes), " of ", format_bytes(card.totals.plain_bytes), ", ",
                card.compression, card.encrypted ? ", encrypted" : ", not encrypted"));
  facts.add("globals",
            record.role_passwords ? "with the roles' password hashes" : "without the roles' passwords");
  for (const repo::DumpPattern& pattern : record.patterns)
    facts.add(pattern.option, cat(pattern.pattern, ": ", counted(pattern.matched, "relation")));
  facts.add("location", details.location);
  facts.add("verified", dump_proof_cell(details.proofs.verified));
  facts.add("drilled", dump_proof_cell(details.proofs.drilled));
  std::string text = facts.to_string();
  for (const repo::DumpedDatabase& database : record.databases) {
    text += cat("\ndatabase ", database.name, ", ", database.encoding, ", snapshot ", database.snapshot,
                " of ", database.taken.to_string(), ", ", format_bytes(database.bytes),
                card.dump->schema_only ? cat("; ", definitions_text(database), ", no rows were dumped") : "",
                "\n");
    Table table({{"table"}, {"rows", Align::right}});
    for (const repo::CountedTable& one : database.tables)
      table.add({cat(one.schema, ".", one.table), cat(one.rows)});
    if (!table.empty()) text += table.to_string();
  }
  for (const auto& [database, listed] : details.contents)
    text += cat("\ncontents of ", database, "\n", listed);
  return text;
}

Json details_json(const ops::DumpDetails& details) {
  const repo::DumpRecord& record = *details.manifest.dump;
  Json json = card_json(details.manifest.card, details.lineage, details.proofs);
  json["client"] = record.client;
  json["jobs"] = record.jobs;
  json["role_passwords"] = record.role_passwords;
  json["location"] = details.location;
  Json patterns = Json::array();
  for (const repo::DumpPattern& pattern : record.patterns) {
    patterns.push_back(
        {{"option", pattern.option}, {"pattern", pattern.pattern}, {"matched", pattern.matched}});
  }
  json["patterns"] = patterns;
  Json databases = Json::array();
  for (const repo::DumpedDatabase& database : record.databases) {
    Json tables = Json::array();
    for (const repo::CountedTable& table : database.tables)
      tables.push_back({{"schema", table.schema}, {"table", table.table}, {"rows", table.rows}});
    Json contents = nullptr;
    for (const auto& [name, listed] : details.contents) {
      if (name == database.name) contents = listed;
    }
    databases.push_back({{"name", database.name},
                         {"oid", database.oid},
                         {"encoding", database.encoding},
                         {"snapshot", database.snapshot},
                         {"taken", json_time(database.taken)},
                         {"plain_bytes", database.bytes},
                         {"files", database.files},
                         {"seconds", database.seconds},
                         {"tables", tables},
                         {"contents", contents}});
    if (database.defined) databases.back()["tables_defined"] = *database.defined;
  }
  json["databases"] = databases;
  json["note"] = details.note.empty() ? Json(nullptr) : Json(details.note);
  return json;
}

Result<int> show_handler(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  ops::ShowDumpOptions options;
  options.id = dump_id(invocation);
  options.contents = invocation.flag("contents");
  if (options.contents) options.pg_bin = invocation.pg_bin().value_or("");
  TRY_ASSIGN(ops::DumpDetails details,
             ops::describe_dump(repository, where.cluster, options, invocation.stop()));
  if (!details.note.empty()) invocation.output().note(LogLevel::info, details.note);
  invocation.output().text(details_text(details));
  invocation.output().document(to_json_text(details_json(details)));
  return 0;
}

constexpr Positional kShowPositionals[] = {
    {.name = "DUMP",
     .kind = ValueKind::backup,
     .help = "a dump id from lifeboat dump list, or latest, the one that dump restore would take (default)",
     .required = false},
};
constexpr Option kShowOptions[] = {
    {.name = "contents", .help = "also what pg_restore --list says of each database"},
};
constinit const OptionGroup kShowGroup = {"Show", kShowOptions};

}  // namespace

extern const Command kDumpListCommand;
constinit const Command kDumpListCommand = {
    .path = "dump list",
    .summary = "list the dumps of a cluster",
    .description =
        "One line per dump, oldest first: what it holds, what it costs, and what was proven of it. Of a "
        "schema-only dump no rows were dumped, and the tables are those whose definitions are in it.",
    .danger = Danger::read,
    .groups = {&kListGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat dump list --repo /srv/backup",
    .exit_notes = "10: some records are damaged; what could be read was listed.",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "dumps"],
  "properties": {
    "cluster": {"type": "string"},
    "repository": {"type": "string"},
    "problems": {"type": "array", "items": {"type": "string"}},
    "dumps": {"type": "array", "items": {"type": "object", "required": ["id", "state"], "properties": {
      "id": {"type": "string"},
      "lineage": {"type": "string"},
      "state": {"enum": ["complete", "aborted"]},
      "started": {"type": ["string", "null"]},
      "stopped": {"type": ["string", "null"]},
      "format": {"enum": ["custom", "directory", "plain"]},
      "databases": {"type": "array", "items": {"type": "string"}},
      "schema_only": {"type": "boolean", "description": "no rows were dumped: tables and rows are 0"},
      "portable": {"type": "boolean"},
      "chosen_tables": {"type": "boolean"},
      "every_database": {"type": "boolean", "description": "all that the server had; not of dumps that earlier versions made"},
      "tables": {"type": "integer", "description": "whose rows are in it"},
      "tables_defined": {"type": "integer", "description": "whose definitions are in it; not of dumps that earlier versions made"},
      "rows": {"type": "integer"},
      "plain_bytes": {"type": "integer"},
      "stored_bytes": {"type": "integer"},
      "verified": {"type": ["object", "null"]},
      "drilled": {"type": ["object", "null"]}
    }}}
  }
})",
    .handler = list_handler,
};

extern const Command kDumpShowCommand;
constinit const Command kDumpShowCommand = {
    .path = "dump show",
    .summary = "describe one dump",
    .description =
        "What the repository knows of one dump: the server and programs it was made with, what its patterns "
        "matched, and "
        "for each database its snapshot, its tables and how many rows each had.",
    .danger = Danger::read,
    .positionals = kShowPositionals,
    .groups = {&kShowGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "lifeboat dump show latest --repo /srv/backup\nlifeboat dump show latest --contents --repo "
        "/srv/backup",
    .schema = R"({
  "type": "object",
  "required": ["id", "databases", "format"],
  "properties": {
    "id": {"type": "string"},
    "lineage": {"type": "string"},
    "state": {"enum": ["complete"]},
    "format": {"enum": ["custom", "directory", "plain"]},
    "client": {"type": "string"},
    "patterns": {"type": "array", "items": {"type": "object"}},
    "databases": {"type": "array", "items": {"type": "object", "required": ["name", "tables"], "properties": {
      "name": {"type": "string"},
      "oid": {"type": "integer"},
      "snapshot": {"type": "string"},
      "tables": {"type": "array", "description": "whose rows are in it", "items": {"type": "object", "properties": {"schema": {"type": "string"}, "table": {"type": "string"}, "rows": {"type": "integer"}}}},
      "tables_defined": {"type": "integer", "description": "as in dump list"},
      "contents": {"type": ["string", "null"], "description": "of pg_restore --list"}
    }}},
    "location": {"type": "string"},
    "note": {"type": ["string", "null"], "description": "of latest: which dump it is, and why no newer one"},
    "verified": {"type": ["object", "null"]},
    "drilled": {"type": ["object", "null"]}
  }
})",
    .handler = show_handler,
};

}  // namespace lifeboat::app
