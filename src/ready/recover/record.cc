// Afterwards: verdicts, and the documents that carry them.
#include "ready/recover/record.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "repo/evidence.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::ordered_json;

JudgedPoint point(std::string id, bool good, std::string says) {
  return {std::move(id), good ? RecoverVerdict::pass : RecoverVerdict::fail, std::move(says)};
}
JudgedPoint unknown(std::string id, std::string says) {
  return {std::move(id), RecoverVerdict::unknown, std::move(says)};
}
JudgedPoint none(std::string id, std::string says) {
  return {std::move(id), RecoverVerdict::not_applicable, std::move(says)};
}

const ops::RecoveryResult* recovery_of(const PostMortem& record) {
  return record.outcome && record.outcome->restored.recovery ? &*record.outcome->restored.recovery : nullptr;
}

JudgedPoint judge_target(const PostMortem& record) {
  const ops::RecoveryResult* end = recovery_of(record);
  if (end == nullptr)
    return point("target_reached", false,
                 record.error ? record.error->to_string() : std::string("the recovery did not end"));
  const Lsn wanted = record.outcome->restored.plan.reach.stop;
  return point("target_reached", end->replayed >= wanted,
               cat("replayed to ", end->replayed.to_string(), ", the plan said ", wanted.to_string()));
}

JudgedPoint judge_open(const PostMortem& record) {
  const auto& seen = record.validation;
  if (!seen) return point("server_open", false, "the server was not asked");
  if (!seen->answers) return point("server_open", false, seen->problem);
  if (seen->in_recovery) return point("server_open", false, "it answers, and is still in recovery");
  if (!seen->broken.empty())
    return point("server_open", false,
                 cat("it answers, and not for every database: ", join(seen->broken, "; ")));
  return point(
      "server_open", true,
      cat("it answers and takes writes: ", counted(static_cast<uint64_t>(seen->databases), "database"), ", ",
          counted(static_cast<uint64_t>(seen->relations), "table")));
}

JudgedPoint judge_indexes(const PostMortem& record) {
  const auto& seen = record.validation;
  if (!seen || !seen->answers) return unknown("indexes_valid", "the server was not asked");
  if (!seen->invalid_indexes.empty())
    return point("indexes_valid", false, cat("invalid: ", join(seen->invalid_indexes, ", ")));
  if (!seen->broken.empty()) return unknown("indexes_valid", "not every database answers");
  if (!seen->not_looked_at.empty()) return unknown("indexes_valid", join(seen->not_looked_at, "; "));
  return point("indexes_valid", true, "none is invalid");
}

JudgedPoint judge_archiving(const PostMortem& record) {
  const auto& seen = record.validation;
  if (!record.plan.in_place) return none("archiving_on", "a copy beside the original archives nothing");
  if (!seen || !seen->answers) return unknown("archiving_on", "the server was not asked");
  if (!seen->archives)
    return point("archiving_on", false, "archive_mode is off, or archive_command stores nothing");
  if (!seen->archiving_problem.empty())
    return point("archiving_on", false, cat("WAL is not archived: ", seen->archiving_problem));
  if (!seen->archived_seconds) return unknown("archiving_on", "no segment was waited for");
  return point("archiving_on", true,
               cat("a segment reached the repository after ", format_seconds(*seen->archived_seconds)));
}

JudgedPoint judge_loss(const PostMortem& record) {
  if (record.plan.loss.chosen) return none("rpo_met", "an earlier moment was chosen");
  if (!record.rpo_target) return none("rpo_met", "no RPO is stated");
  auto loss = measured_loss(record);
  if (!loss) return unknown("rpo_met", "what the lost server had last committed is not known");
  return point(
      "rpo_met", *loss <= *record.rpo_target,
      cat("lost at most ", format_seconds(*loss), ", allowed are ", format_seconds(*record.rpo_target)));
}

JudgedPoint judge_time(const PostMortem& record) {
  if (!record.rto_target) return none("rto_met", "no RTO is stated");
  const double took = downtime(record);
  return point("rto_met", recovery_of(record) != nullptr && took <= *record.rto_target,
               cat("took ", format_seconds(took), ", allowed are ", format_seconds(*record.rto_target)));
}

