// lifeboat list: the backups of a cluster, from their cards.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/cli/proofs.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "ops/catalogue/catalogue.h"
#include "ops/dump/dump.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Json backup_json(const ops::CatalogueEntry& entry) {
  const repo::Card& card = entry.card;
  return {{"id", card.id.text},
          {"type", to_string(card.type)},
          {"state", to_string(card.state)},
          {"reason", card.reason},
          {"label", card.label},
          {"started", json_time(card.started)},
          {"stopped", json_time(card.stopped)},
          {"duration_seconds", card.totals.seconds},
          {"plain_bytes", card.totals.plain_bytes},
          {"read_bytes", card.totals.read_bytes},
          {"stored_bytes", card.totals.stored_bytes},
          {"start_lsn", card.start_lsn.to_string()},
          {"stop_lsn", card.stop_lsn.to_string()},
          {"timeline", card.timeline.value},
          {"server_version_num", card.server_version_num},
          {"from_standby", card.from_standby},
          {"data_checksums", card.data_checksums},
          {"encrypted", card.encrypted},
          {"key_id", card.key_id},
          {"compression", card.compression},
          {"host", card.host},
          {"tool_version", card.tool_version},
          {"databases", card.databases},
          {"tables", card.tables},
          {"estimated_rows", card.estimated_rows},
          {"broken_pages", card.broken_pages},
          {"good", entry.proofs.good()},
          {"verified", proof_json(entry.proofs.verified)},
          {"drilled", proof_json(entry.proofs.drilled)}};
}

// As --target-time reads it, in whole seconds.
std::string time_cell(Timestamp time) {
  if (!time.valid()) return "";
  return Timestamp{time.unix_us - time.unix_us % 1'000'000}.to_string();
}

// The whole of it is in `show`.
std::string short_reason(const std::string& reason) {
  constexpr size_t kMost = 40;
  const std::string_view line = std::string_view(reason).substr(0, reason.find('\n'));
  if (line.size() <= kMost && line.size() == reason.size()) return reason;
  std::string_view kept = line.substr(0, kMost);
  while (!kept.empty() && (static_cast<uint8_t>(kept.back()) & 0xc0) == 0x80) kept.remove_suffix(1);
  if (!kept.empty() && static_cast<uint8_t>(kept.back()) >= 0xc0) kept.remove_suffix(1);
  return cat(trim(kept), "…");
}

