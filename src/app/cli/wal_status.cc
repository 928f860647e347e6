// lifeboat wal status: to which moments the stored WAL leads, and what is in the way.
#include "ops/wal/status.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "ready/report/rehearsals.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kHourSeconds = 3600;
constexpr double kDaySeconds = 24 * kHourSeconds;

// --- JSON

Json segment_json(const std::optional<SegmentName>& segment) {
  return segment ? Json(segment->to_string()) : Json(nullptr);
}

Json window_json(const ops::RecoverableWindow& window) {
  return {{"from", json_time(window.from)},    {"from_lsn", window.from_lsn.to_string()},
          {"to", json_time(window.to)},        {"to_lsn", window.to_lsn.to_string()},
          {"backup", window.backup.text},      {"backups", window.backups},
          {"hole", segment_json(window.hole)}, {"conflict", segment_json(window.conflict)}};
}

Json hole_json(const ops::WalHole& hole) {
  return {{"first", hole.first.to_string()}, {"last", hole.last.to_string()}, {"segments", hole.segments},
          {"in_window", hole.in_window},     {"expired", hole.expired},       {"cause", hole.cause}};
}

Json conflict_json(const ops::WalConflict& conflict) {
  Json contents = Json::array();
  for (const ops::WalConflict::Content& content : conflict.contents) {
    contents.push_back({{"object", content.object}, {"stored", json_time(content.stored)}});
  }
  return {
      {"segment", conflict.segment.to_string()}, {"in_window", conflict.in_window}, {"contents", contents}};
}

Json timeline_json(const ops::TimelineStatus& timeline) {
  Json windows = Json::array();
  for (const ops::RecoverableWindow& window : timeline.windows) windows.push_back(window_json(window));
  Json holes = Json::array();
  for (const ops::WalHole& hole : timeline.holes) holes.push_back(hole_json(hole));
  Json conflicts = Json::array();
  for (const ops::WalConflict& conflict : timeline.conflicts) conflicts.push_back(conflict_json(conflict));
  Json partials = Json::array();
  for (const SegmentName& partial : timeline.partials)
    partials.push_back(cat(partial.to_string(), ".partial"));
  Json origin = nullptr;
  if (timeline.origin) {
    origin = {{"timeline", timeline.origin->timeline.value}, {"lsn", timeline.origin->end.to_string()}};
  }
  return {{"timeline", timeline.timeline.value},
          {"origin", origin},
          {"has_history_file", timeline.has_history_file},
          {"problem", timeline.problem},
          {"oldest", segment_json(timeline.oldest)},
          {"newest", segment_json(timeline.newest)},
          {"segments", timeline.segments},
          {"windows", windows},
          {"holes", holes},
          {"conflicts", conflicts},
          {"partials", partials}};
}

Json rate_json(const ops::WalRate& rate, double seconds) {
  return {{"segments", rate.segments},
          {"wal_bytes", rate.wal_bytes},
          {"stored_bytes", rate.stored_bytes},
          {"wal_bytes_per_second", static_cast<double>(rate.wal_bytes) / seconds}};
}

Json lineage_json(const ops::LineageWalStatus& lineage) {
  Json timelines = Json::array();
  for (const ops::TimelineStatus& timeline : lineage.timelines) timelines.push_back(timeline_json(timeline));
  return {{"lineage", lineage.record.lineage.to_string()},
          {"segment_bytes", lineage.record.segment_size.bytes},
          {"segments", lineage.segments},
          {"stored_bytes", lineage.stored_bytes},
          {"damaged_backups", lineage.damaged_backups},
          {"newest_segment", segment_json(lineage.newest_segment)},
          {"newest_stored", json_time(lineage.newest_stored)},
          {"last_hour", rate_json(lineage.last_hour, kHourSeconds)},
          {"last_day", rate_json(lineage.last_day, kDaySeconds)},
          {"timelines", timelines}};
}

