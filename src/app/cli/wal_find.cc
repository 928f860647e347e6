// lifeboat wal find: when did it happen, and how does one come back to just before?
#include "ops/wal/find.h"

#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "app/before.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "ops/follow_up.h"
#include "ops/wal/commands.h"
#include "repo/manifest.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kAny = "*";  // --dropped without a name

std::string name_or_any(const Invocation& invocation, std::string_view option) {
  std::string name = invocation.value(option);
  return name == kAny ? "" : name;
}

// What is looked for: exactly one of the options that say so.
Status read_question(const Invocation& invocation, ops::FindRequest& request) {
  if (auto around = invocation.time("around")) {
    request.what = ops::FindWhat::around;
    request.around = *around;
    request.within_us = invocation.duration_us("within").value_or(request.within_us);
  } else if (invocation.has("dropped")) {
    request.what = ops::FindWhat::dropped;
    request.table = name_or_any(invocation, "dropped");
  } else if (invocation.has("truncated")) {
    request.what = ops::FindWhat::truncated;
    request.table = name_or_any(invocation, "truncated");
  } else if (auto deletes = invocation.text("deletes-over")) {
    request.what = ops::FindWhat::deleted;
    TRY_ASSIGN(request.threshold, ops::RowThreshold::parse(*deletes));
    request.table = invocation.text("table").value_or("");
  } else if (auto updates = invocation.text("updates-over")) {
    request.what = ops::FindWhat::updated;
    TRY_ASSIGN(request.threshold, ops::RowThreshold::parse(*updates));
    request.table = invocation.text("table").value_or("");
  } else if (auto xid = invocation.text("xid")) {
    request.what = ops::FindWhat::xid;
    request.xid = static_cast<uint32_t>(parse_u64(*xid).value_or(0));  // the lower 32 bits are in WAL
  } else if (auto busiest = invocation.integer("busiest")) {
    request.what = ops::FindWhat::busiest;
    request.limit = static_cast<size_t>(*busiest);
  } else {
    return make_error(ErrorKind::usage, "lifeboat wal find",
                      "needs one of --around, --dropped, --truncated, --deletes-over, --updates-over, --xid, "
                      "--busiest");
  }
  return {};
}

Result<ops::FindRequest> find_request(const Invocation& invocation) {
  ops::FindRequest request;
  request.limit = static_cast<size_t>(invocation.integer("limit").value_or(20));
  TRY(read_question(invocation, request));
  request.since = invocation.time("since");
  request.until = invocation.time("until");
  std::string timeline = invocation.text("timeline").value_or("latest");
  if (auto number = parse_u64(timeline)) request.timeline = Timeline{static_cast<uint32_t>(*number)};
  if (timeline == "current") {
    return make_error(ErrorKind::usage, "--timeline current",
                      "means a backup's own: give latest or a number");
  }
  return request;
}

Result<std::optional<Lineage>> lineage_option(const Invocation& invocation) {
  auto text = invocation.text("lineage");
  if (!text) return std::optional<Lineage>();
  auto lineage = Lineage::parse(*text);
  if (lineage) return lineage;
  return make_error(ErrorKind::usage, cat("--lineage ", *text),
                    "not a lineage, expected something like 7424242424242424242-15");
}

// --- output

// The restore to just before a finding; "" when no backup leads there.
struct Commands {
  ops::FollowUp follow_up;
  std::optional<std::string> directory;  // --to
  std::string lineage_words;
  std::map<BackupId, std::vector<ops::TablespaceAt>> tablespaces = {};  // of the backups that lead there

  Status read_tablespaces(const repo::LineageRepo& repo, const ops::FindResult& result) {
    for (const ops::WalFinding& finding : result.findings) {
      if (!finding.backup || tablespaces.contains(*finding.backup)) continue;
      TRY_ASSIGN(const repo::Manifest manifest, repo::read_manifest(repo, *finding.backup));
      std::vector<ops::TablespaceAt>& of_it = tablespaces[*finding.backup];
      for (const repo::TablespaceInfo& one : manifest.tablespaces)
        if (!one.in_place) of_it.push_back({one.name, one.location});
    }
    return {};
  }

