// The report for people. Every section is a function that is read against its paragraph of the document.
#include <algorithm>

#include "ready/plan/storage_class.h"
#include "ready/report/document.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

std::string cell(std::string_view text) {
  std::string safe;
  for (char c : text) {
    if (c == '|') safe += '\\';
    safe += c == '\n' ? ' ' : c;
  }
  return safe.empty() ? "-" : safe;
}

std::string row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& one : cells) line += cat(" ", cell(one), " |");
  return line + "\n";
}

std::string table(const std::vector<std::string>& titles) {
  std::string line = row(titles);
  line += '|';
  for (size_t i = 0; i < titles.size(); ++i) line += "---|";
  return line + "\n";
}

std::string seconds_or(const std::optional<double>& value, std::string_view otherwise) {
  return value ? format_seconds(*value) : std::string(otherwise);
}

std::string days_or(const std::optional<double>& value, std::string_view otherwise) {
  return value ? cat(static_cast<int64_t>(*value), " days") : std::string(otherwise);
}

const ItemAnswer* answer(const Readiness& readiness, std::string_view id) {
  auto found =
      std::ranges::find_if(readiness.items, [&](const JudgedItem& item) { return item.info->id == id; });
  return found == readiness.items.end() ? nullptr : &found->answer;
}

std::string head(const ReportFacts& facts, const Readiness& readiness) {
  const auto& server = facts.doctor().server;
  return cat(
      "# Backup and operational readiness: cluster ", facts.signals.cluster, "\n\n", "**",
      readiness.verdict(), "**: ", count(readiness.items, Outcome::pass), " items pass, ",
      count(readiness.items, Outcome::fail), " fail, ", count(readiness.items, Outcome::not_applicable),
      " do not apply.\n\n", "- Made: ", facts.now().to_string(), " by lifeboat ", facts.tool_version, "\n",
      "- Repository: ", facts.doctor().repository.url, "\n", "- Server: ",
      server ? cat("PostgreSQL ", server->version_text, ", system identifier ", server->system_id.to_string(),
                   ", ", to_string(facts.signals.role()))
             : std::string("not reached"),
      "\n", "- Owner: ", facts.settings.owner.empty() ? "nobody is named" : facts.settings.owner, "\n");
}

std::string targets(const ReportFacts& facts, const Readiness& readiness) {
  const DeliveredNow& now = readiness.delivered;
  const Rehearsal* drill = newest_passed(facts.rehearsals);
  std::string text = "\n## Targets and what is delivered\n\n";
  text += table({"", "target", "stated in", "delivered", "from", "newest drill that passed"});
  text += row({"RPO", seconds_or(facts.settings.rpo.value, "not stated"), facts.settings.rpo.source,
               seconds_or(now.rpo_seconds, "not known"), now.rpo_basis,
               drill == nullptr ? "none" : seconds_or(drill->rpo_seconds, "not measured")});
  text += row({"RTO", seconds_or(facts.settings.rto.value, "not stated"), facts.settings.rto.source,
               seconds_or(now.rto_seconds, "not known"), now.rto_basis,
               drill == nullptr ? "none" : seconds_or(drill->rto_seconds, "not measured")});
  return text;
}

std::string strategy(const ReportFacts& facts) {
  const repo::Card* newest = facts.newest_backup();
  std::string text = "\n## Strategy\n\n";
  if (newest == nullptr) return text + "There is no complete backup: there is no strategy that works.\n";
  text += cat(
      "Physical backups and continuous WAL: the whole cluster to any moment, single databases and tables "
      "from "
      "there. ",
      facts.dumps.empty() ? "No logical backups." : cat(facts.dumps.size(), " logical backups beside them."),
      "\n\n");
  text += cat("- Backups stored: ", facts.doctor().repository.backups.size(), ", the newest ",
              newest->id.text, " (", to_string(newest->type), ", ", format_bytes(newest->totals.plain_bytes),
              ", ", newest->stopped.to_string(), ")\n");
  const auto& verified = facts.doctor().repository.newest_verified;
  text += cat("- Newest verified: ", verified ? verified->text : std::string("none"), "\n");
  for (const ScheduledJob& job : facts.settings.jobs)
    text += cat("- Scheduled: `", job.command, "` at \"", job.when, "\" (UTC)\n");
  if (facts.settings.jobs.empty()) text += "- Scheduled: nothing that the configuration file knows of\n";
  return text;
}

std::string wal_design(const ReportFacts& facts) {
  std::string text = "\n## WAL\n\n";
  for (std::string_view id :
       {"archive_mode", "archive_command", "archive_timeout", "archiver", "wal_continuity"}) {
    if (const ops::Finding* finding = facts.finding(id))
      text += cat("- ", finding->what, ": ", to_string(finding->severity), ", ", finding->found, "\n");
  }
  text += cat("- Streaming receiver: ", facts.streams_wal() ? "connected" : "none", "\n");
  return text;
}