Json lag_json(const ops::WalStatus& status) {
  if (!status.lag) return nullptr;
  const ops::WalLag& lag = *status.lag;
  return {{"in_recovery", lag.in_recovery},
          {"timeline", lag.timeline.value},
          {"current_lsn", lag.current.to_string()},
          {"stored_lsn", lag.stored ? Json(lag.stored->to_string()) : Json(nullptr)},
          {"bytes", lag.bytes ? Json(*lag.bytes) : Json(nullptr)},
          {"ready", lag.ready ? Json(*lag.ready) : Json(nullptr)},
          {"oldest_ready", json_time(lag.oldest_ready)},
          {"archived_count", lag.archived},
          {"failed_count", lag.failed},
          {"last_archived_wal", lag.last_archived},
          {"last_archived_time", json_time(lag.last_archived_time)},
          {"last_failed_wal", lag.last_failed},
          {"last_failed_time", json_time(lag.last_failed_time)}};
}

Json to_json(const ops::WalStatus& status, const std::string& repository) {
  Json lineages = Json::array();
  for (const ops::LineageWalStatus& lineage : status.lineages) lineages.push_back(lineage_json(lineage));
  return {{"cluster", status.cluster},     {"repository", repository},
          {"time", json_time(status.now)}, {"sound", status.problems().empty()},
          {"problems", status.problems()}, {"lineages", lineages},
          {"server", lag_json(status)}};
}

// --- text

std::string end_cell(const ops::RecoverableWindow& window) {
  if (window.hole) return cat("hole at ", window.hole->to_string());
  if (window.conflict) return cat("conflict at ", window.conflict->to_string());
  return "end of stored WAL";
}

std::string windows_text(const ops::LineageWalStatus& lineage) {
  Table table({{"timeline", Align::right},
               {"recoverable from"},
               {"to"},
               {"from LSN"},
               {"to LSN"},
               {"oldest backup"},
               {"backups", Align::right},
               {"ends at"}});
  for (const ops::TimelineStatus& timeline : lineage.timelines) {
    for (const ops::RecoverableWindow& window : timeline.windows) {
      table.add({std::to_string(timeline.timeline.value), window.from.to_string(), window.to.to_string(),
                 window.from_lsn.to_string(), window.to_lsn.to_string(), window.backup.text,
                 std::to_string(window.backups), end_cell(window)});
    }
  }
  return table.empty() ? "nothing can be recovered yet: there is no backup with its WAL\n"
                       : table.to_string();
}

std::string hole_text(const ops::WalHole& hole) {
  std::string where = hole.segments == 1 ? hole.first.to_string()
                                         : cat(hole.first.to_string(), " to ", hole.last.to_string());
  return cat(hole.in_window ? "HOLE: " : "hole: ", counted(hole.segments, "segment"), ", ", where, "; ",
             hole.cause, "\n");
}

std::string conflict_text(const ops::WalConflict& conflict) {
  std::string text = cat(conflict.in_window ? "CONFLICT: " : "conflict: ", conflict.segment.to_string(),
                         " is stored with ", conflict.contents.size(), " contents:\n");
  for (const ops::WalConflict::Content& content : conflict.contents) {
    text += cat("    ", content.object, ", stored ", content.stored.to_string(), "\n");
  }
  return text;
}

std::string timeline_text(const ops::TimelineStatus& timeline) {
  std::string text;
  std::string name = cat("timeline ", timeline.timeline.value);
  if (timeline.origin) {
    text += cat(name, " left timeline ", timeline.origin->timeline.value, " at ",
                timeline.origin->end.to_string(), "\n");
  }
  if (!timeline.problem.empty()) text += cat("PROBLEM: ", name, ": ", timeline.problem, "\n");
  for (const ops::WalHole& hole : timeline.holes) text += hole_text(hole);
  for (const ops::WalConflict& conflict : timeline.conflicts) text += conflict_text(conflict);
  for (const SegmentName& partial : timeline.partials)
    text += cat("partial: ", partial.to_string(), ".partial\n");
  return text;
}

std::string rate_text(const ops::WalRate& rate) {
  return cat(counted(rate.segments, "segment"), ", ", format_bytes(rate.wal_bytes), " of WAL, ",
             format_bytes(rate.stored_bytes), " stored");
}

