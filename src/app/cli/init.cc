// lifeboat init: creates or adopts a repository, registers a cluster, sets up the server.
#include "ops/init/init.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/cli/findings.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/terminal.h"
#include "pg/client/client.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

// A comment that stays one when the text around it is pasted into psql: each line begins with "--".
std::string sql_comment(std::string_view reason) {
  const std::string wrapped = wrap(reason, 0, 92);
  std::string text;
  for (std::string_view line : split(trim(wrapped), '\n')) text += cat("    -- ", line, "\n");
  return text;
}

using Json = nlohmann::ordered_json;
using ops::Done;
using ops::Severity;

// Findings whose mending the list of settings says already.
constexpr std::string_view kCoveredBySettings[] = {"wal_level",       "archive_mode",    "archive_library",
                                                   "archive_command", "archive_timeout", "wal_senders"};

// Without a key the repository will be readable by whoever reads its files: a person decides that, or one
// warning says it.
Status settle_encryption(const Invocation& invocation, const ops::RepoLocation& where) {
  if (where.key.kind != repo::KeySourceKind::none) return {};
  TRY_ASSIGN(auto marker, ops::look_for_repository(where));
  if (marker) return {};
  if (have_terminal() && !invocation.yes() && !invocation.output().json()) {
    TRY_ASSIGN(bool plain,
               ask_yes("Neither --key-file nor --passphrase-file was given. Make a repository that is "
                       "NOT encrypted?"));
    if (plain) return {};
    return make_error(ErrorKind::not_confirmed, where.url, "nothing was made")
        .with_hint("add --key-file FILE: a key is generated there when the file does not exist");
  }
  invocation.output().note(
      LogLevel::warning, cat("the repository ", where.url,
                             " is not encrypted: whoever can read it can read the database. Encryption is "
                             "chosen when a repository is made: --key-file FILE or --passphrase-file FILE"));
  return {};
}

// SQL for a role, for the version that --pg or --pgdata names.
Result<int> print_grants(const Invocation& invocation) {
  int major = 0;
  auto client = pg::PgClient::connect(invocation.conninfo());
  if (client) {
    major = client->major();
  } else if (auto pgdata = invocation.pgdata()) {
    TRY_ASSIGN(ops::DataDirFacts data, ops::read_data_dir(*pgdata));
    major = data.version->major;
  } else {
    return std::move(client).error().within(
        "find out the server's version, on which the functions' names depend");
  }
  std::string role = invocation.value("role");
  std::string sql = ops::role_sql(role, major);
  invocation.output().text(sql);
  invocation.output().document(to_json_text(Json{{"role", role}, {"major", major}, {"role_sql", sql}}));
  return 0;
}

Json setting_json(const ops::SettingChange& change) {
  return {{"name", change.name},         {"now", change.now},
          {"wanted", change.wanted},     {"reason", change.reason},
          {"restart", change.restart},   {"advised", change.advised},
          {"replaces", change.replaces}, {"sql", ops::alter_system_sql(change)}};
}

Json settings_json(const std::vector<ops::SettingChange>& changes) {
  Json list = Json::array();
  for (const ops::SettingChange& change : changes) list.push_back(setting_json(change));
  return list;
}

// What a recovery has left empty waits for a restart that nobody needs (ops/restore/start.cc).
bool concerns_us(const std::string& setting) {
  return !setting.starts_with("recovery_target");
}

bool restart_needed(const ops::InitSummary& summary) {
  return !summary.applied.pending_restart.empty() ||
         (summary.facts.server && std::ranges::any_of(summary.facts.server->pending_restart, concerns_us));
}

bool ready(const ops::InitSummary& summary) {
  return count(summary.findings, Severity::critical) == 0 && summary.changes.empty();
}

bool ready_now(const ops::InitSummary& summary) {
  return ready(summary) && !restart_needed(summary);
}

std::vector<std::string> next_commands(const ops::InitSummary& summary) {
  std::vector<std::string> commands;
  if (ready_now(summary)) commands.push_back(ops::our_command(summary.facts, "backup"));
  commands.push_back(ops::our_command(summary.facts, "doctor"));
  return commands;
}

Json to_json(const ops::InitSummary& summary, const ops::RepoLocation& where, const std::string& role) {
  const repo::LineageRecord& lineage = summary.lineage;
  Json json = {
      {"repository", where.url},
      {"repository_created", summary.repository == Done::created},
      {"encrypted", summary.marker.encrypted},
      {"key_file_created", summary.key_file == Done::created},
      {"cluster", where.cluster},
      {"registered", summary.registration == Done::created},
      {"system_id", lineage.lineage.system_id.to_string()},
      {"major", lineage.lineage.major},
      {"catalog_version", lineage.catalog_version},
      {"wal_segment_size", lineage.segment_size.bytes},
      {"block_size", lineage.block_size},
      {"other_lineages", summary.other_lineages},
      {"archive_command", summary.facts.expected_archive_command},
      {"ready", ready(summary)},
      {"settings_applied", settings_json(summary.applied.applied)},
      {"settings_needed", settings_json(summary.changes)},
      {"restart_needed", restart_needed(summary)},
      {"restart_command", ops::restart_command(summary.facts)},
      {"patroni_command", summary.patroni_command.empty() ? Json(nullptr) : Json(summary.patroni_command)},
      {"next_commands", next_commands(summary)},
      {"checks", findings_json(summary.findings)}};
  if (summary.facts.server) json["role_sql"] = ops::role_sql(role, summary.facts.server->major);
  return json;
}