  std::string before(const ops::FindResult& result, const ops::WalFinding& finding) const {
    if (!finding.backup) return "";
    std::string to = directory
                         ? *directory
                         : ops::copy_directory(follow_up.pgdata, cat("before-", finding.target.to_string()));
    return ops::copy_line(follow_up, cat(lineage_words, ops::target_words(result, finding)), to,
                          tablespaces.at(*finding.backup));
  }
};

Json table_json(const ops::FoundTable& table) {
  auto or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  return {{"database", or_null(table.database)},
          {"database_oid", table.database_oid},
          {"schema", or_null(table.schema)},
          {"table", or_null(table.table)},
          {"relfilenode", table.file},
          {"inserted", table.rows.inserted},
          {"updated", table.rows.updated},
          {"deleted", table.rows.deleted},
          {"rows_before", table.rows_before ? Json(*table.rows_before) : Json(nullptr)}};
}

Json tables_json(const std::vector<ops::FoundTable>& tables) {
  Json list = Json::array();
  for (const ops::FoundTable& table : tables) list.push_back(table_json(table));
  return list;
}

Json finding_json(const ops::FindResult& result, const ops::WalFinding& finding, const Commands& commands) {
  std::string command = commands.before(result, finding);
  return {
      {"xid", finding.xid},
      {"committed", finding.committed},
      {"time", json_time(finding.time)},
      {"commit_lsn", finding.commit.to_string()},
      {"what", finding.to_string()},
      {"dropped", tables_json(finding.dropped)},
      {"truncated", tables_json(finding.truncated)},
      {"changed", tables_json(finding.changed)},
      {"dropped_schemas", finding.dropped_schemas},
      {"dropped_database", finding.dropped_database.empty() ? Json(nullptr) : Json(finding.dropped_database)},
      {"target_lsn", finding.target.to_string()},
      {"backup", finding.backup ? Json(finding.backup->text) : Json(nullptr)},
      {"restore_command", command.empty() ? Json(nullptr) : Json(command)}};
}

Json to_json(const ops::FindResult& result, const Commands& commands) {
  Json findings = Json::array();
  for (const ops::WalFinding& finding : result.findings)
    findings.push_back(finding_json(result, finding, commands));
  return {{"timeline", result.timeline.value},
          {"from_lsn", result.from.to_string()},
          {"to_lsn", result.to.to_string()},
          {"last_commit", json_time(result.last_commit)},
          {"segments", result.segments},
          {"summaries", result.summaries},
          {"findings", findings},
          {"left_out", result.left_out},
          {"notes", result.notes}};
}

std::string to_text(const ops::FindResult& result, const Commands& commands) {
  std::string text;
  for (const ops::WalFinding& finding : result.findings) {
    std::string when = finding.time.valid() ? finding.time.to_string() : "at a time that is not known";
    text += cat(when, ", transaction ", finding.xid, ", ", finding.commit.to_string(), ": ",
                finding.to_string(), "\n");
    if (!finding.committed) continue;
    std::string command = commands.before(result, finding);
    text += command.empty() ? "  no backup leads to the moment before it\n"
                            : cat("  just before it:\n", command, "\n");
  }
  if (result.left_out != 0) text += cat(result.left_out, " earlier ones are not shown: --limit, --until\n");
  if (result.findings.empty())
    text +=
        "nothing was found in the WAL that is stored; what happened since then comes with the next segment "
        "(SELECT pg_switch_wal() on the server brings it)\n";
  std::string end = result.last_commit.valid() ? cat(", last commit ", result.last_commit.to_string()) : "";
  text += cat("searched ", result.from.to_string(), " to ", result.to.to_string(), " on timeline ",
              result.timeline.value, ", ", counted(result.segments, "segment"), end, "\n");
  return text;
}

