#include "app/cli/drill_history.h"

#include <nlohmann/json.hpp>

#include "app/location.h"
#include "app/output.h"
#include "app/render.h"
#include "app/target.h"
#include "ready/report/drill_history.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// What a drill was against the targets that it was given itself.
bool missed(const ready::Rehearsal& drill) {
  auto above = [](const std::optional<double>& measured, const std::optional<double>& target) {
    return measured && target && *measured > *target;
  };
  return above(drill.rto_seconds, drill.rto_target_seconds) ||
         above(drill.rpo_seconds, drill.rpo_target_seconds);
}

std::string_view result_of(const ready::Rehearsal& drill) {
  if (!drill.passed) return "failed";
  return missed(drill) ? "target missed" : "passed";
}

Json drill_json(const ready::Rehearsal& drill) {
  Json phases = Json::object();
  for (const auto& [name, seconds] : drill.phases) phases[name] = seconds;
  return {{"evidence", drill.id},
          {"time", json_time(drill.time)},
          {"result", result_of(drill)},
          {"problems", drill.problems},
          {"backup", drill.backup},
          {"target", drill.target},
          {"medium", drill.medium.empty() ? Json(nullptr) : Json(drill.medium)},
          {"host", drill.host},
          {"rto_seconds", or_null(drill.rto_seconds)},
          {"rto_target_seconds", or_null(drill.rto_target_seconds)},
          {"rpo_seconds", or_null(drill.rpo_seconds)},
          {"rpo_target_seconds", or_null(drill.rpo_target_seconds)},
          {"wal_bytes", drill.wal_bytes},
          {"phases", phases}};
}

Json figure_json(const ready::DrillFigure& figure) {
  return {{"measured", figure.measured},
          {"newest_seconds", or_null(figure.newest)},
          {"median_before_seconds", or_null(figure.median)},
          {"slowest_seconds", or_null(figure.slowest)},
          {"target_seconds", or_null(figure.target)},
          {"missed", figure.missed},
          {"change_per_day_seconds", or_null(figure.trend.per_day)},
          {"reaches_target_in_seconds", or_null(figure.trend.reaches_critical_seconds)}};
}

std::string seconds_cell(const std::optional<double>& seconds) {
  return seconds ? format_seconds(*seconds) : "-";
}

std::string figure_text(const ready::DrillFigure& figure, size_t failed) {
  if (!figure.newest) return "no drill that passed has measured it";
  std::string text = cat("newest ", format_seconds(*figure.newest));
  if (figure.median) text += cat(", median before it ", format_seconds(*figure.median));
  text += cat(", slowest ", format_seconds(*figure.slowest));
  text += figure.target
              ? cat("; target ", format_seconds(*figure.target), ", missed by ", figure.missed, " of ",
                    figure.measured, " that passed", failed == 0 ? "" : cat(", and ", failed, " failed"))
              : "; no target";
  return cat(text, "; ", ready::describe_trend(figure));
}

std::string dumps_text(const std::vector<ready::Rehearsal>& dumps) {
  if (dumps.empty()) return "";
  Table table({{"time"}, {"result"}, {"dump"}, {"restored in", Align::right}, {"problem"}});
  for (const ready::Rehearsal& drill : dumps)
    table.add({drill.time.to_string(), std::string(result_of(drill)), drill.backup,
               seconds_cell(drill.rto_seconds), drill.problems.empty() ? "" : drill.problems.front()});
  return cat("\ndrills of dumps\n", table.to_string());
}

std::string to_text(const ready::DrillHistory& history) {
  if (history.drills.empty()) return "no backup was ever drilled\n";
  Table table({{"time"},
               {"result"},
               {"backup"},
               {"target"},
               {"medium"},
               {"RTO", Align::right},
               {"RPO", Align::right},
               {"problem"}});
  for (const ready::Rehearsal& drill : history.drills) {
    table.add({drill.time.to_string(), std::string(result_of(drill)), drill.backup, drill.target,
               drill.medium, seconds_cell(drill.rto_seconds), seconds_cell(drill.rpo_seconds),
               drill.problems.empty() ? "" : drill.problems.front()});
  }
  Facts facts;
  facts.add("drills", cat(history.drills.size(), ", ", history.failed, " failed"));
  facts.add("RTO", figure_text(history.rto, history.failed));
  facts.add("RPO", figure_text(history.rpo, history.failed));
  return cat(table.to_string(), "\n", facts.to_string());
}

}  // namespace

Result<int> show_drill_history(const Invocation& invocation, std::optional<double> rto,
                               std::optional<double> rpo) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  TRY_ASSIGN(TargetOptions chosen, target_options(invocation));
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::ChosenLineage lineage, ops::choose_lineage(repository, where.cluster, chosen.lineage));
  const auto most = static_cast<size_t>(invocation.integer("history").value_or(0));
  TRY_ASSIGN(std::vector<ready::Rehearsal> rehearsals,
             ready::read_rehearsals(lineage.repo, most, ready::RehearsalKind::drill));
  TRY_ASSIGN(std::vector<ready::Rehearsal> of_dumps,
             ready::read_rehearsals(lineage.repo.dumps(), most, ready::RehearsalKind::drill));
  const ready::DrillHistory history = ready::judge_drills(std::move(rehearsals), rto, rpo);
  invocation.output().text(cat(to_text(history), dumps_text(of_dumps)));
  Json drills = Json::array();
  for (const ready::Rehearsal& drill : history.drills) drills.push_back(drill_json(drill));
  Json dumps = Json::array();
  for (const ready::Rehearsal& drill : of_dumps) dumps.push_back(drill_json(drill));
  invocation.output().document(to_json_text(Json{{"drills", drills},
                                                 {"dump_drills", dumps},
                                                 {"failed", history.failed},
                                                 {"rto", figure_json(history.rto)},
                                                 {"rpo", figure_json(history.rpo)}}));
  return 0;
}

}  // namespace lifeboat::app
