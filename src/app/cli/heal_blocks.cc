// lifeboat heal blocks: damaged blocks of a data directory, found and rebuilt.
#include <nlohmann/json.hpp>

#include "app/cli/heal_output.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/scratch.h"
#include "ops/heal/rebuild.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

struct Found {
  ops::DataDirFacts data_dir;
  ops::BlockScan scan;
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
          {"rebuilt", found.rebuilt ? to_json(*found.rebuilt) : Json(nullptr)}};
}

std::string damaged_table(const ops::BlockScan& scan) {
  Table table({{"file"}, {"block", Align::right}, {"offset", Align::right}, {"damage"}});
  for (const ops::DamagedBlock& block : scan.damaged)
    table.add({block.path, cat(block.block), cat(block.offset), std::string(pg::to_string(block.state))});
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
  facts.add("read", cat(counted(found.scan.blocks, "block"), " of ", counted(found.scan.files, "file")));
  facts.add("damaged", counted(found.scan.damaged.size(), "block"));
  return cat(facts.to_string(), damaged_table(found.scan));
}

Result<Found> find_blocks(const Invocation& invocation, Reporter& reporter) {
  auto pgdata = invocation.pgdata();
  if (!pgdata) return make_error(ErrorKind::usage, "--pgdata", "is needed: which data directory?");
  Found found;
  TRY_ASSIGN(found.data_dir, ops::read_data_dir(*pgdata));
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
  if (left == 0) return 0;
  return make_error(ErrorKind::check_failed, found.data_dir.path, cat(counted(left, "damaged block")))
      .with_hint("stop the server and rebuild them: heal blocks --to DIR");
}

Result<int> handle(const Invocation& invocation) {
  auto to = invocation.text("to");
  if (invocation.flag("in-place") && !to)
    return make_error(ErrorKind::usage, "--in-place", "needs --to, where the blocks are kept as they were");
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
        "wrong; a server may run meanwhile. Without data checksums little is seen: name the blocks that "
        "PostgreSQL or amcheck complained about with --block.\n\n"
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
        "# rebuild it on the stopped server, and keep what was there\n"
        "lifeboat heal blocks --repo /srv/backup --pgdata /var/lib/postgresql/15/main --to /var/tmp/healed "
        "--in-place",
    .exit_notes = "17: blocks are damaged, or could not all be rebuilt.",
    .schema = R"({
  "type": "object",
  "required": ["data_directory", "checksums", "running", "files", "blocks", "damaged", "rebuilt"],
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
        "state": {"type": "string"},
        "lsn": {"type": "string", "description": "that the page claims"}
      }}},
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