JudgedPoint judge_estimate(const PostMortem& record) {
  const auto& expected = record.plan.downtime_seconds;
  if (!expected || !record.outcome) return unknown("estimate_held", "no estimate was made, or nothing ended");
  constexpr double kSlackFactor = 2;
  constexpr double kSlackSeconds = 10;
  const double took = record.outcome->restored.phases.total();
  const double most = *expected * kSlackFactor + kSlackSeconds;
  return point("estimate_held", took <= most,
               cat("expected ", format_seconds(*expected), ", took ", format_seconds(took),
                   "; up to twice the estimate and 10 s, ", format_seconds(most), ", counts as held"));
}

bool decides(const JudgedPoint& one) {
  return one.id == "target_reached" || one.id == "server_open" || one.id == "indexes_valid";
}

std::vector<std::pair<std::string, double>> phases_of(const PostMortem& record) {
  if (!record.outcome) return {};
  const ops::RestorePhases& p = record.outcome->restored.phases;
  return {{"stop", record.outcome->stop_seconds},
          {"preflight", p.preflight},
          {"rescue", p.rescue},
          {"copy", p.copy},
          {"configure", p.configure},
          {"sync", p.sync},
          {"replace", p.replace},
          {"start", p.start},
          {"recovery", p.recovery},
          {"promote", p.promote},
          {"validate", record.validation ? record.validation->seconds : 0}};
}

Json number(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}
Json time(Timestamp value) {
  return value.valid() ? Json(value.to_iso()) : Json(nullptr);
}

}  // namespace

std::string_view to_string(RecoverVerdict verdict) {
  switch (verdict) {
    case RecoverVerdict::pass:
      return "pass";
    case RecoverVerdict::fail:
      return "fail";
    case RecoverVerdict::not_applicable:
      return "not_applicable";
    case RecoverVerdict::unknown:
      return "unknown";
  }
  return "?";
}

std::optional<double> measured_loss(const PostMortem& record) {
  const ops::RecoveryResult* end = recovery_of(record);
  if (end == nullptr) return std::nullopt;
  // By the plan that was carried out: the first one was made while the server may still have run.
  const Lsn own_wal_to = record.outcome->restored.plan.own_wal_to;
  const bool all_there =
      own_wal_to.valid() && end->replayed >= own_wal_to && !record.outcome->restored.wal_left_behind;
  if (record.plan.loss.whole && all_there) return 0;
  const Assessment& what = record.plan.assessment;
  const Timestamp known = record.plan.loss.chosen ? what.last_known_commit : what.noticed;
  if (!known.valid() || !end->last_commit.valid()) return std::nullopt;
  return std::max(0.0, known.seconds_since(end->last_commit));
}

double downtime(const PostMortem& record) {
  return std::max(0.0, record.ended.seconds_since(record.plan.assessment.noticed));
}

std::vector<JudgedPoint> judge(const PostMortem& record) {
  return {judge_target(record), judge_open(record), judge_indexes(record), judge_archiving(record),
          judge_loss(record),   judge_time(record), judge_estimate(record)};
}

bool recovered(const PostMortem& record) {
  return std::ranges::none_of(judge(record), [](const JudgedPoint& one) {
    return one.verdict == RecoverVerdict::fail && decides(one);
  });
}

bool archives(const PostMortem& record) {
  return judge_archiving(record).verdict != RecoverVerdict::fail;
}

std::string_view headline(const PostMortem& record) {
  if (!recovered(record)) return "NOT RECOVERED";
  return archives(record) ? "RECOVERED"
                          : "RECOVERED, AND NOT ARCHIVED: the data is back, its WAL is not kept";
}

