// lifeboat runbook: what to do when it has happened, with this cluster's own names and commands.
#include "ready/runbook/runbook.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/readiness.h"
#include "app/readings.h"
#include "app/render.h"
#include "app/retention.h"
#include "ready/runbook/shelf.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Json steps_json(const std::vector<ready::RunbookStep>& steps) {
  Json list = Json::array();
  for (const ready::RunbookStep& step : steps) {
    Json commands = Json::array();
    for (const ready::RunbookCommand& command : step.commands)
      commands.push_back({{"line", command.line}, {"changes", command.effect == ready::Effect::changes}});
    list.push_back({{"says", step.says}, {"commands", commands}});
  }
  return list;
}

Json to_json(const ready::Runbook& book, const std::string& file) {
  return {{"id", book.id},
          {"title", book.title},
          {"symptoms", book.symptoms},
          {"diagnostic", steps_json(book.diagnostic)},
          {"action", steps_json(book.action)},
          {"afterwards", steps_json(book.afterwards)},
          {"never", book.never},
          {"minutes", book.minutes},
          {"file", file.empty() ? Json(nullptr) : Json(file)}};
}

std::string file_of(const std::string& directory, const ready::Runbook& book) {
  return join_path(directory, cat(book.id, ".md"));
}

// Somebody has to read it when the database's host is gone.
void warn_of_place(const Invocation& invocation, const ready::ReportFacts& facts,
                   const std::string& directory) {
  auto info = stat_path(directory);
  if (!info) return;
  const auto& data = facts.doctor().data_disk;
  const auto& stored = facts.doctor().repository_disk;
  if (data && data->device == info->device)
    invocation.output().note(LogLevel::warning, cat(directory,
                                                    " is on the disk of the data directory: keep a copy "
                                                    "elsewhere, or on paper"));
  else if (stored && stored->device == info->device)
    invocation.output().note(
        LogLevel::warning,
        cat(directory, " is on the disk of the repository: keep a copy elsewhere, or on paper"));
}

// Who reviewed it last stays until the text changes under his eyes: writing anew keeps nobody's name.
ready::Review review_of(const Invocation& invocation, Timestamp now) {
  auto by = invocation.text("reviewed-by");
  return by ? ready::Review{*by, now} : ready::Review{};
}

// What is there is worth more than a sheet that knows less, and another cluster's is nobody's to write over.
Status check_shelf(const std::string& directory, const ready::RunbookFacts& facts,
                   const std::vector<ready::Runbook>& books) {
  if (!facts.repository_problem.empty())
    return make_error(ErrorKind::unavailable, directory,
                      cat("nothing was written, because the repository could not be read: ",
                          facts.repository_problem))
        .with_hint("without --to they are printed all the same, without backups and minutes");
  for (const ready::Runbook& book : books) {
    const std::string file = file_of(directory, book);
    auto text = read_text(file, ready::kLongestRunbook);
    if (!text) continue;
    auto there = ready::parse_runbook(file, *text);
    if (!there) continue;
    const bool other_server =
        !there->system_id.empty() && !facts.system_id.empty() && there->system_id != facts.system_id;
    if (there->cluster != facts.cluster || other_server)
      return make_error(ErrorKind::conflict, file,
                        cat("is a runbook of cluster ", there->cluster,
                            other_server ? cat(", system identifier ", there->system_id) : ""))
          .with_hint(cat("a directory for each: --to ", shell_quote(join_path(directory, facts.cluster)),
                         ", and runbook-dir with it in [cluster.", facts.cluster, "]"));
  }
  return {};
}

// Somebody vouched for the old text, and may have written into it.
Status keep_reviewed(const Invocation& invocation, const std::string& file) {
  auto text = read_text(file, ready::kLongestRunbook);
  if (!text) return {};
  auto there = ready::parse_runbook(file, *text);
  if (!there || there->reviewer.empty()) return {};
  const std::string kept = cat(file, ".reviewed");
  TRY(write_file_durable(kept, as_bytes(*text), 0644));
  if (!invocation.has("reviewed-by"))
    invocation.output().note(
        LogLevel::warning, cat(file, " is written anew and reviewed by nobody; that which ", there->reviewer,
                               " has reviewed is ", kept));
  return {};
}

