// lifeboat verify: reads everything back and says what is whole.
#include "ops/verify/verify.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/run.h"
#include "app/who.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownProblems = 20;  // per backup, in text

Json to_json(const ops::VerifySummary& summary, std::string_view level) {
  Json backups = Json::array();
  for (const ops::VerifiedBackup& backup : summary.backups) {
    backups.push_back({{"cluster", backup.cluster},
                       {"lineage", backup.lineage.to_string()},
                       {"id", backup.id.text},
                       {"dump", backup.dump},
                       {"passed", backup.passed},
                       {"inconclusive", backup.inconclusive},
                       {"level", to_string(backup.level)},
                       {"marked_damaged", backup.marked_damaged},
                       {"problems", backup.problems}});
  }
  Json windows = Json::array();
  for (const ops::WalWindow& window : summary.windows) {
    Json lost = window.lost ? Json::array() : Json(nullptr);
    for (const ops::LostMoments& one : window.lost.value_or(std::vector<ops::LostMoments>()))
      lost.push_back({{"after", json_time(one.after)},
                      {"until", json_time(one.until)},
                      {"segment", one.first.to_string()}});
    windows.push_back({{"cluster", window.cluster},
                       {"lineage", window.lineage.to_string()},
                       {"from_backup", window.from ? Json(window.from->text) : Json(nullptr)},
                       {"timeline", window.timeline.value},
                       {"begin", window.begin.to_string()},
                       {"end", window.end.to_string()},
                       {"problems", window.problems},
                       {"lost_moments", lost}});
  }
  Json damage = Json::array();
  for (const repo::Damage& one : summary.report.damage) {
    damage.push_back({{"kind", to_string(one.kind)},
                      {"object", one.object},
                      {"message", one.message},
                      {"backups", one.backups}});
  }
  const repo::VerifyTotals& totals = summary.report.totals;
  return {{"ok", summary.ok()},
          {"level", level},
          {"backups", backups},
          {"wal", windows},
          {"damage", damage},
          {"damage_not_listed", summary.report.damage_not_listed},
          {"unknown_objects", summary.report.unknown},
          {"unreferenced_objects", summary.report.unreferenced},
          {"objects", totals.objects},
          {"bytes", totals.bytes},
          {"frames", totals.frames},
          {"wal_files", totals.wal_files},
          {"seconds", summary.seconds},
          {"evidence", summary.evidence}};
}

void add_problems(std::string& text, const std::vector<std::string>& problems) {
  for (size_t i = 0; i < problems.size() && i < kShownProblems; ++i) text += cat("  ", problems[i], "\n");
  if (problems.size() > kShownProblems) {
    text += cat("  and ", problems.size() - kShownProblems, " more (--output json lists them)\n");
  }
}

std::string to_text(const ops::VerifySummary& summary) {
  std::string text;
  for (const ops::VerifiedBackup& backup : summary.backups) {
    std::string verdict = backup.passed         ? cat("whole, level ", to_string(backup.level))
                          : backup.inconclusive ? std::string("not known: something could not be read")
                                                : std::string("NOT WHOLE");
    text += cat(backup.dump ? "dump " : "backup ", backup.id.text, " of ", backup.cluster, ": ", verdict,
                backup.marked_damaged ? ", marked damaged when it was taken" : "", "\n");
    add_problems(text, backup.problems);
  }
  for (const ops::WalWindow& window : summary.windows) {
    text +=
        cat("WAL of ", window.cluster, " on timeline ", window.timeline.value, ": ", window.begin.to_string(),
            " to ", window.end.to_string(), window.problems.empty() ? ", continuous" : ", BROKEN", "\n");
    add_problems(text, window.problems);
    if (!window.lost) text += "  which moments before that are out of reach is not known\n";
    for (const ops::LostMoments& one : window.lost.value_or(std::vector<ops::LostMoments>()))
      text +=
          cat("  before that: no moment after ", one.after.to_string(), " and before ", one.until.to_string(),
              " can be recovered: segment ", one.first.to_string(), " is in the way\n");
  }
  std::vector<std::string> damage;
  for (const repo::Damage& one : summary.report.damage) {
    damage.push_back(cat(to_string(one.kind), ": ", one.object, ": ", one.message));
  }
  if (!damage.empty())
    text += cat(counted(damage.size() + summary.report.damage_not_listed, "damaged object"), ":\n");
  add_problems(text, damage);
  if (!summary.report.unreferenced.empty()) {
    text += cat(counted(summary.report.unreferenced.size(), "object"),
                " that no backup refers to (expire removes them)\n");
  }
  if (!summary.report.unknown.empty()) {
    text += cat(counted(summary.report.unknown.size(), "file"),
                " not of lifeboat, the first: ", summary.report.unknown.front(), "\n");
  }
  const repo::VerifyTotals& totals = summary.report.totals;
  double rate = summary.seconds > 0 ? static_cast<double>(totals.bytes) / summary.seconds : 0;
  const size_t dumps = std::ranges::count(summary.backups, true, &ops::VerifiedBackup::dump);
  text += cat(summary.ok() ? "ok" : "FAILED", ": ", counted(summary.backups.size() - dumps, "backup"), ", ",
              dumps == 0 ? "" : cat(counted(dumps, "dump"), ", "), counted(totals.objects, "object"), ", ",
              counted(totals.wal_files, "WAL file"), ", ", format_bytes(totals.bytes), " read in ",
              format_seconds(summary.seconds), " (", format_bytes(static_cast<uint64_t>(rate)), "/s)\n");
  return text;
}