Result<int> handle(const Invocation& invocation) {
  TRY_ASSIGN(ops::FindRequest request, find_request(invocation));
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  TRY_ASSIGN(std::optional<Lineage> lineage, lineage_option(invocation));
  Commands commands{{"", where, invocation.conninfo(), invocation.pgdata()}, invocation.text("to"), ""};
  TRY_ASSIGN(commands.follow_up.program, ops::own_program_path());
  if (lineage) commands.lineage_words = cat("--lineage ", lineage->to_string(), " ");
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::ChosenLineage chosen, ops::choose_lineage(repository, where.cluster, lineage));
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(ops::FindResult result, ops::find_wal(chosen, request, reporter, invocation.stop()));
  if (result.findings.empty() && !request.table.empty() &&
      (request.what == ops::FindWhat::dropped || request.what == ops::FindWhat::truncated)) {
    const std::string near = nearly_named(chosen, request, reporter, invocation.stop());
    TRY(invocation.stop().check());
    if (!near.empty())
      result.notes.push_back(cat("nothing of ", request.table, ": did you mean ", near, "?"));
  }
  for (const std::string& note : result.notes) invocation.output().note(LogLevel::warning, note);
  TRY(commands.read_tablespaces(chosen.repo, result));
  invocation.output().text(to_text(result, commands));
  invocation.output().document(to_json_text(to_json(result, commands)));
  return 0;
}

constexpr Option kFindOptions[] = {
    {.name = "dropped",
     .kind = ValueKind::text,
     .placeholder = "TABLE",
     .help = "the transactions that dropped TABLE (also SCHEMA.TABLE, DATABASE.SCHEMA.TABLE, or a database), "
             "or any table, schema or database",
     .bare = kAny,
     .excludes = "truncated|deletes-over|updates-over|xid|busiest|around"},
    {.name = "truncated",
     .kind = ValueKind::text,
     .placeholder = "TABLE",
     .help = "the transactions that truncated TABLE, or any table",
     .bare = kAny,
     .excludes = "deletes-over|updates-over|xid|busiest|around"},
    {.name = "deletes-over",
     .kind = ValueKind::text,
     .placeholder = "N|PERCENT",
     .help =
         "the transactions that deleted at least so many rows of one table, or such a share of it: 5000, 90%",
     .excludes = "updates-over|xid|busiest|around"},
    {.name = "updates-over",
     .kind = ValueKind::text,
     .placeholder = "N|PERCENT",
     .help = "the same for rows that were updated",
     .excludes = "xid|busiest|around"},
    {.name = "table",
     .kind = ValueKind::text,
     .placeholder = "TABLE",
     .help = "with --deletes-over and --updates-over: of this table"},
    {.name = "xid",
     .kind = ValueKind::xid,
     .placeholder = "XID",
     .help = "what this transaction did",
     .excludes = "busiest|around"},
    {.name = "busiest",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "the transactions that changed most rows",
     .bare = "10",
     .min = 1,
     .max = 10'000,
     .excludes = "around"},
    {.name = "around",
     .kind = ValueKind::time,
     .placeholder = "TIME",
     .help = "the commits nearest to this time, with what they changed"},
    {.name = "within",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "with --around: at most so far from it",
     .default_text = "5min",
     .min = 0},
    {.name = "since",
     .kind = ValueKind::time,
     .placeholder = "TIME",
     .help = "only what was committed then or later"},
    {.name = "until",
     .kind = ValueKind::time,
     .placeholder = "TIME",
     .help = "only what was committed then or earlier"},
    {.name = "timeline",
     .kind = ValueKind::timeline,
     .placeholder = "TIMELINE",
     .help = "along the history of this timeline: latest or a number",
     .default_text = "latest"},
    {.name = "lineage",
     .kind = ValueKind::text,
     .placeholder = "ID",
     .help = "system identifier and major version, as list shows them (default: the newest of the cluster)"},
    {.name = "limit",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "show at most so many, the newest; of --around the nearest",
     .default_text = "20",
     .min = 1,
     .max = 1'000'000},
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "directory in the restore commands that are printed (default: beside --pgdata, else below "
             "/var/tmp)"},
};
constinit const OptionGroup kFindGroup = {"Find", kFindOptions};

}  // namespace

