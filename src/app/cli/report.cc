// lifeboat report: could this cluster be recovered, and what proves it?
#include "ready/report/document.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/options.h"
#include "app/output.h"
#include "app/readiness.h"
#include "app/readings.h"
#include "app/render.h"
#include "app/retention.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

// Both files, whatever the verdict.
Result<std::vector<std::string>> write_files(const std::string& directory, const std::string& markdown,
                                             const Json& json) {
  TRY(create_dirs(directory));
  const std::string for_people = join_path(directory, ready::kReportMarkdown);
  const std::string for_programs = join_path(directory, ready::kReportJson);
  TRY(write_file_durable(for_people, as_bytes(markdown), 0644));
  TRY(write_file_durable(for_programs, as_bytes(cat(to_json_text(json), "\n")), 0644));
  return std::vector<std::string>{for_people, for_programs};
}

std::string summary(const ready::Readiness& readiness, const std::vector<std::string>& files) {
  Table table({{"result"}, {"item"}, {"missing"}});
  for (const ready::JudgedItem& item : readiness.items) {
    if (item.answer.outcome() != ready::Outcome::fail) continue;
    std::vector<std::string> missing;
    for (const ready::Missing& one : item.answer.missing()) missing.push_back(one.what);
    table.add(
        {"fail", std::string(item.info->id), missing.empty() ? item.answer.says() : join(missing, "; ")});
  }
  std::string text = cat(readiness.verdict(), ": ", count(readiness.items, ready::Outcome::pass),
                         " items pass, ", count(readiness.items, ready::Outcome::fail), " fail, ",
                         count(readiness.items, ready::Outcome::not_applicable), " do not apply\n");
  if (!table.empty()) text += cat("\n", table.to_string());
  for (const std::string& file : files) text += cat("wrote ", file, "\n");
  return text;
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ready::ReportFacts facts, read_readiness(invocation));
  const ready::Readiness readiness = ready::judge_readiness(facts);
  const std::string markdown = ready::report_markdown(facts, readiness);
  Json json = ready::readiness_json(facts, readiness);
  std::vector<std::string> files;
  if (auto directory = invocation.text("to")) {
    TRY_ASSIGN(files, write_files(*directory, markdown, json));
    invocation.output().text(summary(readiness, files));
  } else {
    invocation.output().text(markdown);
  }
  json["files"] = files;
  invocation.output().document(to_json_text(json));
  if (readiness.ready) return 0;
  std::vector<std::string> failed;
  for (const ready::JudgedItem& item : readiness.items) {
    if (item.answer.outcome() == ready::Outcome::fail) failed.emplace_back(item.info->id);
  }
  return make_error(ErrorKind::not_ready, cat("cluster ", invocation.cluster()),
                    cat("NOT READY: ", join(failed, ", ")))
      .with_hint("the report says of each what is missing and what mends it");
}

constexpr Option kReportOptions[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "write backup-operational-readiness.md and .json there; made when absent (default: print it)"},
};
constinit const OptionGroup kReportGroup = {"Report", kReportOptions};

}  // namespace

extern const Command kReportCommand;
constinit const Command kReportCommand = {
    .path = "report",
    .summary = "is recovery ready? every item with its evidence, and what is missing",
    .description =
        "Reads server, disks, repository, evidence and configuration once and judges the eleven quality "
        "checks, the "
        "production checklist and the definition of done. An item passes only with evidence: records of "
        "drills and "
        "verifications, signals read now, backups that are there, lines of the configuration. Everything "
        "else is "
        "missing, and the report says what mends it.\n\n"
        "READY means that nothing is missing; a cluster whose recovery was not rehearsed is NOT READY. What "
        "only people "
        "can state stands in the configuration: `rpo`, `rto`, `owner`, `compliance-days`, retention, "
        "`signals.replication_lag.standbys`. Some items can be declared not applicable, with the reason.\n\n"
        "The files are written whatever the verdict.",
    .danger = Danger::write,
    .groups = {&kReportGroup, &kStatedOptions, &kRetentionOptions, &kRunbookPlaceOptions, &kSignalOptions,
               &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .examples =
        "# print it\n"
        "lifeboat report --repo /srv/backup --rpo 5min --rto 15min --owner dba@example.org\n"
        "# both files, with what the configuration file says\n"
        "lifeboat report --to /srv/reports/main",
    .exit_notes = "0: READY. 26: NOT READY; the report was made all the same.",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "verdict", "items", "gaps", "rpo", "rto", "evidence"],
  "properties": {
    "cluster": {"type": "string"},
    "repository": {"type": "string"},
    "time": {"type": ["string", "null"], "format": "date-time"},
    "tool_version": {"type": "string"},
    "verdict": {"enum": ["ready", "not_ready"]},
    "passed": {"type": "integer"},
    "failed": {"type": "integer"},
    "not_applicable": {"type": "integer"},
    "rpo": {"type": "object", "properties": {"target_seconds": {"type": ["number", "null"]}, "stated_in": {"type": ["string", "null"]},
      "delivered_seconds": {"type": ["number", "null"]}, "basis": {"type": "string"}}},
    "rto": {"type": "object", "description": "as rpo"},
    "items": {"type": "array", "items": {"type": "object", "required": ["id", "list", "result", "found", "missing", "evidence"], "properties": {
      "id": {"type": "string"}, "list": {"enum": ["quality", "production", "done"]}, "what": {"type": "string"},
      "result": {"enum": ["pass", "fail", "not_applicable"]}, "found": {"type": "string"},
      "missing": {"type": "array", "items": {"type": "object", "properties": {"what": {"type": "string"}, "fix": {"type": "string"}}}},
      "evidence": {"type": "array", "items": {"type": "string"}}}}},
    "gaps": {"type": "array", "items": {"type": "object", "properties": {"what": {"type": "string"}, "fix": {"type": "string"}, "items": {"type": "array", "items": {"type": "string"}}}}},
    "decision_drafts": {"type": "array", "items": {"type": "string"}},
    "backups": {"type": "integer"},
    "newest_backup": {"type": ["string", "null"]},
    "retention": {"type": "object"},
    "storage": {"type": "object", "properties": {
      "stored": {"type": ["object", "null"], "description": "bytes of this cluster in the repository, by their use"},
      "price_per_gb_month": {"type": ["number", "null"]}, "currency": {"type": ["string", "null"]}, "storage_class": {"type": ["string", "null"]},
      "cost_per_month": {"type": ["number", "null"]}, "statements": {"type": "array", "items": {"type": "string"}}}},
    "schedule": {"type": "array", "items": {"type": "object"}},
    "rehearsals": {"type": "array", "items": {"type": "object"}},
    "rehearsals_failed": {"type": "integer", "description": "of them"},
    "runbooks": {"type": "array", "items": {"type": "object"}},
    "signals": {"type": "object", "description": "as lifeboat status has it"},
    "evidence": {"type": "object", "additionalProperties": {"type": "string"}, "description": "what each cited id said"},
    "files": {"type": "array", "items": {"type": "string"}}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
