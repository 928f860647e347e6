// lifeboat wal beacon: a message in WAL that says when it was written.
#include "ops/wal/beacon.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Result<int> handle(const Invocation& invocation) {
  ops::BeaconRequest request;
  TRY_ASSIGN(request.where, repo_location(invocation));
  request.conninfo = invocation.conninfo();
  request.every_us = invocation.duration_us("every").value_or(0);
  TRY_ASSIGN(ops::BeaconOutcome outcome, ops::write_beacons(request, invocation.clock(), invocation.stop()));
  Facts facts;
  facts.add("written", counted(outcome.written, "beacon"));
  if (outcome.written != 0) facts.add("lsn", outcome.last.to_string());
  invocation.output().text(facts.to_string());
  invocation.output().document(
      to_json_text(Json{{"written", outcome.written},
                        {"lsn", outcome.written == 0 ? Json(nullptr) : Json(outcome.last.to_string())}}));
  return 0;
}

constexpr Option kBeaconOptions[] = {
    {.name = "every",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "go on until stopped (Ctrl-C, SIGTERM), with one every so often",
     .min = 100'000},
};
constinit const OptionGroup kBeaconGroup = {"Beacon", kBeaconOptions};

}  // namespace

extern const Command kWalBeaconCommand;
constinit const Command kWalBeaconCommand = {
    .path = "wal beacon",
    .summary = "write a small message into the server's WAL, by which a drill measures RPO",
    .description =
        "Writes a transactional logical message of about 100 bytes (pg_logical_emit_message: no table, no "
        "extension) that says when it was written. The newest one that a drill brings back says how old the "
        "state is that was reached, without access to the server that was lost.\n\n"
        "The daemon runs this for clusters with `beacon` in [cluster.NAME.serve]. With --every a server in "
        "recovery is waited for until it is promoted.",
    .danger = Danger::write,
    .groups = {&kBeaconGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat wal beacon --every 1min --repo /srv/backup --pg host=/run/postgresql",
    .schema = R"({
  "type": "object",
  "required": ["written", "lsn"],
  "properties": {
    "written": {"type": "integer"},
    "lsn": {"type": ["string", "null"], "description": "just past the newest"}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