std::string settings_text(const ops::InitSummary& summary, bool applying) {
  std::string text;
  for (const ops::SettingChange& change : summary.applied.applied) {
    text += cat("set: ", change.name, " = ", change.wanted, "\n");
    if (change.replaces) text += cat("     in place of ", change.now, ", which gets no WAL any more\n");
  }
  if (!summary.patroni_command.empty()) {
    return cat(text, "\nPatroni owns this cluster's configuration. Run:\n  ", summary.patroni_command, "\n");
  }
  if (!summary.changes.empty()) {
    text += "\nTo be set, as a superuser in psql:\n";
    for (const ops::SettingChange& change : summary.changes) {
      text += cat("  ", ops::alter_system_sql(change), "\n", sql_comment(change.reason));
    }
    text += "  SELECT pg_reload_conf();\n";
    if (!applying) text += cat("or by:\n  ", ops::our_command(summary.facts, "init", "--apply"), "\n");
  }
  bool restart =
      restart_needed(summary) || std::ranges::any_of(summary.changes, &ops::SettingChange::restart);
  if (restart) {
    text += cat("\nThe server has to be restarted for what only a start brings into force:\n  ",
                ops::restart_command(summary.facts), "\n");
  }
  return text;
}

std::string to_text(const ops::InitSummary& summary, const ops::RepoLocation& where, bool applying) {
  const repo::LineageRecord& lineage = summary.lineage;
  Facts facts;
  facts.add("repository",
            cat(where.url, summary.repository == Done::created ? ", created" : ", was there already",
                summary.marker.encrypted ? ", encrypted" : ", not encrypted"));
  if (summary.key_file == Done::created) {
    facts.add("key", cat(where.key.path,
                         ", generated: keep a copy away from this host, nothing can be restored "
                         "without it"));
  }
  facts.add(
      "cluster",
      cat(where.cluster, summary.registration == Done::created ? ", registered" : ", was registered already",
          summary.other_lineages == 0 ? ""
                                      : cat(", beside ", counted(summary.other_lineages, "older lineage"))));
  facts.add("system identifier",
            cat(lineage.lineage.system_id.to_string(), ", PostgreSQL ", lineage.lineage.major,
                ", WAL segments of ", lineage.segment_size.bytes >> 20, " MB"));
  std::string text = facts.to_string();
  text += settings_text(summary, applying);

  ops::Findings rest;
  for (const ops::Finding& finding : summary.findings) {
    bool covered = std::ranges::find(kCoveredBySettings, finding.id) != std::end(kCoveredBySettings);
    if (!covered || summary.changes.empty()) rest.push_back(finding);
  }
  std::string help = findings_help(rest);
  if (!help.empty()) text += cat("\n", help);
  text += ready_now(summary) ? "\nReady. Next:\n" : "\nNot ready yet: see above. This tells when it is:\n";
  for (const std::string& command : next_commands(summary)) text += cat("  ", command, "\n");
  return text;
}

Result<int> handle(const Invocation& invocation) {
  if (invocation.flag("print-grants")) return print_grants(invocation);
  ops::InitRequest request;
  TRY_ASSIGN(request.where, repo_location(invocation));
  request.conninfo = invocation.conninfo();
  request.pgdata = invocation.pgdata();
  TRY_ASSIGN(auto compression, codec::parse_compression(invocation.value("compression")));
  request.compression = repo::CompressionOptions{compression, static_cast<int>(*invocation.integer("level"))};
  request.new_lineage = invocation.flag("new-lineage");
  request.changes = invocation.flag("apply") ? ops::ServerChanges::apply : ops::ServerChanges::print;
  request.may_replace = invocation.yes();
  request.archive_timeout_s = static_cast<int>(*invocation.duration_us("archive-timeout") / 1'000'000);
  request.config_path = invocation.config_path();
  request.pg_bin = invocation.pg_bin().value_or("");
  OutputReporter reporter(invocation.output());
  request.reporter = &reporter;
  request.stop = &invocation.stop();
  std::string role = invocation.value("role");
  TRY(settle_encryption(invocation, request.where));

  TRY_ASSIGN(ops::InitSummary summary, ops::init_repository(request));
  Status consent;
  if (!summary.not_replaced.empty()) {
    std::vector<std::string> lost;
    for (const ops::SettingChange& change : summary.not_replaced) {
      lost.push_back(cat(change.name, " = ", change.now));
    }
    consent = invocation.confirm(
        cat("This belongs to another tool, or to another repository: ", join(lost, ", "), ". Replace it?"));
    if (consent) {
      ops::InitSummary first = std::move(summary);
      request.may_replace = true;
      TRY_ASSIGN(summary, ops::init_repository(request));
      summary.repository = first.repository;
      summary.registration = first.registration;
      summary.key_file = first.key_file;
      summary.applied.applied.insert(summary.applied.applied.begin(), first.applied.applied.begin(),
                                     first.applied.applied.end());
    }
  }
  invocation.output().text(to_text(summary, request.where, request.changes == ops::ServerChanges::apply));
  invocation.output().document(to_json_text(to_json(summary, request.where, role)));
  if (summary.apply_problem) {
    return std::move(*summary.apply_problem)
        .within("the cluster is registered, but its settings were not changed");
  }
  if (!consent) return std::move(consent).error();
  return 0;
}

