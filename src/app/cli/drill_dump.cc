#include "app/cli/drill_dump.h"

#include <nlohmann/json.hpp>

#include "app/location.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/run.h"
#include "ops/dump/rehearse.h"
#include "util/strings.h"

namespace lifeboat::app {

nlohmann::ordered_json checks_json(std::span<const ops::DrillCheck> checks) {
  auto json = nlohmann::ordered_json::array();
  for (const ops::DrillCheck& check : checks) {
    json.push_back({{"id", check.id},
                    {"result", to_string(check.result)},
                    {"detail", check.detail},
                    {"seconds", check.seconds}});
  }
  return json;
}

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const ops::DumpDrillOutcome& outcome) {
  const Json checks = checks_json(outcome.checks);
  return {{"verdict", outcome.passed ? "passed" : "failed"},
          {"evidence", outcome.evidence},
          {"backup", outcome.card.id.text},
          {"target", "dump"},
          {"rto_seconds", outcome.rto_seconds},
          {"rpo_seconds", nullptr},
          {"rpo_how", "a dump leads to the moment of its snapshot and no further"},
          {"restored_bytes", outcome.card.totals.plain_bytes},
          {"phases",
           {{"server", outcome.server_seconds},
            {"restore", outcome.restore_seconds},
            {"checks", outcome.checks_seconds}}},
          {"checks", checks},
          {"kept_directory", outcome.kept_directory.empty() ? Json(nullptr) : Json(outcome.kept_directory)},
          {"notes", outcome.notes}};
}

std::string to_text(const ops::DumpDrillOutcome& outcome) {
  Facts facts;
  facts.add("drill", outcome.passed ? "PASSED" : "FAILED");
  facts.add("dump", cat(outcome.card.id.text, ", ", to_string(outcome.card.dump->format)));
  facts.add("RTO",
            cat(format_seconds(outcome.rto_seconds), " (server ", format_seconds(outcome.server_seconds),
                ", restore ", format_seconds(outcome.restore_seconds), ")"));
  facts.add("RPO", cat("the moment of the snapshot, ", outcome.card.started.to_string()));
  facts.add("evidence", outcome.evidence);
  if (!outcome.kept_directory.empty()) facts.add("kept", outcome.kept_directory);
  Table table({{"check"}, {"result"}, {"time", Align::right}, {"detail"}});
  for (const ops::DrillCheck& check : outcome.checks)
    table.add({check.id, std::string(to_string(check.result)), format_seconds(check.seconds), check.detail});
  return cat(facts.to_string(), "\n", table.to_string());
}

}  // namespace

Result<int> drill_dump(const Invocation& invocation, const std::string& directory) {
  ops::DumpDrillOptions options;
  TRY_ASSIGN(options.location, repo_location(invocation));
  options.id = *invocation.text("dump");
  options.directory = directory;
  options.keep = invocation.flag("keep");
  options.pg_bin = invocation.pg_bin().value_or("");
  options.jobs = invocation.jobs();
  options.assertions = invocation.list("sql");
  options.assertion_database = invocation.value("sql-database");
  if (const ConfigBlock* block = invocation.config().find(ConfigSection::cluster, invocation.cluster())) {
    for (const ConfigHook& check : block->drill_checks) options.programs.push_back({check.name, check.argv});
    options.program_timeout_ms = block->drill_timeout_us / 1000;
  }
  if (auto us = invocation.duration_us("rto")) options.rto_seconds = static_cast<double>(*us) / 1e6;
  options.tool_version = kVersion;

  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::DumpDrillOutcome outcome, ops::drill_dump(options, reporter, invocation.stop()));
  for (const std::string& note : outcome.notes) invocation.output().note(LogLevel::warning, note);
  invocation.output().text(to_text(outcome));
  invocation.output().document(to_json_text(to_json(outcome)));
  if (outcome.passed) return 0;
  std::string failed;
  for (const ops::DrillCheck& check : outcome.checks) {
    if (check.result == ops::CheckResult::failed) failed += cat(failed.empty() ? "" : ", ", check.id);
  }
  return make_error(ErrorKind::check_failed, cat("drill of dump ", outcome.card.id.text),
                    cat("failed: ", failed));
}

}  // namespace lifeboat::app
