// lifeboat expire: retention, shown before it is done.
#include "ops/expire/expire.h"

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

Json decisions_json(const std::vector<repo::BackupDecision>& decisions) {
  Json list = Json::array();
  for (const auto& decision : decisions)
    list.push_back({{"id", decision.id.text}, {"reason", decision.reason}});
  return list;
}

Json wal_json(const std::vector<repo::WalDecision>& decisions) {
  Json list = Json::array();
  for (const auto& decision : decisions) {
    list.push_back({{"from", decision.range.from.to_string()},
                    {"before", decision.range.end.to_string()},
                    {"reason", decision.reason}});
  }
  return list;
}

Json plan_json(const repo::ExpirePlan& plan) {
  Json waiting = Json::array();
  for (const repo::Tombstone& tombstone : plan.unripe) {
    waiting.push_back({{"id", tombstone.id},
                       {"condemned", json_time(tombstone.created)},
                       {"deleted_after", json_time(tombstone.created.plus_us(tombstone.grace_us))},
                       {"backups", ids_json(tombstone.backups)}});
  }
  return {{"expire", decisions_json(plan.retention.expire)},
          {"keep", decisions_json(plan.retention.keep)},
          {"remove_wal", wal_json(plan.retention.remove_wal)},
          {"dead_attempts", ids_json(plan.tombstone.attempts)},
          {"waiting_for_grace", waiting},
          {"spared_by_lease", ids_json(plan.spared)},
          {"deletions", plan.deletions.size()},
          {"bytes", plan.bytes}};
}

std::string plan_text(const repo::ExpirePlan& plan, int64_t grace_us) {
  std::string text;
  Table table({{"backup"}, {"decision"}, {"why"}});
  for (const auto& decision : plan.retention.expire)
    table.add({decision.id.text, "expires", decision.reason});
  for (const auto& decision : plan.retention.keep) table.add({decision.id.text, "kept", decision.reason});
  for (const BackupId& id : plan.tombstone.attempts)
    table.add({id.text, "removed", "an attempt that never completed"});
  if (!table.empty()) text += table.to_string();
  for (const auto& decision : plan.retention.remove_wal) {
    text += cat("WAL from ", decision.range.from.to_string(), " to before ", decision.range.end.to_string(),
                " expires: ", decision.reason, "\n");
  }
  for (const repo::Tombstone& tombstone : plan.unripe) {
    text += cat(
        "condemned ", tombstone.created.to_string(), ", deleted by the first run after ",
        tombstone.created.plus_us(tombstone.grace_us).to_string(), ": ",
        counted(tombstone.backups.size(), "backup"), ", ", counted(tombstone.wal.size(), "range"), " of WAL",
        tombstone.grace_us == grace_us ? "" : " (it keeps the grace of the run that condemned it)", "\n");
  }
  for (const BackupId& id : plan.spared) {
    text += cat("backup ", id.text, " is being read and is deleted by a later run\n");
  }
  if (!plan.ripe.empty()) {
    text += cat("what was condemned longer ago than its grace is deleted now: ",
                counted(plan.deletions.size(), "object"), ", ", format_bytes(plan.bytes), "\n");
  }
  bool condemns = !plan.retention.expire.empty() || !plan.retention.remove_wal.empty();
  if (condemns && grace_us > 0) {
    text += cat("What expires now is deleted by the first run after a grace of ",
                format_seconds(static_cast<double>(grace_us) / 1e6), ".\n");
  }
  return text;
}

std::optional<double> days(const Invocation& invocation, std::string_view name) {
  auto value = invocation.integer(name);
  if (!value) return std::nullopt;
  return static_cast<double>(*value);
}

