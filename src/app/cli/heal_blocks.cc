// lifeboat heal blocks: damaged blocks of a data directory, found and rebuilt.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "app/cli/heal_amcheck.h"
#include "app/cli/heal_output.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/scratch.h"
#include "ops/heal/amcheck.h"
#include "ops/heal/rebuild.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

struct Found {
  ops::DataDirFacts data_dir;
  ops::BlockScan scan;
  std::optional<ops::AmcheckScan> amcheck;
  std::vector<std::string> next_commands;  // with amcheck
  std::optional<ops::RebuildOutcome> rebuilt;
};

Json to_json(const ops::DamagedBlock& block) {
  return {{"file", block.path},     {"fork", pg::to_string(block.fork)},   {"block", block.block},
          {"offset", block.offset}, {"state", pg::to_string(block.state)}, {"lsn", block.lsn.to_string()}};
}

Json to_json(const ops::RebuildOutcome& outcome) {
  Json blocks = Json::array();
  for (const ops::RebuiltBlock& block : outcome.blocks) {
    blocks.push_back({{"file", block.damaged.path},
                      {"block", block.damaged.block},
                      {"lsn", block.lsn.to_string()},
                      {"different_bytes", block.different_bytes},
                      {"neighbours", block.neighbours},
                      {"problem", block.problem.empty() ? Json(nullptr) : Json(block.problem)}});
  }
  return {{"backup", outcome.backup.text},
          {"position", outcome.position.to_string()},
          {"medium", to_string(outcome.medium)},
          {"blocks", std::move(blocks)},
          {"files", outcome.files},
          {"kept", outcome.kept},
          {"stored_wal", outcome.stored_wal}};
}

Json to_json(const Found& found) {
  Json damaged = Json::array();
  for (const ops::DamagedBlock& block : found.scan.damaged) damaged.push_back(to_json(block));
  return {{"data_directory", found.data_dir.path},
          {"checksums", found.scan.checksums},
          {"running", found.scan.running},
          {"files", found.scan.files},
          {"blocks", found.scan.blocks},
          {"damaged", std::move(damaged)},
          {"amcheck", found.amcheck ? amcheck_json(*found.amcheck) : Json(nullptr)},
          {"next_commands", found.next_commands},
          {"rebuilt", found.rebuilt ? to_json(*found.rebuilt) : Json(nullptr)}};
}

// "ok" would not say much of a block that amcheck complains of.
std::string damage_text(const ops::DamagedBlock& block, bool amcheck) {
  return amcheck && block.state == pg::PageState::ok ? "content" : std::string(pg::to_string(block.state));
}

std::string damaged_table(const ops::BlockScan& scan, bool amcheck) {
  Table table({{"file"}, {"block", Align::right}, {"offset", Align::right}, {"damage"}});
  for (const ops::DamagedBlock& block : scan.damaged)
    table.add({block.path, cat(block.block), cat(block.offset), damage_text(block, amcheck)});
  return table.empty() ? "" : cat("\n", table.to_string());
}

std::string rebuilt_table(const ops::RebuildOutcome& outcome) {
  Table table({{"file"}, {"block", Align::right}, {"lsn"}, {"bytes", Align::right}, {"result"}});
  for (const ops::RebuiltBlock& block : outcome.blocks)
    table.add({block.damaged.path, cat(block.damaged.block), block.lsn.to_string(),
               cat(block.different_bytes),
               block.problem.empty() ? cat("rebuilt, ", counted(block.neighbours, "neighbour"), " equal")
                                     : block.problem});
  std::string text = cat("\nrebuilt from backup ", outcome.backup.text, " and WAL to ",
                         outcome.position.to_string(), "\n", table.to_string());
  for (const std::string& file : outcome.files) text += cat("written: ", file, "\n");
  for (const std::string& file : outcome.kept) text += cat("as it was: ", file, "\n");
  return text;
}

std::string found_text(const Found& found) {
  Facts facts;
  facts.add("data directory", cat(found.data_dir.path, found.scan.running ? " (a server runs)" : ""));
  if (found.scan.files != 0 || !found.amcheck)
    facts.add("read", cat(counted(found.scan.blocks, "block"), " of ", counted(found.scan.files, "file")));
  facts.add("damaged", counted(found.scan.damaged.size(), "block"));
  std::string text = cat(facts.to_string(), damaged_table(found.scan, found.amcheck.has_value()));
  if (found.amcheck) text += cat("\n", amcheck_text(*found.amcheck));
  if (!found.next_commands.empty()) text += "\nindexes at once, blocks when the server is stopped:\n";
  for (const std::string& command : found.next_commands) text += cat(command, "\n");
  return text;
}