extern const Command kWalFindCommand;
constinit const Command kWalFindCommand = {
    .path = "wal find",
    .summary = "find when something happened, and the way back to just before",
    .description =
        "Looks through the stored WAL for the transaction that dropped a table, emptied it, deleted or "
        "updated most of it, or was busiest, or that committed near a time, and prints for each the "
        "time and "
        "position of its commit, its id, what it did, and a restore command that brings back the moment "
        "just "
        "before it, ready to be pasted.\n\n"
        "Works from the repository alone. Change summaries answer without reading the WAL again; the "
        "first "
        "search makes those that are missing. Relations get their names from the backup before and from "
        "the "
        "WAL since, also those that were made after the last backup. What the server has not archived "
        "yet "
        "is not found: lifeboat wal check ends the segment and waits for it.\n\n"
        "Counts of rows are those of WAL; up to 16 rows of a transaction may be missing for each "
        "segment.",
    .danger = Danger::write,
    .groups = {&kFindGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# who dropped it, and how do we get it back\n"
        "lifeboat wal find --dropped orders --repo /srv/backup\n"
        "# something deleted most of a table\n"
        "lifeboat wal find --deletes-over 50% --repo /srv/backup\n"
        "# what happened at that time\n"
        "lifeboat wal find --around '2026-11-20 10:56:25+00' --within 1min --repo /srv/backup",
    .exit_notes = "0, also when nothing was found.",
    .schema = R"({
  "type": "object",
  "required": ["timeline", "from_lsn", "to_lsn", "findings", "left_out", "notes"],
  "properties": {
    "timeline": {"type": "integer", "description": "whose history was followed"},
    "from_lsn": {"type": "string"},
    "to_lsn": {"type": "string"},
    "last_commit": {"type": ["string", "null"], "format": "date-time", "description": "in what was searched"},
    "segments": {"type": "integer"},
    "summaries": {"type": "integer", "description": "of them that were stored; the others were read"},
    "findings": {"type": "array", "items": {"type": "object", "required": ["xid", "time", "commit_lsn", "what", "target_lsn", "restore_command"], "properties": {
      "xid": {"type": "integer"},
      "committed": {"type": "boolean"},
      "time": {"type": ["string", "null"], "format": "date-time", "description": "of the commit"},
      "commit_lsn": {"type": "string"},
      "what": {"type": "string"},
      "dropped": {"type": "array", "items": {"type": "object"}},
      "truncated": {"type": "array", "items": {"type": "object"}},
      "changed": {"type": "array", "items": {"type": "object", "properties": {
        "database": {"type": ["string", "null"]},
        "database_oid": {"type": "integer"},
        "schema": {"type": ["string", "null"]},
        "table": {"type": ["string", "null"], "description": "null: its name is not known"},
        "relfilenode": {"type": "integer"},
        "inserted": {"type": "integer"},
        "updated": {"type": "integer"},
        "deleted": {"type": "integer"},
        "rows_before": {"type": ["number", "null"], "description": "about so many rows were in it; null: not known"}}}},
      "dropped_schemas": {"type": "array", "items": {"type": "string"}},
      "dropped_database": {"type": ["string", "null"]},
      "target_lsn": {"type": "string", "description": "exclusive: recovery stops before what begins here"},
    "backup" : {"type" : [ "string", "null" ], "description" : "that leads there"}, "restore_command" : {
  "type" : [ "string", "null" ]
}
}
}
}
, "left_out" : {"type" : "integer", "description" : "earlier findings beyond the limit"},
               "notes"
    : {"type" : "array", "items" : {"type" : "string"}, "description" : "what could not be looked at"}
}
})",
    .handler = handle,
};

}  // namespace lifeboat::app