std::string lineage_text(const std::string& cluster, const ops::LineageWalStatus& lineage) {
  std::string text =
      cat("cluster ", cluster, ", system identifier ", lineage.record.lineage.system_id.to_string(),
          ", PostgreSQL ", lineage.record.lineage.major, "\n", windows_text(lineage));
  for (const ops::TimelineStatus& timeline : lineage.timelines) text += timeline_text(timeline);
  Facts facts;
  facts.add("stored", cat(counted(lineage.segments, "segment"), ", ", format_bytes(lineage.stored_bytes)));
  if (lineage.newest_segment) {
    facts.add("newest",
              cat(lineage.newest_segment->to_string(), ", stored ", lineage.newest_stored.to_string()));
  }
  if (lineage.damaged_backups > 0)
    facts.add("not counted", cat(counted(lineage.damaged_backups, "backup"),
                                 " in which a check found damage (lifeboat list names them)"));
  facts.add("last hour", rate_text(lineage.last_hour));
  facts.add("last day", rate_text(lineage.last_day));
  return text + facts.to_string();
}

std::string lag_text(const ops::WalLag& lag) {
  Facts facts;
  facts.add("server", cat(lag.in_recovery ? "a standby, replayed to " : "at ", lag.current.to_string(),
                          " on timeline ", lag.timeline.value));
  facts.add("behind it", lag.bytes ? cat(format_bytes(*lag.bytes), ", stored to ", lag.stored->to_string())
                                   : std::string("nothing of its timeline is stored"));
  if (lag.ready) {
    facts.add("waiting", *lag.ready == 0
                             ? std::string("nothing to archive")
                             : cat(counted(*lag.ready, "file"), " since ", lag.oldest_ready.to_string()));
  }
  std::string archiver = cat(lag.archived, " archived");
  if (!lag.last_archived.empty())
    archiver += cat(", last ", lag.last_archived, " at ", lag.last_archived_time.to_string());
  if (lag.failed != 0) {
    archiver +=
        cat("; ", lag.failed, " failed, last ", lag.last_failed, " at ", lag.last_failed_time.to_string());
  }
  facts.add("archiver", archiver);
  return facts.to_string();
}

std::string to_text(const ops::WalStatus& status) {
  std::string text;
  for (const ops::LineageWalStatus& lineage : status.lineages) {
    text += cat(text.empty() ? "" : "\n", lineage_text(status.cluster, lineage));
  }
  if (status.lag) text += cat("\n", lag_text(*status.lag));
  return text;
}

// Names and headers are looked at here; what a verification found in the content is worth more.
Status add_verdicts(const ops::RepoLocation& where, const ops::WalStatus& status,
                    std::vector<std::string>& problems) {
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  for (const ops::LineageWalStatus& lineage : status.lineages) {
    const bool windows = std::ranges::any_of(
        lineage.timelines, [](const ops::TimelineStatus& timeline) { return !timeline.windows.empty(); });
    if (lineage.damaged_backups > 0 && !windows)
      problems.emplace_back("nothing can be recovered: a check found damage in every backup");
    const repo::LineageRepo repo(repository, where.cluster, lineage.record.lineage);
    if (auto verdict = ready::read_wal_verdict(repo); verdict && !verdict->problems.empty())
      problems.push_back(
          cat("verify of ", verdict->time.to_string(), " found: ", join(verdict->problems, "; ")));
  }
  return {};
}

Result<int> handle(const Invocation& invocation) {
  ops::WalStatusRequest request;
  TRY_ASSIGN(request.where, repo_location(invocation));
  request.conninfo = invocation.conninfo();
  request.pgdata = invocation.pgdata();
  request.ask_server = !request.conninfo.empty() || request.pgdata.has_value();
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::WalStatus status, ops::wal_status(request, reporter, invocation.stop()));
  invocation.output().text(to_text(status));
  invocation.output().document(to_json_text(to_json(status, request.where.url)));
  if (!status.lag_problem.empty()) {
    invocation.output().note(LogLevel::warning,
                             cat("how far the server is ahead is not known: ", status.lag_problem));
  }
  std::vector<std::string> problems = status.problems();
  TRY(add_verdicts(request.where, status, problems));
  if (problems.empty()) return 0;
  return make_error(ErrorKind::check_failed, cat("WAL of cluster ", status.cluster), join(problems, "; "))
      .with_hint("a new backup begins a window that does not depend on what is missing: lifeboat backup");
}

}  // namespace