Result<std::optional<Lineage>> lineage_option(const Invocation& invocation) {
  auto text = invocation.text("lineage");
  if (!text) return std::optional<Lineage>();
  auto lineage = Lineage::parse(*text);
  if (!lineage) {
    return make_error(ErrorKind::usage, cat("--lineage ", *text), "not a lineage")
        .with_hint(
            "a lineage is a system identifier, a dash and a major version, as lifeboat list prints them");
  }
  return lineage;
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  ops::ExpireRequest request;
  if (auto count = invocation.integer("keep-count"))
    request.policy.keep_count = static_cast<uint32_t>(*count);
  request.policy.keep_days = days(invocation, "keep-days");
  request.policy.pitr_days = days(invocation, "pitr-days");
  request.grace_us = *invocation.duration_us("grace");
  request.stop = &invocation.stop();
  TRY_ASSIGN(auto lineage, lineage_option(invocation));
  bool dry_run = invocation.flag("dry-run");

  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::PlannedExpiry planned, ops::plan_expire(repository, where.cluster, lineage, request));

  Json json = {{"cluster", where.cluster},
               {"lineage", planned.lineage.record.lineage.to_string()},
               {"policy",
                {{"keep_count", request.policy.keep_count ? Json(*request.policy.keep_count) : Json(nullptr)},
                 {"keep_days", request.policy.keep_days ? Json(*request.policy.keep_days) : Json(nullptr)},
                 {"pitr_days", request.policy.pitr_days ? Json(*request.policy.pitr_days) : Json(nullptr)}}},
               {"plan", plan_json(planned.plan)},
               {"carried_out", false}};
  std::string text;
  if (planned.lineage.others > 0) {
    text += cat("lineage ", planned.lineage.record.lineage.to_string(), " (one of ",
                planned.lineage.others + 1, "; --lineage chooses)\n");
  }
  if (request.policy.empty()) {
    text += "no policy was given (--keep-count, --keep-days, --pitr-days): no backup and no WAL expires\n";
  }
  text += plan_text(planned.plan, request.grace_us);
  if (planned.plan.tombstone.empty() && planned.plan.ripe.empty()) text += "nothing expires now\n";
  invocation.output().text(text);
  invocation.output().document(to_json_text(json));
  // Records of leases that are over go along; alone they are nothing to ask about.
  bool holds_data = !planned.plan.tombstone.empty() || !planned.plan.ripe.empty();
  if (dry_run || planned.plan.nothing_to_do()) return 0;
  if (!holds_data && request.policy.empty()) return 0;
  if (holds_data) TRY(invocation.confirm("Expire and delete what is listed above?"));
  TRY_ASSIGN(repo::ExpirePlan done, ops::carry_out_expire(planned));
  invocation.output().text(cat("done: ", counted(done.retention.expire.size(), "backup"), " condemned, ",
                               counted(done.deletions.size(), "object"), " deleted, ",
                               format_bytes(done.bytes), " freed\n"));
  json["carried_out"] = true;
  json["done"] = plan_json(done);
  invocation.output().document(to_json_text(json));
  return 0;
}

constexpr Option kExpireOptions[] = {
    {.name = "keep-count",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "keep the newest N backups",
     .min = 1,
     .max = 1'000'000,
     .section = ConfigSection::cluster},
    {.name = "keep-days",
     .kind = ValueKind::integer,
     .placeholder = "DAYS",
     .help = "keep backups of the last DAYS days",
     .min = 1,
     .max = 36500,
     .section = ConfigSection::cluster},
    {.name = "pitr-days",
     .kind = ValueKind::integer,
     .placeholder = "DAYS",
     .help = "keep what recovery to any moment of the last DAYS days needs: backups and all WAL",
     .min = 1,
     .max = 36500,
     .section = ConfigSection::cluster},
    {.name = "grace",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "how long what this run condemns stays readable for who may be using it; 0 deletes it at once "
             "and is safe "
             "only when nobody else uses the repository; what an earlier run condemned keeps its own grace",
     .default_text = "1h",
     .min = 0,
     .section = ConfigSection::cluster},
    {.name = "lineage",
     .kind = ValueKind::text,
     .placeholder = "LINEAGE",
     .help = "the lineage to act in (default: the newest)"},
    {.name = "dry-run", .help = "print the plan and stop"},
};
constinit const OptionGroup kExpireGroup = {"Retention", kExpireOptions};

}  // namespace

extern const Command kExpireCommand;
constinit const Command kExpireCommand = {
    .path = "expire",
    .summary = "expire backups and WAL by a retention policy",
    .description =
        "Prints what each rule keeps, what expires and why, and carries it out after consent. A backup is "
        "kept "
        "when any rule keeps it; without a rule nothing expires. The newest complete backup, the newest "
        "verified "
        "one and what somebody is reading always stay. WAL lives as long as a kept backup needs it.\n\n"
        "Works in two steps: what expires is condemned now, and deleted by the first run after the grace, so "
        "that a backup, restore or drill under way is never robbed of what it refers to. Run it on a "
        "schedule. "
        "Backups never depend on each other: expiring one breaks none.",
    .danger = Danger::destructive,
    .groups = {&kExpireGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# what would go\n"
        "lifeboat expire --repo /srv/backup --pitr-days 30 --keep-count 4 --dry-run\n"
        "# on a schedule\n"
        "lifeboat expire --repo /srv/backup --pitr-days 30 --keep-count 4 --yes",
    .exit_notes = "21: the plan was printed and not carried out, because nobody confirmed it.",
    .schema = R"({
  "type": "object",
  "properties": {
    "cluster": {"type": "string"},
    "lineage": {"type": "string"},
    "policy": {"type": "object"},
    "carried_out": {"type": "boolean"},
    "plan": {"type": "object", "properties": {
      "expire": {"type": "array", "items": {"type": "object", "required": ["id", "reason"]}},
      "keep": {"type": "array", "items": {"type": "object", "required": ["id", "reason"]}},
      "remove_wal": {"type": "array", "items": {"type": "object"}},
      "dead_attempts": {"type": "array", "items": {"type": "string"}},
      "waiting_for_grace": {"type": "array", "items": {"type": "object"}},
      "spared_by_lease": {"type": "array", "items": {"type": "string"}},
      "deletions": {"type": "integer", "description": "objects"},
      "bytes": {"type": "integer", "description": "of the deletions"}
    }},
    "done": {"type": "object", "description": "as plan: what was carried out"}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