// Blocks that both ways find are listed once, as the pages say.
Status ask_server(const Invocation& invocation, Found& found, Reporter& reporter) {
  const std::vector<std::string> relations = invocation.list("relation");
  if (relations.empty()) {
    TRY_ASSIGN(found.scan, ops::scan_blocks(found.data_dir, reporter, invocation.stop()));
  }
  TRY_ASSIGN(found.amcheck, ops::scan_with_amcheck({found.data_dir, invocation.conninfo(), relations},
                                                   reporter, invocation.stop()));
  found.scan.checksums = found.data_dir.control.checksums();
  found.scan.running = true;
  std::vector<ops::DamagedBlock>& damaged = found.scan.damaged;
  auto place = [](const ops::DamagedBlock& block) { return std::tie(block.path, block.block); };
  damaged.insert(damaged.end(), found.amcheck->blocks.begin(), found.amcheck->blocks.end());
  std::ranges::stable_sort(damaged, {}, place);
  damaged.erase(std::ranges::unique(damaged, {}, place).begin(), damaged.end());
  found.scan.notes.insert(found.scan.notes.end(), found.amcheck->notes.begin(), found.amcheck->notes.end());
  found.next_commands = repair_commands(invocation, found.data_dir, damaged, *found.amcheck);
  return {};
}

Result<Found> find_blocks(const Invocation& invocation, Reporter& reporter) {
  auto pgdata = invocation.pgdata();
  if (!pgdata) return make_error(ErrorKind::usage, "--pgdata", "is needed: which data directory?");
  Found found;
  TRY_ASSIGN(found.data_dir, ops::read_data_dir(*pgdata));
  if (invocation.flag("amcheck")) {
    TRY(ask_server(invocation, found, reporter));
    return found;
  }
  const std::vector<std::string> named = invocation.list("block");
  if (named.empty()) {
    TRY_ASSIGN(found.scan, ops::scan_blocks(found.data_dir, reporter, invocation.stop()));
    return found;
  }
  found.scan.checksums = found.data_dir.control.checksums();
  for (const std::string& name : named) {
    TRY_ASSIGN(ops::DamagedBlock block, ops::named_block(found.data_dir, name));
    found.scan.damaged.push_back(std::move(block));
    ++found.scan.blocks;
  }
  return found;
}

Result<ops::RebuildRequest> rebuild_request(const Invocation& invocation, const Found& found,
                                            const std::string& to) {
  ops::RebuildRequest request;
  request.data_dir = found.data_dir;
  request.blocks = found.scan.damaged;
  request.to = to;
  request.place = invocation.flag("in-place") ? ops::PatchPlace::in_place : ops::PatchPlace::beside;
  TRY_ASSIGN(
      request.scratch,
      scratch_options(invocation, scratch_directory(invocation, invocation.value("scratch-dir"), "heal")));
  return request;
}

// What was done to a data directory is in the audit trail.
Status file_in_trail(const Invocation& invocation, const Found& found, const ops::HealRecord& record) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY_ASSIGN(ops::ChosenLineage lineage, ops::lineage_of(repository, where.cluster, found.data_dir.lineage));
  return ops::file_record(lineage.repo, record);
}

// With what came of it.
void file_repair(const Invocation& invocation, const Found& found, ops::HealRecord record,
                 const Result<ops::RebuildOutcome>& result) {
  record.ended = {invocation.clock().unix_us()};
  record.outcome = result ? ops::HealOutcome::done : ops::HealOutcome::failed;
  if (result) {
    size_t rebuilt = 0;
    for (const ops::RebuiltBlock& block : result->blocks) {
      rebuilt += block.problem.empty() ? 1 : 0;
      record.did.push_back(cat(block.damaged.path, ", block ", block.damaged.block, ": ",
                               block.problem.empty() ? std::string("rebuilt") : block.problem));
    }
    if (rebuilt < result->blocks.size()) record.outcome = ops::HealOutcome::failed;
    record.says =
        cat(rebuilt, " of ", counted(result->blocks.size(), "block"), " rebuilt from backup ",
            result->backup.text, invocation.flag("in-place") ? ", in place" : ", beside the directory");
  } else {
    record.says = result.error().to_string();
  }
  if (Status filed = file_in_trail(invocation, found, record); !filed)
    invocation.output().note(LogLevel::warning,
                             cat("the repair is not in the trail: ", filed.error().to_string()));
}