Result<int> handle(const Invocation& invocation) {
  const std::string id = invocation.positional(0);
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  TRY_ASSIGN(ready::ReportFacts facts, read_readiness(invocation));
  ready::RunbookFacts runbook = ready::runbook_facts(facts, where);
  runbook.stated_bin = invocation.pg_bin().value_or("");
  const std::vector<ready::Runbook> books = ready::make_runbooks(runbook, id);
  const ready::Review review = review_of(invocation, facts.now());
  auto directory = invocation.text("to");
  if (!review.by.empty() && !directory)
    return make_error(ErrorKind::usage, "--reviewed-by",
                      "goes with --to DIR, where it is written into the files");
  if (directory) TRY(check_shelf(*directory, runbook, books));
  if (directory) TRY(create_dirs(*directory));
  if (!runbook.repository_problem.empty())
    invocation.output().note(LogLevel::warning,
                             cat("the repository could not be read, so backups and minutes are not known: ",
                                 runbook.repository_problem));
  Json list = Json::array();
  std::string text;
  for (const ready::Runbook& book : books) {
    const std::string markdown = ready::runbook_markdown(runbook, book, review);
    std::string file;
    if (directory) {
      file = file_of(*directory, book);
      TRY(keep_reviewed(invocation, file));
      TRY(write_file_durable(file, as_bytes(markdown), 0644));
      text += cat("wrote ", file, "\n");
    } else {
      text += cat(text.empty() ? "" : "\n\n", markdown);
    }
    list.push_back(to_json(book, file));
  }
  if (directory) warn_of_place(invocation, facts, *directory);
  invocation.output().text(text);
  invocation.output().document(
      to_json_text(Json{{"cluster", runbook.cluster}, {"facts_from", runbook.from}, {"runbooks", list}}));
  return 0;
}

constexpr Option kRunbookOptions[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "write NAME.md of each there, made when absent (default: print them)"},
    {.name = "reviewed-by",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "with --to: who has read them and found them right"},
};
constinit const OptionGroup kRunbookGroup = {"Runbook", kRunbookOptions};

constexpr Positional kPositionals[] = {
    {.name = "NAME",
     .kind = ValueKind::choice,
     .help = "which one (default: all)",
     .choices =
         "primary-loss|archive-failure|backup-failure|wraparound|bloat|storage|connections|data-changed|"
         "region-lost",
     .required = false},
};

}  // namespace

extern const Command kRunbookCommand;
constinit const Command kRunbookCommand = {
    .path = "runbook",
    .summary = "what to do in nine failures, with this cluster's own names and commands",
    .description =
        "Symptom, first diagnostic, safe first action, what comes after and what never to do: for the loss "
        "of the "
        "primary, WAL that is not archived, backups that fail, transaction ids that run out, bloat, full "
        "disks, used-up "
        "connections, data changed by mistake, and the loss of the whole site. Host, paths, ports, keys, "
        "repository and "
        "the minutes that the last drill took are filled in; a server that is down is described by its "
        "newest backup.\n\n"
        "Every command stands on its own: no configuration file, no environment. --to writes one file each; "
        "keep a copy "
        "where it can be read when this host and its repository are gone. `lifeboat report` looks whether "
        "they are "
        "there, and who has reviewed them.",
    .danger = Danger::write,
    .positionals = kPositionals,
    .groups = {&kRunbookGroup, &kStatedOptions, &kRetentionOptions, &kRunbookPlaceOptions, &kSignalOptions,
               &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .examples =
        "# one, on the terminal\n"
        "lifeboat runbook primary-loss --repo /srv/backup --pgdata /var/lib/postgresql/15/main\n"
        "# all, to be printed\n"
        "lifeboat runbook --to /var/lib/lifeboat/runbooks --reviewed-by 'Ada Lovelace'",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "runbooks"],
  "properties": {
    "cluster": {"type": "string"},
    "facts_from": {"type": "string", "description": "the running server, or the newest backup of it"},
    "runbooks": {"type": "array", "items": {"type": "object", "required": ["id", "symptoms", "diagnostic", "action"], "properties": {
      "id": {"type": "string"}, "title": {"type": "string"},
      "symptoms": {"type": "array", "items": {"type": "string"}},
      "diagnostic": {"type": "array", "items": {"type": "object", "properties": {"says": {"type": "string"},
        "commands": {"type": "array", "items": {"type": "object", "properties": {"line": {"type": "string"}, "changes": {"type": "boolean"}}}}}}},
      "action": {"type": "array", "items": {"type": "object"}, "description": "as diagnostic"},
      "afterwards": {"type": "array", "items": {"type": "object"}, "description": "as diagnostic"},
      "never": {"type": "array", "items": {"type": "string"}},
      "minutes": {"type": "string"},
      "file": {"type": ["string", "null"]}}}}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
