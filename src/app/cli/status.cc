// lifeboat status: is everything that recovery depends on well?
#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/options.h"
#include "app/output.h"
#include "app/readings.h"
#include "app/render.h"
#include "ops/doctor/facts.h"
#include "ready/signals/report_json.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(SignalsRead read, read_signals_and_facts(invocation, Owners::wanted));
  const ready::SignalReport& report = read.report;
  const std::string command = ops::our_command(read.facts.doctor, "COMMAND");
  invocation.output().text(report_text(report));
  if (report.worst() != ready::Rank::fine)
    invocation.output().text(
        cat("\na command of lifeboat that is named above is, in full:\n", command, "\n"));
  auto document = ready::report_json(report);
  document["command"] = command;
  invocation.output().document(to_json_text(document));
  const std::string cluster = cat("cluster ", report.cluster);
  switch (report.worst()) {
    case ready::Rank::fine:
      return 0;
    case ready::Rank::attention:
      return make_error(ErrorKind::attention, cluster,
                        cat("warning: ", join(report.ids(ready::Rank::attention), ", ")));
    case ready::Rank::critical:
      return make_error(ErrorKind::check_failed, cluster,
                        cat("critical: ", join(report.ids(ready::Rank::critical), ", ")));
  }
  return 0;
}

}  // namespace

extern const Command kStatusCommand;
constinit const Command kStatusCommand = {
    .path = "status",
    .summary = "the signals that decide whether recovery will work, with verdict, trend and owner",
    .description =
        "Reads every signal now: age, failures, duration and size of backups; whether and how fast WAL "
        "arrives; "
        "drills; replication; file systems; bloat; transaction ids; connections; keys. Each has thresholds "
        "for "
        "warning and critical, an owner, and what to do first. What cannot be read is `unknown` with the "
        "reason, and "
        "counts as a warning.\n\n"
        "Thresholds and owners stand in the configuration file: `owner` in [cluster.NAME], and `warning`, "
        "`critical`, `owner`, `enabled` in [cluster.NAME.signals.ID]. A signal without an owner is an error "
        "of the "
        "configuration.\n\n"
        "Questions to the server are cheap and limited in time, and need no more than pg_monitor (for bloat "
        "also "
        "pg_read_all_data). Trends come from a small history in the state directory. `alert check` tells "
        "people, "
        "`metrics` tells Prometheus.",
    .danger = Danger::read,
    .groups = {&kSignalOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "lifeboat status --repo /srv/backup --pg host=/run/postgresql --owner dba@example.org\n"
        "# for a monitoring system\n"
        "lifeboat status --output json",
    .exit_notes = "0: all well. 23: warnings or unknown signals. 17: something critical.",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "verdict", "critical", "warnings", "signals"],
  "properties": {
  "command": {"type": "string", "description": "with COMMAND for what an action names, such as doctor"},
)" LIFEBOAT_REPORT_PROPERTIES R"(
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