constexpr Option kInitOptions[] = {
    {.name = "apply",
     .help =
         "set what is missing on the server with ALTER SYSTEM and reload; says whether a restart is needed"},
    {.name = "new-lineage",
     .help = "register this system identifier beside the ones that the cluster name has already (after "
             "pg_upgrade or a new initdb)"},
    {.name = "compression",
     .kind = ValueKind::choice,
     .placeholder = "METHOD",
     .help = "of a new repository",
     .default_text = "zstd",
     .choices = "zstd|lz4|none"},
    {.name = "level",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "zstd's level, of a new repository",
     .default_text = "1",
     .min = -7,
     .max = 19},
    {.name = "archive-timeout",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "longest that WAL may wait in an unfinished segment; 0 leaves the setting alone",
     .default_text = "60s",
     .min = 0,
     .max = 86'400'000'000},
    {.name = "print-grants",
     .help = "print the SQL that makes a role with least privilege, and do nothing else"},
    {.name = "role",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "the role that --print-grants and the JSON document write about",
     .default_text = "lifeboat"},
};
constinit const OptionGroup kInitGroup = {"Set-up", kInitOptions};

}  // namespace

extern const Command kInitCommand;
constinit const Command kInitCommand = {
    .path = "init",
    .summary = "create or adopt a repository and register a cluster",
    .description =
        "Creates the repository when there is none, registers the cluster in it by its system identifier, "
        "and "
        "checks the server. Prints exactly what is to be set so that WAL is archived and backups can be "
        "taken, "
        "or sets it with --apply. Running it again is success and changes nothing.\n\n"
        "With --key-file the repository is encrypted; the file is generated (mode 0600) when it does not "
        "exist. Keep a copy elsewhere: nothing can be restored without it. With neither key option a "
        "terminal "
        "is asked; without a terminal or with --yes the repository is not encrypted and a warning says "
        "so.\n\n"
        "The system identifier is read from the server, from the data directory, or from both, which must "
        "agree then. A cluster name that knows another identifier refuses a new one but for "
        "--new-lineage.\n\n"
        "Under Patroni nothing is set: the patronictl command that does it is printed.",
    .danger = Danger::write,
    .groups = {&kInitGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "repo",
    .examples =
        "# an encrypted repository, and the server set up for it\n"
        "lifeboat init --repo /srv/backup --key-file /etc/lifeboat/main.key --apply\n"
        "# what a dedicated role needs\n"
        "lifeboat init --print-grants --role backup | psql",
    .exit_notes =
        "0: repository and cluster are registered, even when the server is not ready yet (doctor has the "
        "failing "
        "exit code).",
    .schema = R"({
  "type": "object",
  "properties": {
    "repository": {"type": "string"},
    "repository_created": {"type": "boolean"},
    "encrypted": {"type": "boolean"},
    "key_file_created": {"type": "boolean"},
    "cluster": {"type": "string"},
    "registered": {"type": "boolean", "description": "false: it was registered before"},
    "system_id": {"type": "string"},
    "major": {"type": "integer"},
    "catalog_version": {"type": "integer"},
    "wal_segment_size": {"type": "integer"},
    "block_size": {"type": "integer"},
    "other_lineages": {"type": "integer"},
    "archive_command": {"type": "string"},
    "ready": {"type": "boolean"},
    "settings_applied": {"type": "array", "items": {"type": "object"}},
    "settings_needed": {"type": "array", "items": {"type": "object", "required": ["name", "now", "wanted", "sql"], "properties": {"name": {"type": "string"}, "now": {"type": "string"}, "wanted": {"type": "string"}, "reason": {"type": "string"}, "restart": {"type": "boolean"}, "advised": {"type": "boolean"}, "replaces": {"type": "boolean"}, "sql": {"type": "string"}}}},
    "restart_needed": {"type": "boolean"},
    "restart_command": {"type": "string"},
    "patroni_command": {"type": ["string", "null"]},
    "next_commands": {"type": "array", "items": {"type": "string"}, "description": "to be pasted, in order"},
    "role": {"type": "string"},
    "role_sql": {"type": "string"},
    "checks": {"type": "array", "items": )" LIFEBOAT_FINDING_SCHEMA R"(}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