extern const Command kWalStatusCommand;
constinit const Command kWalStatusCommand = {
    .path = "wal status",
    .summary = "show to which moments the stored WAL leads, with every hole",
    .description =
        "A window begins where a backup ends and goes as far as WAL leads on from it: everything between is "
        "a moment that restore can reach. One line for each window of each timeline, then what interrupts "
        "them: holes with the segments that are missing and the cause as far as it is known, segments that "
        "are stored with two contents (split brain, a clone; both stay readable), .partial files, histories "
        "that are missing.\n\n"
        "Told from names; of each window only the end is read. With --pg or --pgdata the server is asked how "
        "far it is ahead.\n\n"
        "What retention took from between two kept backups is shown and is no failure.",
    .danger = Danger::read,
    .groups = {&kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# from anywhere\n"
        "lifeboat wal status --repo /srv/backup\n"
        "# and how far the server is ahead\n"
        "lifeboat wal status --repo /srv/backup --pg host=/run/postgresql --pgdata "
        "/var/lib/postgresql/15/main",
    .exit_notes = "17: a hole or a conflict ends a window, or a timeline's history cannot be followed.",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "sound", "problems", "lineages", "server"],
  "properties": {
    "cluster": {"type": "string"},
    "repository": {"type": "string"},
    "time": {"type": ["string", "null"], "format": "date-time", "description": "by the repository's clock"},
    "sound": {"type": "boolean", "description": "nothing interrupts a window"},
    "problems": {"type": "array", "items": {"type": "string"}},
    "lineages": {"type": "array", "items": {"type": "object", "required": ["lineage", "timelines", "segments", "stored_bytes", "newest_stored", "last_hour", "last_day"], "properties": {
      "lineage": {"type": "string"},
      "segment_bytes": {"type": "integer"},
      "segments": {"type": "integer"},
      "stored_bytes": {"type": "integer", "description": "WAL as it is stored, compressed"},
      "newest_segment": {"type": ["string", "null"]},
      "newest_stored": {"type": ["string", "null"], "format": "date-time"},
      "damaged_backups": {"type": "integer", "description": "in which a check found damage; no window begins with one"},
      "last_hour": {"type": "object", "properties": {"segments": {"type": "integer"}, "wal_bytes": {"type": "integer"}, "stored_bytes": {"type": "integer"}, "wal_bytes_per_second": {"type": "number"}}},
      "last_day": {"type": "object", "properties": {"segments": {"type": "integer"}, "wal_bytes": {"type": "integer"}, "stored_bytes": {"type": "integer"}, "wal_bytes_per_second": {"type": "number"}}},
      "timelines": {"type": "array", "items": {"type": "object", "required": ["timeline", "windows", "holes", "conflicts", "partials"], "properties": {
        "timeline": {"type": "integer"},
        "origin": {"type": ["object", "null"], "properties": {"timeline": {"type": "integer"}, "lsn": {"type": "string"}}},
        "has_history_file": {"type": "boolean"},
        "problem": {"type": "string"},
        "oldest": {"type": ["string", "null"]},
        "newest": {"type": ["string", "null"]},
        "segments": {"type": "integer"},
        "windows": {"type": "array", "items": {"type": "object", "required": ["from", "from_lsn", "to", "to_lsn", "backup"], "properties": {
          "from": {"type": ["string", "null"], "format": "date-time"},
          "from_lsn": {"type": "string"},
          "to": {"type": ["string", "null"], "format": "date-time", "description": "of the last commit"},
          "to_lsn": {"type": "string"},
          "backup": {"type": "string"},
          "backups": {"type": "integer"},
          "hole": {"type": ["string", "null"]},
          "conflict": {"type": ["string", "null"]}}}},
        "holes": {"type": "array", "items": {"type": "object", "required": ["first", "last", "segments", "in_window", "expired", "cause"]}},
        "conflicts": {"type": "array", "items": {"type": "object", "required": ["segment", "in_window", "contents"]}},
        "partials": {"type": "array", "items": {"type": "string"}}
      }}}
    }}},
    "server": {"type": ["object", "null"], "description": "null: no server was named, or it did not answer", "properties": {
      "in_recovery": {"type": "boolean"},
      "timeline": {"type": "integer"},
      "current_lsn": {"type": "string"},
      "stored_lsn": {"type": ["string", "null"]},
      "bytes": {"type": ["integer", "null"], "description": "that the repository is behind; null: nothing of its timeline is stored"},
      "ready": {"type": ["integer", "null"]},
      "oldest_ready": {"type": ["string", "null"]},
      "archived_count": {"type": "integer"},
      "failed_count": {"type": "integer"}
    }}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