std::string to_text(const ops::Catalogue& catalogue) {
  std::string text;
  for (const ops::CatalogueLineage& lineage : catalogue.lineages) {
    const repo::LineageRecord& record = lineage.record;
    text += cat(text.empty() ? "" : "\n", "cluster ", catalogue.cluster, ", system identifier ",
                record.lineage.system_id.to_string(), ", PostgreSQL ", record.lineage.major, ", registered ",
                record.registered.to_string(), "\n");
    if (lineage.backups.empty()) {
      text += "no backup yet\n";
      continue;
    }
    Table table({{"backup"},
                 {"type"},
                 {"state"},
                 {"started"},
                 {"took", Align::right},
                 {"size", Align::right},
                 {"stored", Align::right},
                 {"timeline", Align::right},
                 {"start LSN"},
                 {"stop LSN"},
                 {"verified"},
                 {"drilled"}});
    for (const ops::CatalogueEntry& entry : lineage.backups) {
      const repo::Card& card = entry.card;
      bool aborted = card.state == repo::BackupState::aborted;
      table.add({card.id.text, aborted ? "" : std::string(to_string(card.type)),
                 std::string(to_string(card.state)), time_cell(card.started),
                 aborted ? "" : format_seconds(card.totals.seconds),
                 aborted ? "" : format_bytes(card.totals.plain_bytes),
                 aborted ? "" : format_bytes(card.totals.stored_bytes),
                 aborted ? "" : std::to_string(card.timeline.value),
                 aborted ? "" : card.start_lsn.to_string(), aborted ? "" : card.stop_lsn.to_string(),
                 aborted ? short_reason(card.reason) : proof_cell(entry.proofs.verified),
                 aborted ? "" : proof_cell(entry.proofs.drilled)});
    }
    text += table.to_string();
  }
  return text;
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::DumpList dumps, ops::list_dumps(repository, where.cluster, false));
  ops::ListAttempts attempts = invocation.flag("all") ? ops::ListAttempts::show : ops::ListAttempts::hide;
  TRY_ASSIGN(ops::Catalogue catalogue, ops::read_catalogue(repository, where.cluster, attempts));

  Json lineages = Json::array();
  std::optional<Error> problem;
  for (const ops::CatalogueLineage& lineage : catalogue.lineages) {
    Json backups = Json::array();
    for (const ops::CatalogueEntry& entry : lineage.backups) backups.push_back(backup_json(entry));
    Json problems = Json::array();
    for (const Error& error : lineage.problems) {
      problems.push_back(error.to_string());
      if (!problem) problem = error;
    }
    lineages.push_back({{"lineage", lineage.record.lineage.to_string()},
                        {"system_id", lineage.record.lineage.system_id.to_string()},
                        {"major", lineage.record.lineage.major},
                        {"registered", json_time(lineage.record.registered)},
                        {"backups", backups},
                        {"problems", problems}});
  }
  invocation.output().text(to_text(catalogue));
  if (!dumps.dumps.empty())
    invocation.output().text(cat("\n", counted(dumps.dumps.size(), "dump"), ", the newest ",
                                 dumps.dumps.back().card.id.text, " (lifeboat dump list)\n"));
  for (Error& error : dumps.problems) {
    if (!problem) problem = std::move(error);
  }
  invocation.output().document(to_json_text(Json{{"cluster", catalogue.cluster},
                                                 {"repository", where.url},
                                                 {"lineages", lineages},
                                                 {"dumps", dumps.dumps.size()}}));
  // What can be read was shown; that something cannot is not passed over.
  if (problem) return std::move(*problem).with_hint("run lifeboat verify: the repository is damaged");
  return 0;
}

constexpr Option kListOptions[] = {
    {.name = "all", .help = "also attempts that never became a backup, with the reason"},
};
constinit const OptionGroup kListGroup = {"List", kListOptions};

}  // namespace

extern const Command kListCommand;
constinit const Command kListCommand = {
    .path = "list",
    .summary = "list the backups of a cluster",
    .description =
        "One line per backup: how it was made, what it covers, what it costs, and what was proven of it. "
        "Reads "
        "the backups' cards and the records of verify and drill, no manifest, so it stays quick.\n\n"
        "\"verified\" and \"drilled\" show the level that was reached: hashed, wal (with its WAL whole and "
        "continuous), restored, asserted. FAILED takes an earlier success back.",
    .danger = Danger::read,
    .groups = {&kListGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "lifeboat list --repo /srv/backup\nlifeboat list --repo /srv/backup --cluster shop --output json",
    .exit_notes = "10: some records are damaged; what could be read was listed.",
    .schema = R"({
  "type": "object",
  "properties": {
    "cluster": {"type": "string"},
    "repository": {"type": "string"},
    "dumps": {"type": "integer", "description": "how many dump list shows"},
    "lineages": {"type": "array", "items": {"type": "object", "required": ["lineage", "backups"], "properties": {
      "lineage": {"type": "string"},
      "system_id": {"type": "string"},
      "major": {"type": "integer"},
      "registered": {"type": ["string", "null"]},
      "problems": {"type": "array", "items": {"type": "string"}},
      "backups": {"type": "array", "items": {"type": "object", "required": ["id", "type", "state", "started", "good"], "properties": {
        "id": {"type": "string"},
        "type": {"enum": ["full", "diff", "incr"]},
        "state": {"enum": ["complete", "damaged", "aborted"]},
        "started": {"type": ["string", "null"]},
        "stopped": {"type": ["string", "null"]},
        "good": {"type": "boolean", "description": "verified with its WAL, or drilled, and not contradicted since"},
        "verified": {"type": ["object", "null"]},
        "drilled": {"type": ["object", "null"]}
      }}}
    }}}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
