// lifeboat expire: retention, shown before it is done.
#include "ops/expire/expire.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/retention.h"
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

// `one`: "backup" or "dump".
std::string plan_text(const repo::ExpirePlan& plan, int64_t grace_us, std::string_view one) {
  std::string text;
  Table table({{one}, {"decision"}, {"why"}});
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
    text +=
        cat("condemned ", tombstone.created.to_string(), ", deleted by the first run after ",
            tombstone.created.plus_us(tombstone.grace_us).to_string(), ": ",
            counted(tombstone.backups.size(), one), ", ", counted(tombstone.wal.size(), "range"), " of WAL",
            tombstone.grace_us == grace_us ? "" : " (it keeps the grace of the run that condemned it)", "\n");
  }
  for (const BackupId& id : plan.spared) {
    text += cat(one, " ", id.text, " is being read and is deleted by a later run\n");
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

Json policy_json(const repo::RetentionPolicy& policy) {
  return {{"keep_count", policy.keep_count ? Json(*policy.keep_count) : Json(nullptr)},
          {"keep_days", policy.keep_days ? Json(*policy.keep_days) : Json(nullptr)},
          {"pitr_days", policy.pitr_days ? Json(*policy.pitr_days) : Json(nullptr)}};
}

bool condemns_or_deletes(const repo::ExpirePlan& plan) {
  return !plan.tombstone.empty() || !plan.ripe.empty();
}

Result<Json> carry_out(const Invocation& invocation, const ops::PlannedExpiry& planned,
                       std::string_view one) {
  if (planned.plan.nothing_to_do()) return Json(nullptr);
  TRY_ASSIGN(repo::ExpirePlan done, ops::carry_out_expire(planned));
  invocation.output().text(cat("done: ", counted(done.retention.expire.size(), one), " condemned, ",
                               counted(done.deletions.size(), "object"), " deleted, ",
                               format_bytes(done.bytes), " freed\n"));
  return plan_json(done);
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  ops::ExpireRequest request;
  const RetentionRules rules = read_retention(invocation);
  request.policy = rules.backups;
  request.dumps = rules.dumps;
  request.grace_us = *invocation.duration_us("grace");
  request.stop = &invocation.stop();
  TRY_ASSIGN(auto lineage, lineage_option(invocation));
  bool dry_run = invocation.flag("dry-run");

  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::PlannedExpiry planned, ops::plan_expire(repository, where.cluster, lineage, request));

  TRY_ASSIGN(ops::PlannedExpiry dumps,
             ops::plan_expire(repository, where.cluster, lineage, request, ops::Expiring::dumps));

  Json json = {{"cluster", where.cluster},
               {"lineage", planned.lineage.record.lineage.to_string()},
               {"policy", policy_json(request.policy)},
               {"plan", plan_json(planned.plan)},
               {"dump_policy", policy_json(request.dumps)},
               {"dump_plan", plan_json(dumps.plan)},
               {"legal_hold", rules.legal_hold},
               {"carried_out", false}};
  std::string text;
  if (planned.lineage.others > 0) {
    text += cat("lineage ", planned.lineage.record.lineage.to_string(), " (one of ",
                planned.lineage.others + 1, "; --lineage chooses)\n");
  }
  if (request.policy.empty()) {
    text += "no policy was given (--keep-count, --keep-days, --pitr-days): no backup and no WAL expires\n";
  }
  // A scheduled run that is told to wait has not failed.
  if (rules.legal_hold) text += "legal hold: none of this is carried out until legal-hold is lifted\n";
  text += plan_text(planned.plan, request.grace_us, "backup");
  text += plan_text(dumps.plan, request.grace_us, "dump");
  const bool holds_data = condemns_or_deletes(planned.plan) || condemns_or_deletes(dumps.plan);
  if (!holds_data) text += "nothing expires now\n";
  invocation.output().text(text);
  invocation.output().document(to_json_text(json));
  // Records of leases that are over go along; alone they are nothing to ask about.
  const bool nothing = planned.plan.nothing_to_do() && dumps.plan.nothing_to_do();
  if (nothing || rules.legal_hold) return 0;
  const auto& known = planned.plan.retention;
  Status allowed = check_compliance(rules, !known.keep.empty() || !known.expire.empty());
  if (!allowed && !dry_run) return std::move(allowed).error();
  if (!allowed) invocation.output().note(LogLevel::warning, allowed.error().to_string());
  if (dry_run) return 0;
  if (!holds_data && request.policy.empty() && request.dumps.empty()) return 0;
  if (holds_data) TRY(invocation.confirm("Expire and delete what is listed above?"));
  TRY_ASSIGN(json["done"], carry_out(invocation, planned, "backup"));
  TRY_ASSIGN(json["dump_done"], carry_out(invocation, dumps, "dump"));
  json["carried_out"] = true;
  invocation.output().document(to_json_text(json));
  return 0;
}

constexpr Option kExpireOptions[] = {
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
constinit const OptionGroup kExpireGroup = {"Expire", kExpireOptions};

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
        "one and what somebody is reading always stay. WAL lives as long as a kept backup needs it. Dumps "
        "have rules "
        "of their own (--dump-keep-count, --dump-keep-days), of the same kind.\n\n"
        "Works in two steps: what expires is condemned now, and deleted by the first run after the grace, so "
        "that a backup, restore or drill under way is never robbed of what it refers to. Run it on a "
        "schedule. "
        "Backups never depend on each other: expiring one breaks none. A backup in which verify or a drill "
        "found damage takes no place among those that --keep-count keeps.\n\n"
        "Rules that keep backups for less than --compliance-days are refused. While --legal-hold stands, "
        "best "
        "as legal-hold = true in [cluster.NAME], nothing expires, whoever asks for it.",
    .danger = Danger::destructive,
    .groups = {&kRetentionOptions, &kExpireGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
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
    "legal_hold": {"type": "boolean", "description": "nothing is carried out"},
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
    "done": {"type": ["object", "null"], "description": "as plan: what was carried out"},
    "dump_policy": {"type": "object"},
    "dump_plan": {"type": "object", "description": "as plan, of dumps"},
    "dump_done": {"type": ["object", "null"]}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