double seconds(const Invocation& invocation, std::string_view name, double otherwise) {
  auto us = invocation.duration_us(name);
  return us ? static_cast<double>(*us) / 1e6 : otherwise;
}

Result<int> ask_gate(const Invocation& invocation, const ops::RepoLocation& where, ops::Gate gate) {
  constexpr double kMonth = 31 * 86400;  // the outer limit between drills (D2)
  ops::GateLimits limits;
  limits.max_age_seconds = seconds(invocation, "max-age", gate == ops::Gate::backup_verified ? 0 : kMonth);
  if (gate == ops::Gate::rpo_rto_met) {
    limits.rpo_seconds = seconds(invocation, "rpo", limits.rpo_seconds);
    limits.rto_seconds = seconds(invocation, "rto", limits.rto_seconds);
  }
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::GateVerdict verdict, ops::judge_gate(repository, where.cluster, gate, limits,
                                                       Timestamp{invocation.clock().unix_us()}));
  Json json = {{"ok", verdict.passed},
               {"gate", to_string(gate)},
               {"reason", verdict.reason},
               {"backup", verdict.backup ? Json(verdict.backup->text) : Json(nullptr)},
               {"evidence", verdict.proof ? Json(verdict.proof->evidence) : Json(nullptr)},
               {"proven", verdict.proof ? json_time(verdict.proof->time) : Json(nullptr)},
               {"rpo_seconds", verdict.proof && verdict.proof->rpo_seconds ? Json(*verdict.proof->rpo_seconds)
                                                                           : Json(nullptr)},
               {"rto_seconds", verdict.proof && verdict.proof->rto_seconds ? Json(*verdict.proof->rto_seconds)
                                                                           : Json(nullptr)}};
  invocation.output().document(to_json_text(json));
  invocation.output().text(cat(to_string(gate), ": ", verdict.passed ? "yes" : "NO", ": ", verdict.reason,
                               verdict.backup ? cat(" (backup ", verdict.backup->text, ")") : std::string(),
                               "\n"));
  if (verdict.passed) return 0;
  return make_error(ErrorKind::check_failed, cat("gate ", to_string(gate)), verdict.reason)
      .with_hint(
          gate == ops::Gate::backup_verified ? "run lifeboat verify"
          : gate == ops::Gate::rpo_rto_met
              ? "run lifeboat drill --target latest, which measures both: one to an earlier moment cannot "
                "tell what is lost"
              : "run lifeboat drill");
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  if (auto gate = invocation.text("gate")) return ask_gate(invocation, where, *ops::parse_gate(*gate));

  ops::VerifyRequest request;
  request.backup = invocation.text("backup");
  // The default name stands for "every cluster" unless it was given or one backup is meant.
  Source source = invocation.source("cluster");
  bool named = source != Source::none && source != Source::default_text;
  if (named || request.backup) request.cluster = where.cluster;
  std::string level = invocation.value("depth");
  request.level = *ops::parse_proof_level(level);
  request.workers = invocation.jobs();
  request.host = host_name();
  request.tool_version = kVersion;
  OutputReporter reporter(invocation.output());
  request.reporter = &reporter;
  request.stop = &invocation.stop();

  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::VerifySummary summary, ops::verify(repository, request));
  if (summary.evidence_problem) {
    invocation.output().note(LogLevel::warning, cat("the result is not kept in the repository: ",
                                                    summary.evidence_problem->to_string()));
  }
  invocation.output().text(to_text(summary));
  invocation.output().document(to_json_text(to_json(summary, level)));
  if (summary.ok()) return 0;
  size_t bad = 0;
  for (const ops::VerifiedBackup& backup : summary.backups) bad += backup.passed ? 0 : 1;
  return make_error(
      ErrorKind::check_failed, where.url,
      cat(bad, " of ", counted(summary.backups.size(), "backup"), " not whole, ",
          counted(summary.report.damage.size() + summary.report.damage_not_listed, "damaged object")));
}

