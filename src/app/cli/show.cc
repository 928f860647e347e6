// lifeboat show: what one backup consists of.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/cli/proofs.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "ops/catalogue/catalogue.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

std::string proof_text(const std::optional<ops::BackupProof>& proof) {
  if (!proof) return "never";
  std::string text = cat(proof->passed ? "passed" : "FAILED", ", level ", to_string(proof->level), ", ",
                         proof->time.to_string());
  if (proof->rto_seconds) text += cat(", RTO ", format_seconds(*proof->rto_seconds));
  if (proof->rpo_seconds) text += cat(", RPO ", format_seconds(*proof->rpo_seconds));
  for (const std::string& problem : proof->problems) text += cat("; ", problem);
  return text;
}

// Tables by their size at backup time, largest first.
std::vector<repo::TableEstimate> largest_tables(const repo::Manifest& manifest, size_t most) {
  std::vector<repo::TableEstimate> tables = manifest.tables;
  std::ranges::stable_sort(tables, std::greater<>(), &repo::TableEstimate::relpages);
  if (tables.size() > most) tables.resize(most);
  return tables;
}

std::string share_text(uint64_t part, uint64_t whole) {
  if (whole == 0) return "";
  auto tenths = static_cast<uint64_t>(static_cast<double>(part) * 1000 / static_cast<double>(whole));
  if (tenths == 0 && part != 0) return ", under 0.1 %";
  return cat(", ", tenths / 10, ".", tenths % 10, " %");
}

uint64_t own_bytes(const ops::BackupDetails& details) {
  for (const auto& origin : details.origins) {
    if (origin.backup == details.manifest.card.id) return origin.bytes;
  }
  return 0;
}

// What was read and stored; a database has a line for each tablespace that it uses.
std::string changes_text(std::string_view what, const std::vector<repo::ChangeCount>& changes, size_t most) {
  if (changes.empty() || most == 0) return "";
  Table table({{what}, {"path"}, {"size", Align::right}, {"read", Align::right}, {"new", Align::right}});
  for (const repo::ChangeCount& change : changes) {
    if (most-- == 0) break;
    table.add({change.name, change.path, format_bytes(change.plain_bytes), format_bytes(change.read_bytes),
               format_bytes(change.new_bytes)});
  }
  return cat("\n", table.to_string());
}

Json changes_json(const std::vector<repo::ChangeCount>& changes) {
  Json list = Json::array();
  for (const repo::ChangeCount& change : changes) {
    list.push_back({{"path", change.path},
                    {"name", change.name.empty() ? Json(nullptr) : Json(change.name)},
                    {"files", change.files},
                    {"plain_bytes", change.plain_bytes},
                    {"read_bytes", change.read_bytes},
                    {"new_bytes", change.new_bytes}});
  }
  return list;
}

std::string rows_text(int64_t rows) {
  return rows < 0 ? std::string("not analysed") : std::to_string(rows);
}

