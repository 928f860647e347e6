// lifeboat wal check: a marker goes through the server into WAL and is waited for in the repository.
#include "ops/wal/check.h"

#include <nlohmann/json.hpp>

#include "app/cli/findings.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

std::string to_text(const ops::WalCheck& check) {
  if (!check.arrived) return findings_help(check.findings);
  Facts facts;
  facts.add("marker", check.lsn.to_string());
  facts.add("segment", check.segment);
  facts.add("arrived", cat("after ", format_seconds(check.seconds)));
  facts.add("verified", cat("after ", format_seconds(check.seconds + check.verified_seconds)));
  return facts.to_string();
}

Result<int> handle(const Invocation& invocation) {
  ops::WalCheckRequest request;
  TRY_ASSIGN(request.where, repo_location(invocation));
  request.conninfo = invocation.conninfo();
  request.pgdata = invocation.pgdata();
  request.config_path = invocation.config_path();
  request.pg_bin = invocation.pg_bin().value_or("");
  request.timeout_us = invocation.duration_us("timeout").value_or(request.timeout_us);
  if (invocation.flag("no-switch")) request.segment_switch = ops::SegmentSwitch::leave;
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::WalCheck check, ops::check_wal(request, reporter, invocation.stop()));
  invocation.output().text(to_text(check));
  invocation.output().document(to_json_text(Json{{"arrived", check.arrived},
                                                 {"lsn", check.lsn.to_string()},
                                                 {"segment", check.segment},
                                                 {"seconds", check.seconds},
                                                 {"verified_seconds", check.verified_seconds},
                                                 {"findings", findings_json(check.findings)}}));
  if (check.failure) return *std::move(check.failure);
  return 0;
}

constexpr Option kCheckOptions[] = {
    {.name = "timeout",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "how long to wait for the marker to arrive",
     .default_text = "60s",
     .min = 0},
    {.name = "no-switch",
     .help = "do not end the WAL segment: wait until it fills, or until archive_timeout ends it"},
};
constinit const OptionGroup kCheckGroup = {"Check", kCheckOptions};

}  // namespace

extern const Command kWalCheckCommand;
constinit const Command kWalCheckCommand = {
    .path = "wal check",
    .summary = "send a marker through the server's WAL and wait until it has arrived",
    .description =
        "Writes a small logical message into the server's WAL (no table is needed and nothing stays behind), "
        "ends the WAL segment, waits until the segment is in the repository, reads it back and finds the "
        "message and its commit there. So the whole way was used: server, archiver or receiver, repository, "
        "key.\n\n"
        "When it does not arrive, the cause is told as doctor finds it, with its fix.",
    .danger = Danger::write,
    .groups = {&kCheckGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "lifeboat wal check --repo /srv/backup --pg host=/run/postgresql --pgdata "
        "/var/lib/postgresql/15/main\n"
        "# for a monitoring system\n"
        "lifeboat wal check --timeout 20s --output json",
    .exit_notes =
        "0: it arrived and was read back. 9: it did not arrive in time. 5: another content is stored under "
        "the segment's name. 10: what is stored is not what was written.",
    .schema = R"({
  "type": "object",
  "required": ["arrived", "lsn", "segment", "seconds", "findings"],
  "properties": {
    "arrived": {"type": "boolean", "description": "and was read back"},
    "lsn": {"type": "string", "description": "just past the marker"},
    "segment": {"type": "string"},
    "seconds": {"type": "number", "description": "from the marker's commit until its segment was in the repository, or until it was given up"},
    "verified_seconds": {"type": "number", "description": "more, until it was found there"},
    "findings": {"type": "array", "description": "what doctor finds critical, when it failed", "items": )" LIFEBOAT_FINDING_SCHEMA
              R"(}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