std::string post_mortem_markdown(const PostMortem& record, std::string_view evidence) {
  const Assessment& what = record.plan.assessment;
  const ops::RestorePlan& restore = record.plan.steps.restore;
  std::string text = cat("# Recovery of cluster ", what.cluster, ": ", to_string(what.failure), "\n\n**",
                         headline(record), "**\n\n");
  text += cat("- Noticed: ", what.noticed.to_string(), "\n- Begun: ", what.began.to_string(),
              "\n- Ended: ", record.ended.to_string(), "\n- On host: ", record.host,
              "\n- Evidence: ", evidence.empty() ? "not kept in the repository" : cat("evidence/", evidence),
              "\n\n## Found before\n\n");
  for (const std::string& fact : what.found) text += cat("- ", fact, "\n");
  text += cat("\n## Done\n\n- Backup ", restore.backup.id.text, ", target ", restore.asked.to_string(),
              record.plan.in_place ? ", in place of " : ", beside the cluster, in ",
              restore.placements.front().final_path, "\n- Expected loss: ", record.plan.loss.says, "\n\n");
  text += "| phase | time |\n|---|---|\n";
  for (const auto& [name, seconds] : phases_of(record))
    text += cat("| ", name, " | ", format_seconds(seconds), " |\n");
  text += "\n## Verdicts\n\n| point | verdict | found |\n|---|---|---|\n";
  for (const JudgedPoint& one : judge(record))
    text += cat("| ", one.id, " | ", to_string(one.verdict), " | ", one.says, " |\n");
  if (record.error) text += cat("\n## Error\n\n", record.error->to_string(), "\n", record.error->hint, "\n");
  if (!record.outcome) return text;
  text += "\n## Left behind\n\n";
  const std::vector<std::string>& aside = record.outcome->restored.kept;
  const std::string& before = record.outcome->preserved;
  if (!before.empty()) text += cat("- The state before is in ", before, "\n");
  for (const std::string& kept : aside)
    if (kept != before)
      text += cat("- ", kept,
                  before == aside.front() ? " belongs to it\n" : " is what an earlier call had left\n");
  if (record.outcome->restored.kept.empty()) text += "- Nothing was kept aside\n";
  if (!record.outcome->preserved_command.empty())
    text += cat("- It is started read-only beside the new one by\n\n       ",
                record.outcome->preserved_command, "\n");
  return text;
}

Json post_mortem_json(const PostMortem& record, std::string_view evidence) {
  const Assessment& what = record.plan.assessment;
  const ops::RestorePlan& restore = record.plan.steps.restore;
  Json verdicts = Json::array();
  for (const JudgedPoint& one : judge(record))
    verdicts.push_back({{"id", one.id}, {"verdict", to_string(one.verdict)}, {"found", one.says}});
  Json phases = Json::object();
  for (const auto& [name, seconds] : phases_of(record)) phases[name] = seconds;
  const ops::RecoveryResult* end = recovery_of(record);
  return {{"cluster", what.cluster},
          {"failure", to_string(what.failure)},
          {"recovered", recovered(record)},
          {"noticed", time(what.noticed)},
          {"began", time(what.began)},
          {"ended", time(record.ended)},
          {"found_before", what.found},
          {"backup", restore.backup.id.text},
          {"target", restore.asked.to_string()},
          {"in_place", record.plan.in_place},
          {"directory", restore.placements.front().final_path},
          {"expected_loss", record.plan.loss.says},
          {"expected_loss_seconds", number(record.plan.loss.seconds)},
          {"loss_seconds", number(measured_loss(record))},
          {"downtime_seconds", downtime(record)},
          {"reached_lsn", end ? Json(end->replayed.to_string()) : Json(nullptr)},
          {"last_commit", end ? time(end->last_commit) : Json(nullptr)},
          {"phases", phases},
          {"verdicts", verdicts},
          {"error_text", record.error ? Json(record.error->to_string()) : Json(nullptr)},
          {"kept", record.outcome ? Json(record.outcome->restored.kept) : Json::array()},
          {"evidence", evidence.empty() ? Json(nullptr) : Json(evidence)}};
}

Result<std::string> write_recovery_evidence(const repo::LineageRepo& repo, const PostMortem& record) {
  const bool good = recovered(record);
  Json problems = Json::array();
  for (const JudgedPoint& one : judge(record)) {
    if (one.verdict == RecoverVerdict::fail && decides(one)) problems.push_back(cat(one.id, ": ", one.says));
  }
  const ops::RestorePlan& restore = record.plan.steps.restore;
  Json backup = {{"id", restore.backup.id.text},
                 {"level", record.outcome ? "restored" : "none"},
                 {"passed", good},
                 {"problems", problems}};
  Json document = {{"format", 1},
                   {"kind", "recovery"},
                   {"time_us", record.ended.unix_us},
                   {"host", record.host},
                   {"tool_version", record.tool_version},
                   {"backups", Json::array({backup})},
                   {"medium", "copy"},
                   {"plain_bytes", restore.bytes},
                   {"wal_bytes", restore.reach.wal_bytes}};
  if (record.outcome)
    document["rto_seconds"] = record.outcome->stop_seconds + record.outcome->restored.phases.total();
  if (auto loss = measured_loss(record); loss && !record.plan.loss.chosen) document["rpo_seconds"] = *loss;
  const Json more = post_mortem_json(record, "");
  for (const auto& [name, value] : more.items())
    if (!document.contains(name) && name != "evidence") document[name] = value;
  return repo::write_evidence(repo, record.ended,
                              document.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace lifeboat::ready