std::string to_text(const ops::BackupDetails& details, size_t most) {
  const repo::Manifest& manifest = details.manifest;
  const repo::Card& card = manifest.card;
  Facts facts;
  facts.add("backup", card.id.text);
  facts.add("type", cat(to_string(card.type), card.reference ? cat(" on ", card.reference->text) : "", ", ",
                        to_string(card.state)));
  if (!card.reason.empty()) facts.add(card.type == BackupType::full ? "reason" : "read all", card.reason);
  for (const BackupId& attempt : card.continued)
    facts.add("continues", cat(attempt.text, ", which was never finished"));
  if (!card.label.empty()) facts.add("label", card.label);
  facts.add("lineage", details.lineage.lineage.to_string());
  facts.add("server",
            cat("PostgreSQL ", card.server_version_num / 10000, ".", card.server_version_num % 10000,
                card.from_standby ? ", a standby" : ", the primary", ", on ", card.host, ", in ",
                manifest.data_directory));
  facts.add("started", card.started.to_string());
  facts.add("stopped", card.stopped.to_string());
  facts.add("took", format_seconds(card.totals.seconds));
  facts.add("size",
            cat(format_bytes(card.totals.plain_bytes), " in ", counted(card.totals.files, "file"), " and ",
                card.totals.directories, card.totals.directories == 1 ? " directory" : " directories"));
  facts.add("read", cat(format_bytes(card.totals.read_bytes),
                        share_text(card.totals.read_bytes, card.totals.plain_bytes)));
  uint64_t own = own_bytes(details);
  if (!details.origins.empty()) {
    facts.add("new",
              cat(format_bytes(own), share_text(own, card.totals.plain_bytes), ", before compression"));
  }
  facts.add("stored",
            cat(format_bytes(card.totals.stored_bytes), ", ", card.compression,
                card.encrypted ? cat(", encrypted with key ", card.key_id) : std::string(", not encrypted")));
  facts.add("pages", card.data_checksums
                         ? cat(card.totals.pages_checked, " checked, ", card.broken_pages, " broken")
                         : std::string("the cluster has no data checksums"));
  facts.add("WAL", cat(card.start_lsn.to_string(), " to ", card.stop_lsn.to_string(), " on timeline ",
                       card.timeline.value, ": ", details.first_wal, " to ", details.last_wal, ", ",
                       counted(details.wal_segments, "segment")));
  facts.add("location", details.location);
  facts.add("verified", proof_text(details.proofs.verified));
  facts.add("drilled", proof_text(details.proofs.drilled));
  std::string text = facts.to_string();

  if (!manifest.databases.empty()) {
    Table table({{"database"},
                 {"size", Align::right},
                 {"relations", Align::right},
                 {"rows (estimate)", Align::right}});
    for (const repo::DatabaseInfo& database : manifest.databases) {
      table.add({database.name, format_bytes(database.bytes), std::to_string(database.relations),
                 rows_text(database.estimated_rows)});
    }
    text += cat("\n", table.to_string());
  }
  if (details.origins.size() > 1) {
    Table table({{"blocks stored by"}, {"size", Align::right}});
    size_t named = 0;
    uint64_t rest = 0;
    for (const auto& origin : details.origins) {
      if (named++ < most) {
        table.add({origin.backup == card.id ? cat(origin.backup.text, " (itself)") : origin.backup.text,
                   format_bytes(origin.bytes)});
      } else {
        rest += origin.bytes;
      }
    }
    if (rest != 0) table.add({counted(details.origins.size() - most, "older backup"), format_bytes(rest)});
    text += cat("\n", table.to_string());
  }
  if (card.type != BackupType::full || !card.continued.empty()) {
    text += changes_text("database", manifest.changed_directories, manifest.changed_directories.size());
    text += changes_text("most changed relations", manifest.changed_relations, most);
  }
  if (auto tables = largest_tables(manifest, most); !tables.empty()) {
    Table table({{"largest tables"}, {"size", Align::right}, {"rows (estimate)", Align::right}});
    for (const repo::TableEstimate& one : tables) {
      table.add({cat(one.database, ".", one.schema, ".", one.table),
                 format_bytes(static_cast<uint64_t>(one.relpages) * manifest.block_size),
                 rows_text(one.reltuples)});
    }
    text += cat("\n", table.to_string());
  }
  if (!details.largest.empty()) {
    Table table({{"largest relations"}, {"size", Align::right}});
    for (const auto& relation : details.largest) table.add({relation.path, format_bytes(relation.bytes)});
    text += cat("\n", table.to_string());
  }
  if (!manifest.tablespaces.empty()) {
    Table table({{"tablespace"}, {"oid", Align::right}, {"size", Align::right}, {"location"}});
    for (const repo::TablespaceInfo& space : manifest.tablespaces) {
      table.add({space.name, std::to_string(space.oid), format_bytes(space.bytes), space.location});
    }
    text += cat("\n", table.to_string());
  }
  if (!manifest.external_files.empty()) {
    Table table({{"configuration from outside"}, {"setting"}});
    for (const repo::ExternalFile& file : manifest.external_files) table.add({file.path, file.setting});
    text += cat("\n", table.to_string());
  }
  if (!manifest.broken_pages.empty()) {
    Table table({{"broken page"}, {"block", Align::right}, {"problem"}});
    for (const repo::BrokenPage& page : manifest.broken_pages) {
      table.add({page.path, std::to_string(page.block), page.problem});
    }
    text += cat("\n", table.to_string());
  }
  return text;
}

