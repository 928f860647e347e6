// lifeboat wal get: restore_command.
#include "ops/wal/get.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr int kAbsent = 1;

Result<int> handle(const Invocation& invocation) {
  ops::WalGetOptions options;
  TRY_ASSIGN(options.repo, repo_location(invocation));
  options.name = invocation.positional(0);
  options.path = invocation.positional(1);
  options.working_directory = invocation.working_directory();
  if (auto lineage = invocation.text("lineage")) {
    options.lineage = Lineage::parse(*lineage);
    if (!options.lineage) {
      return make_error(
          ErrorKind::usage, cat("--lineage ", *lineage),
          "not a lineage; expected a system identifier and a major version, as in 7424242424242424242-15");
    }
  }
  // The exit code depends on it already, since it must hold for command lines that do not parse.
  if (invocation.flag("standby")) {
    options.repo.patience = options.repo.patience.shortened_to(ops::kArchiverPatienceUs);
  }
  options.stop = &invocation.stop();
  options.prefetch.segments = static_cast<int>(invocation.integer("prefetch").value_or(0));
  options.prefetch.spool = invocation.text("spool").value_or("");
  options.prefetch.note = [&output = invocation.output()](const Error& error) {
    output.note(LogLevel::warning, cat("no prefetch: ", error.to_string()));
  };
  TRY_ASSIGN(ops::WalGetOutcome outcome, ops::get_wal(options));
  bool prefetched = outcome == ops::WalGetOutcome::prefetched;
  bool delivered = outcome != ops::WalGetOutcome::absent;
  // PostgreSQL asks for files that nobody has all the time; that is no news.
  invocation.output().note(LogLevel::debug, cat(options.name, prefetched  ? " was delivered from the spool"
                                                              : delivered ? " was delivered"
                                                                          : " is not stored"));
  nlohmann::ordered_json json = {
      {"file", options.name}, {"delivered", delivered}, {"prefetched", prefetched}};
  invocation.output().document(to_json_text(json));
  return delivered ? 0 : kAbsent;
}

constexpr Positional kPositionals[] = {
    {.name = "NAME",
     .kind = ValueKind::text,
     .help = "the file that is wanted, as restore_command's %f gives it"},
    {.name = "PATH", .kind = ValueKind::text, .help = "where to put it, as restore_command's %p gives it"},
};
constexpr Option kGetOptions[] = {
    {.name = "standby",
     .help = "a standby asks: never exit above 125, so that the server tries again instead of ending"},
    {.name = "lineage",
     .kind = ValueKind::text,
     .placeholder = "ID-MAJOR",
     .help = "system identifier and major version (default: what global/pg_control in the working directory "
             "says, else the "
             "newest that is registered)"},
    {.name = "prefetch",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "how many segments are fetched ahead while the server replays, at most; 0 turns it off",
     .default_text = "8",
     .min = 0,
     .max = 256,
     .section = ConfigSection::cluster},
    {.name = "spool",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where they lie until they are asked for, outside of any data directory (default: "
             "/var/lib/lifeboat/spool, or, where this user may not write there, a directory of its own below "
             "/var/tmp)",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kGetGroup = {"Get", kGetOptions};

}  // namespace

extern const Command kWalGetCommand;
constinit const Command kWalGetCommand = {
    .path = "wal get",
    .summary = "bring one WAL file back (for restore_command)",
    .description =
        "Brings a WAL segment or a .history file from the repository to PATH: whole, checked against its "
        "name, its hash and the "
        "cluster, synced, and only then under its name.\n\n"
        "PostgreSQL takes every ordinary failure for the end of the archive and ends recovery there. So the "
        "exit code is 1 only "
        "when the repository answered and certainly does not have the file, and 255 for everything else, "
        "which makes recovery "
        "stop instead.\n\n"
        "When a recovery asks (the working directory is its data directory), the segments that follow are "
        "fetched meanwhile by a "
        "process that is left behind for it, and that ends half a minute after the last call. Whatever that "
        "process cannot do, "
        "the call does itself.",
    .danger = Danger::write,
    .exit_rule = ExitRule::wal_get,
    .positionals = kPositionals,
    .groups = {&kGetGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# in postgresql.auto.conf\n"
        "restore_command = '/usr/bin/lifeboat --repo file:///srv/backup --cluster main wal get %f %p'",
    .exit_notes =
        "0: delivered. 1: certainly not stored. 255: anything else, so that recovery never ends early; with "
        "--standby "
        "the code of docs/errors.md, never above 125 and never 1.",
    .schema = R"({
  "type": "object",
  "required": ["file", "delivered", "prefetched"],
  "properties": {
    "file": {"type": "string"},
    "delivered": {"type": "boolean", "description": "false: certainly not stored, exit code 1"},
    "prefetched": {"type": "boolean", "description": "it lay in the spool"}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
