// What implements the plan: settings of the server, the configuration with its schedule, and the steps in
// their order.
#include <algorithm>
#include <cmath>

#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

// TOML's basic strings (toml.io, "String"): these characters are escaped.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string list(std::initializer_list<std::string_view> words) {
  std::vector<std::string> parts;
  for (std::string_view word : words) parts.push_back(quoted(word));
  return cat("[", join(parts, ", "), "]");
}

// "0.0036": parts of a cent count.
std::string price_text(double price) {
  std::string text = std::to_string(price);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}

void set(Planning& planning, std::string_view below, std::string key, std::string value) {
  planning.plan.configuration.push_back(
      {cat("cluster.", planning.plan.cluster, below.empty() ? "" : ".", below), std::move(key),
       std::move(value)});
}

bool differs(const Planning& planning, const std::string& name, std::string_view wanted) {
  return planning.setting(name) != wanted;
}

void want(Planning& planning, std::string name, std::string value, std::string reason, bool restart = false) {
  if (planning.facts.server && !differs(planning, name, value)) return;
  std::string now = planning.setting(name);
  planning.plan.settings.push_back(
      {std::move(name), std::move(value), std::move(now), std::move(reason), restart});
}

void settings_of(Planning& planning) {
  Plan& plan = planning.plan;
  if (!planning.physical()) return;
  if (planning.setting("wal_level") != "logical")
    want(planning, "wal_level", "replica", "WAL that recovery and standbys can use", true);
  if (planning.setting("archive_mode") != "always")
    want(planning, "archive_mode", "on", "every segment is stored when it is finished", true);
  want(planning, "full_page_writes", "on", "without it a torn page cannot be recovered");
  if (plan.method == Method::archiving)
    want(planning, "archive_timeout", number_text(plan.rpo.terms.front().seconds),
         cat("bounds what is lost on a quiet server: ", number_text(plan.rpo.terms.front().seconds), " s + ",
             number_text(planning.archive_lag_seconds()), " s is within the RPO"));
  if (plan.method != Method::synchronous) return;
  std::string standby = "standby1";
  if (planning.facts.server)
    for (const KnownStandby& one : planning.facts.server->standbys)
      if (!one.receiver) standby = one.name;
  want(planning, "synchronous_standby_names", cat("ANY 1 (lifeboat, ", sql_identifier(standby), ")"),
       "a commit waits for one of them, and either may be away");
  want(planning, "synchronous_commit", "on", "remote_apply would wait for a receiver that applies nothing");
}

void signals_of(Planning& planning) {
  const Plan& plan = planning.plan;
  const double every = plan.cadence.every_seconds;
  if (planning.physical() && every < kDay) {
    set(planning, "signals.backup_age", "warning", quoted(duration_text(every + 2 * kHour)));
    set(planning, "signals.backup_age", "critical", quoted(duration_text(2 * every + 2 * kHour)));
  }
  const double rpo = plan.requirements.rpo_seconds;
  if (planning.physical() && rpo >= 10) {
    set(planning, "signals.wal_archive_lag", "warning", quoted(duration_text(rpo / 2)));
    set(planning, "signals.wal_archive_lag", "critical", quoted(duration_text(rpo)));
  }
}

void schedule_of(Planning& planning) {
  const Plan& plan = planning.plan;
  const std::string_view where = "schedule";
  if (planning.physical()) set(planning, where, "backup", quoted(plan.cadence.cron));
  if (!plan.dump_cron.empty()) set(planning, where, "dump", list({plan.dump_cron, "dump", "create"}));
  if (plan.retention.expires) set(planning, where, "expire", quoted("45 4 * * *"));
  set(planning, where, "verify", quoted("0 5 * * 0"));
  if (!planning.physical()) {
    set(planning, where, "drill", list({"0 7 * * 0", "drill", "--dump", "latest"}));
    return;
  }
  const bool full = plan.rto.path == "restore";
  set(planning, where, "drill",
      full ? list({"0 7 * * 0", "drill", "--target", "latest", "--full"})
           : list({"0 7 * * 0", "drill", "--target", "latest"}));
  set(planning, where, "pitr-drill", list({"0 9 1 1,4,7,10 *", "drill", "--random-target"}));
}