Json to_json(const ops::BackupDetails& details, size_t most) {
  const repo::Manifest& manifest = details.manifest;
  const repo::Card& card = manifest.card;
  Json databases = Json::array();
  for (const repo::DatabaseInfo& database : manifest.databases) {
    databases.push_back({{"oid", database.oid},
                         {"name", database.name},
                         {"bytes", database.bytes},
                         {"relations", database.relations},
                         {"estimated_rows", database.estimated_rows}});
  }
  Json tables = Json::array();
  for (const repo::TableEstimate& table : largest_tables(manifest, most)) {
    tables.push_back({{"database", table.database},
                      {"schema", table.schema},
                      {"table", table.table},
                      {"bytes", static_cast<uint64_t>(table.relpages) * manifest.block_size},
                      {"estimated_rows", table.reltuples < 0 ? Json(nullptr) : Json(table.reltuples)}});
  }
  Json relations = Json::array();
  for (const auto& relation : details.largest) {
    relations.push_back({{"path", relation.path}, {"bytes", relation.bytes}});
  }
  Json spaces = Json::array();
  for (const repo::TablespaceInfo& space : manifest.tablespaces) {
    spaces.push_back({{"oid", space.oid},
                      {"name", space.name},
                      {"location", space.location},
                      {"in_place", space.in_place},
                      {"bytes", space.bytes}});
  }
  Json files = Json::array();
  for (const repo::ExternalFile& file : manifest.external_files) {
    files.push_back({{"path", file.path}, {"setting", file.setting}});
  }
  Json origins = Json::array();
  for (const auto& origin : details.origins)
    origins.push_back({{"backup", origin.backup.text}, {"bytes", origin.bytes}});
  Json settings = Json::object();
  for (const repo::Setting& setting : manifest.settings) settings[setting.name] = setting.value;
  Json broken = Json::array();
  for (const repo::BrokenPage& page : manifest.broken_pages) {
    broken.push_back({{"path", page.path}, {"block", page.block}, {"problem", page.problem}});
  }
  return {{"id", card.id.text},
          {"type", to_string(card.type)},
          {"reference", card.reference ? Json(card.reference->text) : Json(nullptr)},
          {"continued", ids_json(card.continued)},
          {"state", to_string(card.state)},
          {"reason", card.reason},
          {"label", card.label},
          {"lineage", details.lineage.lineage.to_string()},
          {"started", json_time(card.started)},
          {"stopped", json_time(card.stopped)},
          {"duration_seconds", card.totals.seconds},
          {"start_lsn", card.start_lsn.to_string()},
          {"stop_lsn", card.stop_lsn.to_string()},
          {"timeline", card.timeline.value},
          {"server_version_num", card.server_version_num},
          {"from_standby", card.from_standby},
          {"data_directory", manifest.data_directory},
          {"host", card.host},
          {"owner", manifest.owner},
          {"files", card.totals.files},
          {"directories", card.totals.directories},
          {"plain_bytes", card.totals.plain_bytes},
          {"read_bytes", card.totals.read_bytes},
          {"stored_bytes", card.totals.stored_bytes},
          {"compression", card.compression},
          {"encrypted", card.encrypted},
          {"key_id", card.key_id},
          {"data_checksums", card.data_checksums},
          {"pages_checked", card.totals.pages_checked},
          {"broken_pages", card.broken_pages},
          {"broken", broken},
          {"block_size", manifest.block_size},
          {"wal_segment_size", manifest.segment_size.bytes},
          {"first_wal", details.first_wal},
          {"last_wal", details.last_wal},
          {"wal_segments", details.wal_segments},
          {"location", details.location},
          {"origins", origins},
          {"changed_directories", changes_json(manifest.changed_directories)},
          {"changed_relations", changes_json(manifest.changed_relations)},
          {"databases", databases},
          {"largest_tables", tables},
          {"largest_relations", relations},
          {"tablespaces", spaces},
          {"external_files", files},
          {"extensions", manifest.extensions},
          {"settings", settings},
          {"good", details.proofs.good()},
          {"verified", proof_json(details.proofs.verified)},
          {"drilled", proof_json(details.proofs.drilled)}};
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  auto most = static_cast<size_t>(*invocation.integer("largest"));
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::BackupDetails details,
             ops::describe_backup(repository, where.cluster, invocation.positional(0), most));
  invocation.output().text(to_text(details, most));
  invocation.output().document(to_json_text(to_json(details, most)));
  return 0;
}