Status rebuild(const Invocation& invocation, Found& found, const std::string& to, Reporter& reporter) {
  TRY(ops::check_stopped(found.data_dir));
  if (invocation.flag("in-place"))
    TRY(invocation.confirm(cat("rebuild ", counted(found.scan.damaged.size(), "block"), " in ",
                               found.data_dir.path, ", if the copy agrees?")));
  TRY_ASSIGN(ops::RebuildRequest request, rebuild_request(invocation, found, to));
  ops::HealRecord record = new_heal_record(invocation);
  record.action = "blocks";
  record.object = found.data_dir.path;
  record.finding = "corruption";
  record.saw = counted(found.scan.damaged.size(), "damaged block");
  // A call that is cut off leaves that it had begun to write into the directory.
  if (request.place == ops::PatchPlace::in_place) TRY(file_in_trail(invocation, found, record));
  auto rebuilt = ops::rebuild_blocks(std::move(request), reporter, invocation.stop());
  file_repair(invocation, found, std::move(record), rebuilt);
  TRY_ASSIGN(found.rebuilt, std::move(rebuilt));
  for (const std::string& note : found.rebuilt->notes) invocation.output().note(LogLevel::warning, note);
  return {};
}

Result<int> amcheck_verdict(const Found& found, const ops::AmcheckScan& scan) {
  const size_t blocks = found.scan.damaged.size();
  const auto others = static_cast<size_t>(std::ranges::count_if(scan.findings, [](const auto& finding) {
    return finding.kind == ops::AmcheckKind::index || finding.blocks.empty();
  }));
  if (blocks + others + scan.left_out != 0)
    return make_error(ErrorKind::check_failed, found.data_dir.path,
                      cat(counted(blocks, "damaged block"), ", and ", others, " findings of amcheck besides"))
        .with_hint(found.next_commands.empty() ? "" : "the commands above repair what can be repaired");
  if (scan.not_checked.empty()) return 0;
  return make_error(ErrorKind::check_failed, found.data_dir.path,
                    cat(counted(scan.not_checked.size(), "relation"), " could not be checked"))
      .with_cause(scan.not_checked.front().why);
}

// What is left after this call.
Result<int> verdict(const Found& found) {
  size_t left = found.scan.damaged.size();
  if (found.rebuilt) {
    left = 0;
    for (const ops::RebuiltBlock& block : found.rebuilt->blocks) left += block.problem.empty() ? 0 : 1;
    if (left == 0) return 0;
    return make_error(ErrorKind::check_failed, found.data_dir.path,
                      cat(counted(left, "block"), " could not be rebuilt"));
  }
  if (found.amcheck) return amcheck_verdict(found, *found.amcheck);
  if (left == 0) return 0;
  return make_error(ErrorKind::check_failed, found.data_dir.path, cat(counted(left, "damaged block")))
      .with_hint("stop the server and rebuild them: heal blocks --to DIR");
}

Result<int> handle(const Invocation& invocation) {
  auto to = invocation.text("to");
  if (invocation.flag("in-place") && !to)
    return make_error(ErrorKind::usage, "--in-place", "needs --to, where the blocks are kept as they were");
  if (!invocation.list("relation").empty() && !invocation.flag("amcheck"))
    return make_error(ErrorKind::usage, "--relation", "goes with --amcheck");
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(Found found, find_blocks(invocation, reporter));
  for (const std::string& note : found.scan.notes) invocation.output().note(LogLevel::warning, note);
  invocation.output().text(found_text(found));
  if (to && !found.scan.damaged.empty()) {
    TRY(rebuild(invocation, found, *to, reporter));
    invocation.output().text(rebuilt_table(*found.rebuilt));
  }
  invocation.output().document(to_json_text(to_json(found)));
  return verdict(found);
}

constexpr Option kOwn[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "rebuild what is damaged: patched files, and the blocks as they were, go into this directory"},
    {.name = "in-place", .help = "with --to: write the rebuilt blocks into the data directory"},
    {.name = "block",
     .kind = ValueKind::text,
     .placeholder = "PATH:BLOCK",
     .help = "take this block, base/5/16384:3, instead of looking for damaged ones",
     .repeatable = true},
    {.name = "amcheck",
     .help = "ask the running server (--pg) besides: verify_heapam of every table (from PostgreSQL 14 on), "
             "bt_index_check with heapallindexed of every B-tree index",
     .excludes = "to|block|in-place"},
    {.name = "relation",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "with --amcheck: of this table with its TOAST table and indexes, or of this index (also "
             "SCHEMA.NAME or DATABASE.SCHEMA.NAME), and nothing else is looked at",
     .repeatable = true},
    {.name = "scratch-dir",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "below which the backup is mounted meanwhile",
     .default_text = "/var/tmp",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kGroup = {"Heal", kOwn};

}  // namespace