void configuration_of(Planning& planning) {
  const Plan& plan = planning.plan;
  const Requirements& demands = planning.demands;
  std::string url = demands.storage.url;
  if (planning.facts.repository && !planning.facts.repository->url.empty())
    url = planning.facts.repository->url;
  if (url.starts_with('/')) url = cat("file://", url);
  if (!url.empty()) set(planning, "", "repo", quoted(url));
  set(planning, "", "owner", quoted(demands.owner));
  set(planning, "", "rto", quoted(duration_text(demands.rto_seconds)));
  set(planning, "", "rpo", quoted(duration_text(demands.rpo_seconds)));
  if (demands.compliance_days)
    set(planning, "", "compliance-days", number_text(std::ceil(*demands.compliance_days)));
  if (demands.storage.price_per_gb_month)
    set(planning, "", "storage-price",
        quoted(trim(cat(price_text(*demands.storage.price_per_gb_month), " ", demands.storage.currency))));
  if (!demands.storage.storage_class.empty())
    set(planning, "", "storage-class", quoted(demands.storage.storage_class));
  if (!plan.retention.expires) set(planning, "", "legal-hold", "true");
  if (plan.retention.expires) {
    if (plan.retention.pitr_days) set(planning, "", "pitr-days", number_text(*plan.retention.pitr_days));
    set(planning, "", planning.physical() ? "keep-days" : "dump-keep-days",
        number_text(plan.retention.keep_days));
    if (plan.retention.dump_days) set(planning, "", "dump-keep-days", number_text(*plan.retention.dump_days));
  }
  set(planning, "serve", "archive",
      plan.method == Method::archiving ? "true"
      : planning.physical()            ? "true"
                                       : "false");
  if (plan.method == Method::streaming) set(planning, "serve", "receive", "true");
  if (plan.method == Method::synchronous) set(planning, "serve", "receive", list({"--synchronous"}));
  schedule_of(planning);
  signals_of(planning);
}

void steps_of(Planning& planning) {
  Plan& plan = planning.plan;
  std::vector<std::string>& steps = plan.steps;
  if (!planning.facts.repository || planning.facts.repository->backups == 0)
    steps.emplace_back(
        planning.physical()
            ? "lifeboat init --apply: the repository with --key-file, and the server's settings"
            : "lifeboat init: the repository, with --key-file");
  if (plan.requirements.substrate == Substrate::operated)
    steps.emplace_back(
        "the settings go through the operator, which owns the server's configuration and would take "
        "ALTER SYSTEM back; topology and failover stay the operator's");
  if (!plan.settings.empty())
    steps.emplace_back("set what is listed under settings; those that need a restart wait for one");
  steps.emplace_back(
      "lifeboat plan --apply: the configuration and its schedule, after showing the difference");
  steps.emplace_back("lifeboat serve: the daemon that runs the schedule");
  steps.emplace_back(planning.physical()
                         ? "lifeboat backup, lifeboat verify, lifeboat drill: the first evidence"
                         : "lifeboat dump create, lifeboat drill --dump latest: the first evidence");
  steps.emplace_back("lifeboat plan again: rates, RPO and RTO then come from drills");
  if (planning.physical())
    steps.emplace_back(
        "gates for pipelines: lifeboat verify --gate backup_verified, recovery_tested, rpo_rto_met");
  steps.emplace_back(
      "failover: rehearsed every quarter by who owns the topology; this plan does not design it");
}

}  // namespace

void implement(Planning& planning) {
  settings_of(planning);
  configuration_of(planning);
  steps_of(planning);
}

}  // namespace lifeboat::ready