constexpr Positional kPositionals[] = {
    {.name = "BACKUP", .kind = ValueKind::backup, .help = "a backup id from lifeboat list, or latest"},
};
constexpr Option kShowOptions[] = {
    {.name = "largest",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "how many of the largest tables and relations to name",
     .default_text = "10",
     .min = 0,
     .max = 100000},
};
constinit const OptionGroup kShowGroup = {"Show", kShowOptions};

}  // namespace

extern const Command kShowCommand;
constinit const Command kShowCommand = {
    .path = "show",
    .summary = "describe one backup",
    .description =
        "Everything that the repository knows of one backup: where and when it was taken, why it is of its "
        "type, what it read, what was new and what it shares with other backups, its databases, most changed "
        "relations, largest "
        "tables and relations, tablespaces and configuration files from outside "
        "the data directory, the WAL that it needs, where its objects lie, and what was proven of it.",
    .danger = Danger::read,
    .positionals = kPositionals,
    .groups = {&kShowGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "lifeboat show latest --repo /srv/backup\nlifeboat show 20261120T105625Z-4f2a9c --repo /srv/backup",
    .schema = R"({
  "type": "object",
  "properties": {
    "id": {"type": "string"},
    "type": {"enum": ["full", "diff", "incr"]},
    "reference": {"type": ["string", "null"], "description": "the backup that this one takes over from"},
    "state": {"enum": ["complete", "damaged"]},
    "started": {"type": ["string", "null"]},
    "stopped": {"type": ["string", "null"]},
    "start_lsn": {"type": "string"},
    "stop_lsn": {"type": "string"},
    "timeline": {"type": "integer"},
    "plain_bytes": {"type": "integer"},
    "stored_bytes": {"type": "integer"},
    "continued": {"type": "array", "items": {"type": "string"}, "description": "attempts that were never finished, whose blocks it took over"},
    "origins": {"type": "array", "items": {"type": "object"}, "description": "the backups whose packs hold its blocks, and how many bytes"},
    "changed_directories": {"type": "array", "items": {"type": "object"}, "description": "what was read and stored, by database and tablespace"},
    "changed_relations": {"type": "array", "items": {"type": "object"}, "description": "the relations of which most is new"},
    "databases": {"type": "array", "items": {"type": "object"}},
    "largest_tables": {"type": "array", "items": {"type": "object"}},
    "largest_relations": {"type": "array", "items": {"type": "object"}},
    "tablespaces": {"type": "array", "items": {"type": "object"}},
    "external_files": {"type": "array", "items": {"type": "object"}},
    "settings": {"type": "object"},
    "good": {"type": "boolean"},
    "verified": {"type": ["object", "null"]},
    "drilled": {"type": ["object", "null"]}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