constexpr Option kVerifyOptions[] = {
    {.name = "depth",
     .kind = ValueKind::choice,
     .placeholder = "DEPTH",
     .help = "present: all that backups refer to exists; hashed: every byte is read; wal: and the WAL is "
             "whole, one "
             "chain of records, without holes",
     .default_text = "wal",
     .choices = "present|hashed|wal",
     .excludes = "gate"},
    {.name = "backup",
     .kind = ValueKind::backup,
     .placeholder = "BACKUP",
     .help = "only this backup and its WAL, or this dump: an id, or latest, the newest backup",
     .excludes = "gate"},
    {.name = "gate",
     .kind = ValueKind::choice,
     .placeholder = "GATE",
     .help = "answer yes or no from the evidence that verify and drill have left, and read nothing",
     .choices = "backup_verified|recovery_tested|rpo_rto_met"},
    {.name = "max-age",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "with --gate: how old the evidence may be (default: 31 days for drills)",
     .min = 1},
    {.name = "rpo",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "with --gate rpo_rto_met: the target (default: 5 minutes)",
     .section = ConfigSection::cluster},
    {.name = "rto",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "with --gate rpo_rto_met: the target (default: 15 minutes)",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kVerifyGroup = {"Verify", kVerifyOptions};

}  // namespace

extern const Command kVerifyCommand;
constinit const Command kVerifyCommand = {
    .path = "verify",
    .summary = "read everything back and say what is whole",
    .description =
        "Reads every byte of every object of every cluster, compares it with its seal and hash, follows "
        "every "
        "backup's tree, and reads all WAL record by record. Says for each backup whether it can be restored "
        "whole, and for each cluster how far WAL is continuous and which moments between older backups "
        "nothing "
        "recovers any more, but for holes that retention leaves. Nothing is sampled; --backup, --depth and "
        "--cluster do less on request.\n\n"
        "The verdict is kept in the repository: list shows it, expire never lets the newest verified backup "
        "go. "
        "A verified backup's bytes are whole; that they make a database that starts and answers is what "
        "lifeboat "
        "drill proves.\n\n"
        "Gates answer from what verify and drill left: backup_verified (the newest backup is verified), "
        "recovery_tested (the newest drill passed and is recent), rpo_rto_met (its measured RPO and RTO are "
        "within the targets). Each says no where the newest verification or the newest drill of that backup "
        "failed, and where the newest look at all WAL found the latest state out of reach.",
    .danger = Danger::write,
    .groups = {&kVerifyGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# everything\n"
        "lifeboat verify --repo /srv/backup\n"
        "# in a pipeline\n"
        "lifeboat verify --repo /srv/backup --gate recovery_tested --output json",
    .exit_notes = "0: all whole, or the gate says yes. 17: something is not whole, or the gate says no.",
    .schema = R"({
  "type": "object",
  "required": ["ok"],
  "properties": {
    "ok": {"type": "boolean"},
    "level": {"enum": ["present", "hashed", "wal"]},
    "backups": {"type": "array", "items": {"type": "object", "required": ["id", "passed", "level", "problems"], "properties": {
      "cluster": {"type": "string"}, "lineage": {"type": "string"}, "id": {"type": "string"}, "passed": {"type": "boolean"},
      "inconclusive": {"type": "boolean"}, "level": {"type": "string"}, "marked_damaged": {"type": "boolean"},
      "problems": {"type": "array", "items": {"type": "string"}}}}},
    "wal": {"type": "array", "items": {"type": "object", "properties": {
      "cluster": {"type": "string"}, "lineage": {"type": "string"}, "from_backup": {"type": ["string", "null"]},
      "timeline": {"type": "integer"}, "begin": {"type": "string"}, "end": {"type": "string"},
      "problems": {"type": "array", "items": {"type": "string"}},
      "lost_moments": {"type": ["array", "null"], "description": "null: not known", "items": {"type": "object", "required": ["after", "until", "segment"], "properties": {
        "after": {"type": ["string", "null"]}, "until": {"type": ["string", "null"]}, "segment": {"type": "string"}}}}}}},
    "damage": {"type": "array", "items": {"type": "object", "required": ["kind", "object", "message"], "properties": {
      "kind": {"enum": ["unreadable", "damaged", "missing", "conflict", "inconsistent"]},
      "object": {"type": "string"}, "message": {"type": "string"}, "backups": {"type": "array", "items": {"type": "string"}}}}},
    "damage_not_listed": {"type": "integer"},
    "unknown_objects": {"type": "array", "items": {"type": "string"}},
    "unreferenced_objects": {"type": "array", "items": {"type": "string"}},
    "objects": {"type": "integer"},
    "bytes": {"type": "integer"},
    "frames": {"type": "integer"},
    "wal_files": {"type": "integer"},
    "seconds": {"type": "number"},
    "evidence": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}, {"type": "null"}], "description": "ids of the records written, or the one that a gate's answer rests on"},
    "gate": {"enum": ["backup_verified", "recovery_tested", "rpo_rto_met"]},
    "reason": {"type": "string"},
    "backup": {"type": ["string", "null"]},
    "proven": {"type": ["string", "null"]},
    "rpo_seconds": {"type": ["number", "null"]},
    "rto_seconds": {"type": ["number", "null"]}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
