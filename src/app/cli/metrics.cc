// lifeboat metrics: the signals in Prometheus' text format.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/options.h"
#include "app/output.h"
#include "app/readings.h"
#include "app/render.h"
#include "app/run.h"
#include "ready/metrics/exposition.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr mode_t kFileMode = 0644;  // node_exporter is another user

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ready::SignalReport report, read_signals(invocation, Owners::wanted, Readers::watching));
  ready::Exposition exposition;
  ready::add_build(exposition, kVersion);
  ready::add_report(exposition, report, ready::Freshness::fresh);
  const std::string text = exposition.to_string();
  auto to = invocation.text("to");
  if (to)
    TRY(write_file_durable(*to, as_bytes(text), kFileMode));
  else
    invocation.output().text(text);
  invocation.output().document(to_json_text(Json{{"cluster", report.cluster},
                                                 {"file", to ? Json(*to) : Json(nullptr)},
                                                 {"bytes", text.size()},
                                                 {"metrics", to ? Json(nullptr) : Json(text)}}));
  return 0;
}

constexpr Option kOwn[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "write into this file, whole or not at all, instead of standard output"},
};
constinit const OptionGroup kGroup = {"Metrics", kOwn};

}  // namespace

extern const Command kMetricsCommand;
constinit const Command kMetricsCommand = {
    .path = "metrics",
    .summary = "the signals in Prometheus' text format",
    .description =
        "Reads the signals of `status` and prints them as metrics: of each its value, its second measure in "
        "bytes where "
        "it has one, its status (0 ok, 1 warning, 2 critical, 3 unknown) and its thresholds. With --to for "
        "the textfile "
        "collector of node_exporter, from cron. The daemon offers the same by HTTP, with metrics of its own "
        "beside them: "
        "`metrics = \"127.0.0.1:9187\"` in [serve].\n\n"
        "`alert rules` makes alerting rules for Prometheus, `alert dashboard` a dashboard for Grafana.",
    .danger = Danger::read,
    .groups = {&kGroup, &kSignalOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat metrics --to /var/lib/prometheus/node-exporter/lifeboat.prom",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "file", "bytes", "metrics"],
  "properties": {
    "cluster": {"type": "string"},
    "file": {"type": ["string", "null"]},
    "bytes": {"type": "integer"},
    "metrics": {"type": ["string", "null"], "description": "the text, when it was not written into a file"}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