std::string dumps_kept(const repo::RetentionPolicy& policy) {
  if (policy.empty()) return "all, for ever";
  std::vector<std::string> rules;
  if (policy.keep_days) rules.push_back(cat("those of the last ", days_or(policy.keep_days, "")));
  if (policy.keep_count) rules.push_back(cat("the newest ", *policy.keep_count));
  return join(rules, ", ");
}

std::string retention(const ReportFacts& facts) {
  const repo::RetentionPolicy& policy = facts.settings.retention;
  uint64_t stored = 0;
  for (const repo::Card& card : facts.doctor().repository.backups) stored += card.totals.stored_bytes;
  std::string text = "\n## Retention and cost\n\n";
  text += cat(
      "- Recovery to any moment of the last: ", days_or(policy.pitr_days, "not stated"), "\n",
      "- Backups kept by age: ", days_or(policy.keep_days, "not stated"), "\n",
      "- Backups kept by number: ", policy.keep_count ? cat(*policy.keep_count) : std::string("not stated"),
      "\n", "- Dumps kept: ", dumps_kept(facts.settings.dump_retention), "\n", "- Compliance minimum: ",
      !facts.settings.compliance_days              ? std::string("not stated")
      : *facts.settings.compliance_days.value == 0 ? std::string("none applies")
                                                   : days_or(facts.settings.compliance_days.value, ""),
      "\n", "- Stored by the backups that are there: ", format_bytes(stored), ", without their WAL\n");
  if (const Reading* used = facts.reading("repository_used")) {
    text += cat("- Repository: ", used->found);
    if (used->trend.per_day)
      text += cat(", ", format_value(*used->trend.per_day, used->signal->unit), " a day");
    text += "\n";
  }
  return text;
}

std::string cost(const ReportFacts& facts) {
  std::string text;
  if (const auto& stored = facts.stored)
    text +=
        cat("- Stored in all: ", format_bytes(stored->total()), " (backups ", format_bytes(stored->backups),
            ", WAL ", format_bytes(stored->wal), ", dumps ", format_bytes(stored->dumps), ")\n");
  const StorageCost cost = storage_cost(facts);
  if (cost.per_month) text += cat("- Cost a month: ", money_text(*cost.per_month, cost.currency), "\n");
  for (const std::string& line : cost.says) text += cat("- Cost: ", line, "\n");
  return text;
}

std::string security(const ReportFacts& facts) {
  const ops::RepositoryFacts& repository = facts.doctor().repository;
  std::string text = "\n## Security\n\n";
  text += cat("- At rest: ",
              !repository.marker             ? "not known"
              : repository.marker->encrypted ? "AES-256-GCM, each object under a key of its own"
                                             : "NOT ENCRYPTED",
              "\n");
  for (const repo::SlotInfo& slot : repository.key_slots)
    text += cat("- Key ", slot.key_id, " opens with a ", slot.kind, ", slot ", slot.slot, "\n");
  text += cat("- Away from the host: ", facts.place.distance == Distance::other_host ? "yes, " : "NO, ",
              facts.place.says, "\n");
  return text;
}

std::string threats(const Readiness& readiness) {
  struct Threat {
    std::string_view name;
    std::string_view answer;
    std::vector<std::string_view> items;
  };
  const Threat kThreats[] = {
      {"hardware",
       "restore elsewhere from the newest backup and WAL",
       {"offsite_copy", "monthly_restore_test"}},
      {"human error",
       "recovery to the moment before it, whole or by table",
       {"pitr_from_wal", "pitr_validated"}},
      {"corruption",
       "page checksums, verification, drills that read everything",
       {"automatic_verification", "pitr_from_wal"}},
      {"disaster", "a copy away from the host, a key away from the host", {"offsite_copy", "encryption"}},
      {"ransomware", "objects are written once; a copy that the host may not delete from", {"offsite_copy"}},
  };
  std::string text = "\n## Threats\n\n" + table({"threat", "answer", "proven by", "so far"});
  for (const Threat& threat : kThreats) {
    bool proven = true;
    std::vector<std::string> names;
    for (std::string_view id : threat.items) {
      names.emplace_back(id);
      const ItemAnswer* one = answer(readiness, id);
      proven = proven && one != nullptr && one->outcome() == Outcome::pass;
    }
    text += row({std::string(threat.name), std::string(threat.answer), join(names, ", "),
                 proven ? "proven" : "NOT PROVEN"});
  }
  return text;
}

