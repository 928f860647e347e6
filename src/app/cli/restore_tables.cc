#include "app/cli/restore_tables.h"

#include <nlohmann/json.hpp>

#include "app/cli/brought_tables.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/scratch.h"
#include "ops/given_names.h"
#include "ops/table/table.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Result<ops::ScratchOptions> scratch_for(const Invocation& invocation, const ops::RestoreOptions& restore) {
  TRY_ASSIGN(ops::ScratchOptions scratch, scratch_options(invocation, restore.directory));
  scratch.lineage = restore.lineage;
  scratch.backup = restore.backup;
  scratch.target = restore.target;
  scratch.timeline_choice = restore.timeline_choice;
  scratch.timeline = restore.timeline;
  scratch.recovery_timeout_ms = restore.recovery_timeout_ms;
  return scratch;
}

Json to_json(const ops::TableRestoreOutcome& outcome) {
  return {{"dry_run", false},
          {"backup", outcome.plan.backup.id.text},
          {"target", outcome.plan.asked.to_string()},
          {"last_commit", json_time(outcome.plan.reach.last_commit)},
          {"medium", to_string(outcome.medium)},
          {"fetched_bytes", outcome.fetched_bytes},
          {"backup_bytes", outcome.plan.bytes},
          {"database", outcome.database},
          {"into_schema", outcome.schema.empty() ? Json(nullptr) : Json(outcome.schema)},
          {"tables", brought_tables_json(outcome.tables)},
          {"left_out", cut_ties_json(outcome.cut)},
          {"wal_records_left_out", outcome.left_out},
          {"recovered_seconds", outcome.recovered_seconds},
          {"seconds", outcome.seconds},
          {"notes", outcome.notes}};
}

std::string to_text(const ops::TableRestoreOutcome& outcome) {
  Facts facts;
  facts.add("backup", outcome.plan.backup.id.text);
  facts.add("target", cat(outcome.plan.asked.to_string(), ", reached ", outcome.plan.reach.stop.to_string()));
  facts.add("into", cat("database ", outcome.database,
                        outcome.schema.empty() ? std::string() : cat(", schema ", outcome.schema)));
  if (outcome.medium == ops::ScratchMedium::mount) {
    facts.add("fetched", cat(format_bytes(outcome.fetched_bytes), " of ", format_bytes(outcome.plan.bytes)));
  }
  facts.add("time", cat(format_seconds(outcome.seconds), ", of which ",
                        format_seconds(outcome.recovered_seconds), " until the backup was recovered"));
  return cat(facts.to_string(), "\n", brought_tables_text(outcome.tables));
}

}  // namespace

bool restores_tables(const Invocation& invocation) {
  return !invocation.list("table").empty() || invocation.has("database");
}

Result<int> restore_tables(const Invocation& invocation, const ops::RestoreOptions& restore,
                           const std::string& usual) {
  ops::TableRestoreOptions options;
  TRY_ASSIGN(options.scratch, scratch_for(invocation, restore));
  TRY_ASSIGN(ops::GivenTables given,
             ops::read_given_tables(invocation.list("table"), invocation.text("database"), usual));
  options.tables = std::move(given.tables);
  options.database = std::move(given.database);
  options.destination = invocation.conninfo();
  options.into_database = invocation.text("into-database").value_or("");
  options.schema = invocation.text("schema").value_or("");
  if (options.tables.empty() && (!options.schema.empty() || invocation.flag("merge"))) {
    return make_error(ErrorKind::usage, options.schema.empty() ? "--merge" : "--schema", "goes with --table");
  }
  if (invocation.flag("merge")) options.merge = ops::TableMerge::missing_rows;
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::TableRestoreOutcome outcome, ops::restore_tables(options, reporter, invocation.stop()));
  for (const std::string& note : outcome.notes) invocation.output().note(LogLevel::warning, note);
  invocation.output().text(to_text(outcome));
  invocation.output().document(to_json_text(to_json(outcome)));
  return 0;
}

}  // namespace lifeboat::app
