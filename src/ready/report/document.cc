// The parts of the report that Markdown and JSON share: gaps, drafts, what evidence says.
#include "ready/report/document.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

std::vector<ReportGap> gaps_of(const std::vector<JudgedItem>& items) {
  std::vector<ReportGap> gaps;
  for (const JudgedItem& item : items) {
    if (item.answer.outcome() != Outcome::fail) continue;
    for (const Missing& missing : item.answer.missing()) {
      // What one command mends is one gap.
      auto known = std::ranges::find(gaps, missing.fix, &ReportGap::fix);
      if (known == gaps.end()) known = gaps.insert(gaps.end(), ReportGap{"", missing.fix, {}});
      if (known->what.find(missing.what) == std::string::npos)
        known->what += cat(known->what.empty() ? "" : "; ", missing.what);
      if (std::ranges::find(known->items, item.info->id) == known->items.end())
        known->items.emplace_back(item.info->id);
    }
  }
  // Nothing of the rest can be told before that is mended.
  std::ranges::stable_partition(
      gaps, [](const ReportGap& gap) { return gap.what.starts_with("the repository cannot be read"); });
  return gaps;
}

const JudgedItem* find(const Readiness& readiness, std::string_view id) {
  auto found =
      std::ranges::find_if(readiness.items, [&](const JudgedItem& item) { return item.info->id == id; });
  return found == readiness.items.end() ? nullptr : &*found;
}

std::string backup_line(const ReportFacts& facts, std::string_view id) {
  for (const repo::Card& card : facts.doctor().repository.backups) {
    if (card.id.text == id)
      return cat(to_string(card.type), " backup, stopped ", card.stopped.to_string(), " at ",
                 card.stop_lsn.to_string(), " on timeline ", card.timeline.value, ", ",
                 format_bytes(card.totals.plain_bytes));
  }
  auto dump = std::ranges::find(facts.dumps, id, &LogicalBackup::id);
  return dump == facts.dumps.end() ? "" : cat("logical backup of ", dump->time.to_string());
}

std::string record_line(const ReportFacts& facts, std::string_view id) {
  auto rehearsal = std::ranges::find(facts.rehearsals, id, &Rehearsal::id);
  if (rehearsal != facts.rehearsals.end())
    return cat(to_string(rehearsal->kind), " of ", rehearsal->time.to_string(), ", backup ",
               rehearsal->backup, ", target ", rehearsal->target, rehearsal->passed ? ", passed" : ", FAILED",
               rehearsal->host.empty() ? "" : cat(", on ", rehearsal->host));
  std::vector<std::string> backups;
  std::optional<ops::BackupProof> record;
  for (const auto& [backup, proofs] : facts.doctor().repository.proofs.backups) {
    for (const auto& proof : {proofs.verified, proofs.drilled}) {
      if (!proof || proof->evidence != id) continue;
      backups.push_back(backup.text);
      record = proof;
    }
  }
  if (!record) return "";
  return cat("proof of ", backups.size() == 1 ? "backup " : "backups ", join(backups, ", "), " to level ",
             to_string(record->level), ", ", record->time.to_string());
}

std::string config_line(const ReportFacts& facts, std::string_view key) {
  const ReportSettings& settings = facts.settings;
  if (key == "rpo") return cat(format_seconds(settings.rpo.value.value_or(0)), ": ", settings.rpo.source);
  if (key == "rto") return cat(format_seconds(settings.rto.value.value_or(0)), ": ", settings.rto.source);
  if (key == "compliance-days")
    return cat(static_cast<int64_t>(settings.compliance_days.value.value_or(0)), ": ",
               settings.compliance_days.source);
  if (key == "pitr-days") return cat(static_cast<int64_t>(settings.retention.pitr_days.value_or(0)), " days");
  if (key == "dump-keep-days")
    return cat(static_cast<int64_t>(settings.dump_retention.keep_days.value_or(0)), " days");
  if (key == "dump-keep-count") return cat(settings.dump_retention.keep_count.value_or(0), " dumps");
  if (key == "key-escrow") return settings.key_escrow;
  if (key == "legal-hold") return settings.legal_hold ? "true" : "";
  if (key == "failover-rehearsed") return settings.failover ? settings.failover->says : "";
  if (key == "decision-record") return settings.decision_record;
  if (key == "repo") return facts.doctor().repository.url;
  if (key == "serve.metrics") return settings.metrics_endpoint;
  const Reading* lag = facts.reading("replication_lag");
  if (key == "signals.replication_lag.standbys" && lag != nullptr)
    return cat(lag->policy.standbys.value_or(0));
  return "";
}

}  // namespace