extern const Command kHealBlocksCommand;
constinit const Command kHealBlocksCommand = {
    .path = "heal blocks",
    .summary = "find damaged blocks of a data directory; rebuild them from a backup and WAL",
    .description =
        "Reads every page of the data directory (--pgdata) and lists those whose checksum or header is "
        "wrong; a server may run meanwhile. Without data checksums little is seen: ask the server with "
        "--amcheck, or name blocks that PostgreSQL complained about with --block.\n\n"
        "--amcheck finds wrong content under a right checksum, and without one: the blocks of tables are "
        "listed as the others, ready for --block, and broken indexes with the REINDEX that makes them new. "
        "Every database is looked at that has the extension amcheck; it is never created. Tables are only "
        "read, with weak locks that are waited for ten seconds; a long check holds back vacuum as any long "
        "query does.\n\n"
        "With --to the blocks of a server that was stopped cleanly are rebuilt: its un-archived WAL is "
        "stored, a backup is recovered on a copy exactly to its last checkpoint, and each block is read "
        "there. A block is only taken when it is whole, not newer than that checkpoint, and when the "
        "blocks beside it carry the same positions here and there. Files with the rebuilt blocks and the "
        "damaged blocks as they were go into the directory; with --in-place the blocks are written into the "
        "data directory instead, after a question.\n\n"
        "Unlogged tables are in no backup and are not looked at. After a repair check with pg_checksums and "
        "pg_amcheck.",
    .danger = Danger::destructive,
    .groups = {&kGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .mounts = true,
    .examples =
        "# is anything damaged?\n"
        "lifeboat heal blocks --pgdata /var/lib/postgresql/15/main\n"
        "# a cluster without data checksums: what does the server find in its tables and indexes?\n"
        "lifeboat heal blocks --pgdata /var/lib/postgresql/15/main --amcheck\n"
        "# rebuild it on the stopped server, and keep what was there\n"
        "lifeboat heal blocks --repo /srv/backup --pgdata /var/lib/postgresql/15/main --to /var/tmp/healed "
        "--in-place",
    .exit_notes = "17: blocks or indexes are damaged, could not be checked, or could not all be rebuilt.",
    .schema = R"({
  "type": "object",
  "required": ["data_directory", "checksums", "running", "files", "blocks", "damaged", "amcheck", "next_commands", "rebuilt"],
  "properties": {
    "data_directory": {"type": "string"},
    "checksums": {"type": "boolean", "description": "the cluster has data checksums"},
    "running": {"type": "boolean", "description": "a server ran"},
    "files": {"type": "integer", "description": "that were read"},
    "blocks": {"type": "integer"},
    "damaged": {"type": "array", "items": {
      "type": "object",
      "required": ["file", "fork", "block", "offset", "state", "lsn"],
      "properties": {
        "file": {"type": "string", "description": "relative to the data directory"},
        "fork": {"type": "string"},
        "block": {"type": "integer", "description": "counted over all files of the fork"},
        "offset": {"type": "integer", "description": "in this file, bytes"},
        "state": {"type": "string", "description": "of header and checksum; ok: somebody named it, or amcheck did"},
        "lsn": {"type": "string", "description": "that the page claims"}
      }}},
    "amcheck": )" LIFEBOAT_AMCHECK_SCHEMA R"(,
    "next_commands": {"type": "array", "items": {"type": "string"}, "description": "with --amcheck: REINDEX for psql, and what rebuilds the blocks once the server is stopped"},
    "rebuilt": {"type": ["object", "null"], "properties": {
      "backup": {"type": "string"},
      "position": {"type": "string", "description": "of the server's last checkpoint"},
      "medium": {"type": "string"},
      "blocks": {"type": "array", "items": {
        "type": "object",
        "required": ["file", "block", "lsn", "different_bytes", "neighbours", "problem"],
        "properties": {
          "file": {"type": "string"},
          "block": {"type": "integer"},
          "lsn": {"type": "string"},
          "different_bytes": {"type": "integer", "description": "from the damaged block"},
          "neighbours": {"type": "integer", "description": "that were compared"},
          "problem": {"type": ["string", "null"], "description": "why it was not written"}
        }}},
      "files": {"type": "array", "items": {"type": "string"}},
      "kept": {"type": "array", "items": {"type": "string"}},
      "stored_wal": {"type": "array", "items": {"type": "string"}}
    }}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
