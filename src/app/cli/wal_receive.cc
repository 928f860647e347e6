// lifeboat wal receive: streaming WAL through a replication slot.
#include "ops/wal/receive.h"

#include <nlohmann/json.hpp>

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

Json to_json(const ops::ReceiveOutcome& outcome) {
  Json holes = Json::array();
  for (const ops::ReceiveHole& hole : outcome.holes) {
    holes.push_back({{"timeline", hole.timeline.value},
                     {"from_lsn", hole.from.to_string()},
                     {"to_lsn", hole.to.to_string()}});
  }
  return {{"lineage", outcome.lineage.to_string()},
          {"slot", outcome.slot},
          {"timeline", outcome.timeline.value},
          {"durable_lsn", outcome.durable.to_string()},
          {"received_bytes", outcome.bytes},
          {"connections", outcome.connections},
          {"segments", outcome.kept.segments},
          {"tails", outcome.kept.pieces},
          {"merged_tails", outcome.kept.merged},
          {"store_failures", outcome.kept.failures},
          {"holes", holes}};
}

std::string to_text(const ops::ReceiveOutcome& outcome) {
  Facts facts;
  facts.add("slot", outcome.slot);
  facts.add("received", format_bytes(outcome.bytes));
  facts.add("stored",
            cat(counted(outcome.kept.segments, "segment"), ", ", counted(outcome.kept.pieces, "tail")));
  facts.add("durable", cat(outcome.durable.to_string(), " of timeline ", outcome.timeline.value));
  for (const ops::ReceiveHole& hole : outcome.holes) {
    facts.add("hole",
              cat(hole.from.to_string(), " to ", hole.to.to_string(), " of timeline ", hole.timeline.value));
  }
  return facts.to_string();
}

Result<int> handle(const Invocation& invocation) {
  ops::ReceiveOptions options;
  TRY_ASSIGN(options.repo, repo_location(invocation));
  // The store is waited for as long as it takes, in one place (ops/wal/wal_keeper.h).
  options.repo.patience = {};
  options.conninfo = invocation.conninfo();
  options.slot = invocation.text("slot").value_or("");
  options.keep.interval_us = invocation.duration_us("interval").value_or(options.keep.interval_us);
  options.keep.at_once = invocation.flag("synchronous");
  options.allow_standby = invocation.flag("allow-standby");
  options.until = invocation.lsn("until-lsn");
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::ReceiveOutcome outcome, ops::receive_wal(options, reporter, invocation.stop()));
  invocation.output().text(to_text(outcome));
  invocation.output().document(to_json_text(to_json(outcome)));
  return 0;
}

constexpr Option kReceiveOptions[] = {
    {.name = "slot",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "replication slot, made when it is not there (default: lifeboat_ and the cluster's name)",
     .section = ConfigSection::cluster},
    {.name = "interval",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help =
         "the longest that received WAL waits before it is stored; nothing is stored while nothing new comes",
     .default_text = "1s",
     .min = 10'000,
     .max = 3'600'000'000,
     .section = ConfigSection::cluster},
    {.name = "synchronous",
     .help = "store WAL as it arrives, so that the receiver can be named in synchronous_standby_names",
     .section = ConfigSection::cluster},
    {.name = "allow-standby",
     .help = "receive from a server that is in recovery too",
     .section = ConfigSection::cluster},
    {.name = "until-lsn",
     .kind = ValueKind::lsn,
     .placeholder = "LSN",
     .help = "end when everything before this position is stored"},
};
constinit const OptionGroup kReceiveGroup = {"Receive", kReceiveOptions};

}  // namespace

extern const Command kWalReceiveCommand;
constinit const Command kWalReceiveCommand = {
    .path = "wal receive",
    .summary = "stream WAL from the server into the repository",
    .description =
        "Receives WAL through a replication slot, as it is written, until it is told to stop (Ctrl-C, "
        "SIGTERM). "
        "Whole segments are stored as wal push stores them, and both may run at once. What has been written "
        "of "
        "the segment at hand is stored at short intervals, and restores use it without being asked: when "
        "the server is lost, the loss is a second or two. It needs a role with REPLICATION, an entry for "
        "replication in pg_hba.conf, and neither the data directory nor archive_mode.\n\n"
        "The server is told that WAL is flushed when it is durable in the repository, and keeps it until "
        "then: "
        "while the repository is away pg_wal grows there (max_slot_wal_keep_size limits that; what the "
        "server "
        "then removes is reported as a hole). With --synchronous WAL is stored as it arrives. "
        "A server with synchronous_standby_names = 'lifeboat' then answers a commit when it is in the "
        "repository: nothing that was acknowledged can be lost with the server. Another name is given as "
        "application_name in --pg. Do not use synchronous_commit = remote_apply: nothing is applied here, "
        "and "
        "commits would wait for ever.\n\n"
        "After a promotion the old timeline is received to its end and the new one followed. With several "
        "hosts in --pg the one that accepts writes is received from. A lost connection, a server that "
        "is away and a repository that is away are tried again for ever. Another cluster, WAL that differs "
        "from "
        "what is stored, and a server that is behind what is stored end it.\n\n"
        "Memory: twice the server's wal_segment_size, and little more.",
    .danger = Danger::write,
    .groups = {&kReceiveGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# beside archive_command, for the last seconds\n"
        "lifeboat wal receive --repo /srv/backup --pg 'host=db1 user=lifeboat'\n"
        "# two hosts of which one is the primary; commits wait for the repository\n"
        "lifeboat wal receive --repo /srv/backup --pg 'host=db1,db2 user=lifeboat' --synchronous",
    .exit_notes = "0: stopped by a signal or at --until-lsn, and everything that was received is stored.",
    .schema = R"({
  "type": "object",
  "required": ["lineage", "slot", "timeline", "durable_lsn", "received_bytes", "connections", "segments", "tails", "holes"],
  "properties": {
    "lineage": {"type": "string", "description": "system identifier and major version"},
    "slot": {"type": "string"},
    "timeline": {"type": "integer", "description": "that was received last"},
    "durable_lsn": {"type": "string", "description": "everything before is stored"},
    "received_bytes": {"type": "integer"},
    "connections": {"type": "integer"},
    "segments": {"type": "integer", "description": "stored whole"},
    "tails": {"type": "integer", "description": "pieces of tails that were stored"},
    "merged_tails": {"type": "integer"},
    "store_failures": {"type": "integer"},
    "holes": {"type": "array", "description": "WAL that the server had removed", "items": {"type": "object", "properties": {"timeline": {"type": "integer"}, "from_lsn": {"type": "string"}, "to_lsn": {"type": "string"}}}}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