Readiness judge_readiness(const ReportFacts& facts) {
  Readiness readiness;
  readiness.items = judge_items(facts);
  readiness.delivered = delivered(facts);
  readiness.gaps = gaps_of(readiness.items);
  readiness.ready = ready(readiness.items);
  return readiness;
}

std::string describe_evidence(const ReportFacts& facts, std::string_view id) {
  const size_t slash = id.find('/');
  const std::string_view kind = id.substr(0, slash);
  const std::string_view name = id.substr(slash + 1);
  if (kind == "backup") return backup_line(facts, name);
  if (kind == "evidence") return record_line(facts, name);
  if (kind == "config") return config_line(facts, name);
  if (kind == "signal") {
    const Reading* reading = facts.reading(name);
    return reading == nullptr ? "" : cat(to_string(reading->verdict), ": ", reading->found);
  }
  if (kind == "doctor") {
    const ops::Finding* finding = facts.finding(name);
    return finding == nullptr ? "" : cat(to_string(finding->severity), ": ", finding->found);
  }
  if (kind == "schedule") {
    auto job = std::ranges::find(facts.settings.jobs, name, &ScheduledJob::name);
    return job == facts.settings.jobs.end() ? "" : cat("\"", job->when, "\" ", job->command);
  }
  if (kind == "runbook") {
    const WrittenRunbook* runbook = find_runbook(facts.runbooks, name);
    return runbook == nullptr ? "" : runbook->path;
  }
  if (kind == "key-slot") {
    auto slot = std::ranges::find(facts.doctor().repository.key_slots, name, &repo::SlotInfo::slot);
    return slot == facts.doctor().repository.key_slots.end() ? "" : slot->kind;
  }
  if (kind == "alert") {
    auto receiver = std::ranges::find(facts.settings.receivers, name, &AlertReceiver::name);
    if (receiver == facts.settings.receivers.end()) return "";
    return receiver->delivered.valid()
               ? cat(receiver->kind, ", last took an alert at ", receiver->delivered.to_string())
               : receiver->kind;
  }
  return "";
}

std::vector<std::string> decision_drafts(const ReportFacts& facts, const Readiness& readiness) {
  std::vector<std::string> drafts;
  const JudgedItem* item = find(readiness, "targets_delivered");
  if (item == nullptr || item->answer.outcome() != Outcome::fail) return drafts;
  struct Target {
    std::string_view name;
    const Stated& target;
    const std::optional<double>& value;
    const std::string& basis;
  };
  const DeliveredNow& now = readiness.delivered;
  for (const Target& one : {Target{"RPO", facts.settings.rpo, now.rpo_seconds, now.rpo_basis},
                            Target{"RTO", facts.settings.rto, now.rto_seconds, now.rto_basis}}) {
    if (!one.target || (one.value && *one.value < *one.target.value)) continue;
    drafts.push_back(
        cat("### Decision record (draft): ", one.name, " of cluster ", facts.signals.cluster, "\n\n",
            "- Status: proposed, ", facts.now().to_string(), "\n", "- Context: the target is ",
            format_seconds(*one.target.value), " (", one.target.source, "); delivered is ",
            one.value ? format_seconds(*one.value) : std::string("not known"), ": ", one.basis, ".\n",
            "- Decision: one of (a) change what is built so that the target is met, (b) change the target, "
            "with the "
            "consent of whoever set it.\n",
            "- Consequences: until it is decided, a recovery may lose or take more than was promised.\n",
            "- Decided by, on: \n"));
  }
  return drafts;
}

}  // namespace lifeboat::ready