std::string signal_table(const ReportFacts& facts) {
  std::string text = "\n## Signals\n\n" +
                     table({"signal", "now", "verdict", "warning", "critical", "owner", "first action"});
  for (const Reading& reading : facts.report.readings) {
    auto value = [&](const std::optional<double>& number) {
      return number ? format_value(*number, reading.signal->unit) : std::string("-");
    };
    text += row({std::string(reading.signal->id), value(reading.value),
                 std::string(to_string(reading.verdict)), value(reading.policy.thresholds.warning),
                 value(reading.policy.thresholds.critical), reading.policy.owner, reading.action});
  }
  return text;
}

std::string drill_plan(const ReportFacts& facts) {
  constexpr size_t kShown = 10;
  std::string text =
      "\n## Drills\n\nA restore every week (a month is the outer limit), to a moment every quarter.\n\n";
  const ScheduledJob* job = facts.job("drill");
  text += job == nullptr ? std::string("No drill is scheduled.\n")
                         : cat("Scheduled: `", job->command, "` at \"", job->when, "\" (UTC).\n");
  if (facts.rehearsals.empty()) return text + "\nNothing was ever rehearsed.\n";
  const auto failed = std::ranges::count(facts.rehearsals, false, &Rehearsal::passed);
  text += cat("\nOn record: ", facts.rehearsals.size(), ", of which ", failed, " failed",
              facts.rehearsals.size() > kShown ? cat("; the newest ", kShown, ":") : std::string(":"), "\n");
  text += "\n" + table({"when", "what", "backup", "target", "result", "RTO", "RPO", "evidence"});
  for (size_t i = 0; i < facts.rehearsals.size() && i < kShown; ++i) {
    const Rehearsal& one = facts.rehearsals[i];
    text += row({one.time.to_string(), std::string(to_string(one.kind)), one.backup, one.target,
                 one.passed ? "passed" : "FAILED", seconds_or(one.rto_seconds, "-"),
                 seconds_or(one.rpo_seconds, "-"), cat("evidence/", one.id)});
  }
  return text;
}

std::string runbooks(const ReportFacts& facts) {
  std::string text = cat("\n## Runbooks\n\nIn ", facts.settings.runbook_directory,
                         "; keep them where they can be read when "
                         "this host is gone.\n\n");
  if (facts.runbooks.empty()) return text + "None is written.\n";
  text += table({"runbook", "written", "reviewed", "by"});
  for (const WrittenRunbook& runbook : facts.runbooks)
    text += row({runbook.id, runbook.written.to_string(),
                 runbook.reviewed.valid() ? runbook.reviewed.to_string() : "never", runbook.reviewer});
  return text;
}

std::string checklist(const Readiness& readiness, ItemList list) {
  std::string text =
      cat("\n## ", title_of(list), "\n\n") + table({"item", "result", "found", "missing", "evidence"});
  for (const JudgedItem& item : readiness.items) {
    if (item.info->list != list) continue;
    std::vector<std::string> missing;
    for (const Missing& one : item.answer.missing()) missing.push_back(one.what);
    const bool applies = item.answer.outcome() != Outcome::not_applicable;
    text += row({std::string(item.info->what), std::string(to_string(item.answer.outcome())),
                 item.answer.says(), applies ? join(missing, "; ") : "", join(item.answer.evidence(), ", ")});
  }
  return text;
}

std::string gaps(const ReportFacts& facts, const Readiness& readiness) {
  std::string text = "\n## Gaps\n\n";
  if (readiness.gaps.empty()) return text + "None.\n";
  int number = 1;
  for (const ReportGap& gap : readiness.gaps)
    text += cat(number++, ". ", gap.what, " (", join(gap.items, ", "), ")\n\n       ", gap.fix, "\n\n");
  for (const std::string& draft : decision_drafts(facts, readiness)) text += cat("\n", draft);
  return text;
}

std::string evidence(const ReportFacts& facts, const Readiness& readiness) {
  std::vector<std::string> ids;
  for (const JudgedItem& item : readiness.items)
    ids.insert(ids.end(), item.answer.evidence().begin(), item.answer.evidence().end());
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::string text = "\n## Evidence\n\n" + table({"id", "what it said"});
  for (const std::string& id : ids) text += row({id, describe_evidence(facts, id)});
  return text;
}

}  // namespace

std::string report_markdown(const ReportFacts& facts, const Readiness& readiness) {
  return head(facts, readiness) + targets(facts, readiness) + gaps(facts, readiness) +
         checklist(readiness, ItemList::quality) + checklist(readiness, ItemList::production) +
         checklist(readiness, ItemList::done) + strategy(facts) + wal_design(facts) + retention(facts) +
         cost(facts) + security(facts) + threats(readiness) + signal_table(facts) + drill_plan(facts) +
         runbooks(facts) + evidence(facts, readiness);
}

}  // namespace lifeboat::ready
