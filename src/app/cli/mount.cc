// lifeboat mount: a backup as a data directory, at once; blocks come from the repository when they are read.
#include "ops/mount/mount.h"

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "app/cli/background.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/restored.h"
#include "app/target.h"
#include "ops/restore/restore.h"
#include "ops/wal/commands.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Result<ops::RestoreOptions> skeleton_options(const Invocation& invocation, const std::string& backup) {
  ops::RestoreOptions options;
  options.medium = ops::RestoreMedium::mount;
  TRY_ASSIGN(options.location, repo_location(invocation));
  TRY_ASSIGN(TargetOptions target, target_options(invocation));
  if (invocation.has("backup"))
    return make_error(ErrorKind::usage, "--backup", "the backup is the first argument of this command");
  if (backup != "latest") {
    options.backup = BackupId::parse(backup);
    if (!options.backup) {
      return make_error(ErrorKind::usage, backup, "is not the id of a backup")
          .with_hint("lifeboat list shows them; latest is the newest");
    }
  }
  options.lineage = target.lineage;
  options.target = target.target;
  // The backup as it is, unless more was asked for.
  if (!has_target(invocation)) options.target.kind = pg::TargetKind::immediate;
  options.timeline_choice = target.choice;
  options.timeline = target.timeline;
  if (auto action = invocation.text("action")) {
    options.action = *action == "promote"    ? pg::TargetAction::promote
                     : *action == "shutdown" ? pg::TargetAction::shutdown
                                             : pg::TargetAction::pause;
  }
  options.directory = invocation.mount_directory();
  options.read_only = invocation.flag("read-only");
  options.throw_away = invocation.flag("throw-away");
  options.hydrate = invocation.flag("hydrate");
  TRY(read_restored_options(invocation, options));
  return options;
}

std::string_view to_string(ops::MountEnd end) {
  switch (end) {
    case ops::MountEnd::unmounted:
      return "unmounted";
    case ops::MountEnd::finished:
      return "finished";
    case ops::MountEnd::removed:
      return "removed";
  }
  return "";
}

Json mounted_json(const ops::MountState& state) {
  Json trees = Json::array();
  for (const ops::MountedTree& tree : state.trees) {
    trees.push_back(
        {{"tablespace", tree.tablespace == 0 ? Json(nullptr) : Json(tree.tablespace)}, {"path", tree.path}});
  }
  return {{"directory", state.trees.front().path},
          {"backup", state.backup.text},
          {"trees", trees},
          {"files", state.files},
          {"bytes", state.bytes},
          {"read_only", state.read_only},
          {"throw_away", state.throw_away},
          {"next_command", state.next.empty() ? Json(nullptr) : Json(state.next)}};
}

std::string mounted_text(const ops::MountState& state) {
  std::string text = cat("mounted ", state.trees.front().path, ": backup ", state.backup.text, ", ",
                         format_bytes(state.bytes), " in ", counted(state.files, "file"), "\n");
  if (state.next.empty() || state.read_only) return text;
  text += cat("next:\n", state.next, "\n");
  if (state.action == pg::TargetAction::pause)
    text += "recovery ends paused: that server can be read, and written to after SELECT pg_promote()\n";
  return text;
}

std::string ended_text(const ops::ServeOutcome& outcome, const std::string& directory) {
  std::string text = outcome.fetches == 0 ? std::string()
                                          : cat("fetched ", format_bytes(outcome.fetched_bytes), " in ",
                                                counted(outcome.fetches, "request"), "\n");
  switch (outcome.end) {
    case ops::MountEnd::unmounted:
      return text + cat("unmounted; what was read and written is kept. next:\nlifeboat mount ",
                        shell_quote(directory), "\n");
    case ops::MountEnd::finished:
      return text + cat(directory, " is a plain data directory now\n") +
             (outcome.state.next.empty() ? "" : cat("next:\n", outcome.state.next, "\n"));
    case ops::MountEnd::removed:
      return text + cat("unmounted and removed\n");
  }
  return text;
}

Json outcome_json(const ops::ServeOutcome& outcome) {
  Json json = mounted_json(outcome.state);
  json["end"] = to_string(outcome.end);
  json["fetched_bytes"] = outcome.fetched_bytes;
  json["fetches"] = outcome.fetches;
  return json;
}

Result<int> serve_here(const Invocation& invocation, const std::string& directory, bool& mounted) {
  OutputReporter reporter(invocation.output());
  ops::ServeOptions options;
  options.directory = directory;
  options.mounter = &invocation.mounter();
  options.patience.us = invocation.duration_us("retry-time").value_or(0);
  options.patience.note = [&output = invocation.output()](std::string_view text) {
    output.note(LogLevel::warning, text);
  };
  options.jobs = invocation.jobs();
  options.hydrate = invocation.flag("hydrate");
  options.rate = invocation.bytes("hydrate-rate").value_or(0);
  options.mounted = [&](const ops::MountState& state) {
    mounted = true;
    invocation.output().text(mounted_text(state));
  };
  TRY_ASSIGN(ops::ServeOutcome outcome, ops::serve_mount(options, reporter, invocation.stop()));
  invocation.output().text(ended_text(outcome, directory));
  invocation.output().document(to_json_text(outcome_json(outcome)));
  return 0;
}

// Another process serves; this one ends when that has mounted.
Result<int> serve_in_background(const Invocation& invocation, const std::string& directory) {
  TRY_ASSIGN(std::optional<ops::MountState> state, ops::look_at_mount(directory, invocation.mounter()));
  if (!state) return make_error(ErrorKind::not_found, directory, "is no mount of lifeboat's");
  TRY_ASSIGN(std::optional<pid_t> pid,
             start_mount(invocation, directory,
                         invocation.flag("hydrate") ? Bring::everything : Bring::what_is_read));
  if (!pid) {
    invocation.output().text(cat(directory, " was to be ended, and is\n"));
    Json ended = mounted_json(*state);
    ended["end"] = to_string(state->removing ? ops::MountEnd::removed : ops::MountEnd::finished);
    invocation.output().document(to_json_text(ended));
    return 0;
  }
  invocation.output().text(cat("process ", *pid, " serves it, its log is ",
                               join_path(directory, ops::kMountLog), "; to end it: kill ", *pid, "\n",
                               mounted_text(*state)));
  Json json = mounted_json(*state);
  json["end"] = nullptr;
  json["pid"] = *pid;
  invocation.output().document(to_json_text(json));
  return 0;
}

// One that is dead and mounted answers nothing.
Result<std::string> real_directory(const std::string& directory) {
  auto real = resolve_path(directory);
  if (real) return real;
  TRY_ASSIGN(std::string parent, resolve_path(parent_path(directory)));
  return join_path(parent, base_name(directory));
}

// A skeleton that this call made and could not mount is of no use to anybody.
Status take_back(const std::string& directory, ops::Mounter& mounter) {
  TRY_ASSIGN(std::optional<ops::MountState> state, ops::look_at_mount(directory, mounter));
  return state ? ops::remove_mount(*state) : Status();
}

Result<int> handle(const Invocation& invocation) {
  const bool is_new = invocation.positionals().size() > 1;
  TRY(invocation.mounter().available());
  if (is_new) {
    OutputReporter reporter(invocation.output());
    TRY_ASSIGN(ops::RestoreOptions options, skeleton_options(invocation, invocation.positional(0)));
    TRY_ASSIGN(ops::RestoreOutcome outcome, ops::run_restore(options, reporter, invocation.stop()));
    for (const std::string& warning : outcome.plan.warnings)
      invocation.output().note(LogLevel::warning, warning);
    for (const std::string& note : outcome.notes) invocation.output().note(LogLevel::info, note);
  }
  TRY_ASSIGN(std::string directory, real_directory(invocation.mount_directory()));
  bool mounted = false;
  auto served = invocation.flag("detach") ? serve_in_background(invocation, directory)
                                          : serve_here(invocation, directory, mounted);
  if (served || !is_new || mounted) return served;
  Error error = std::move(served).error();
  if (Status taken = take_back(directory, invocation.mounter()); !taken)
    error.hint =
        cat(error.hint, error.hint.empty() ? "" : "; ", "what was made stays: ", taken.error().to_string());
  return error;
}

constexpr Positional kPositionals[] = {
    {.name = "BACKUP",
     .help = "the id of a backup, or latest; alone: the directory of a mount that ended, which is "
             "mounted again as it was"},
    {.name = "DIR", .kind = ValueKind::path, .help = "the directory, absent or empty", .required = false},
};

constexpr Option kMountOptions[] = {
    {.name = "read-only", .help = "for looking: nothing can be changed, and no server started"},
    {.name = "throw-away",
     .help = "everything is removed when it is unmounted, changes too",
     .excludes = "hydrate"},
    {.name = "hydrate",
     .help = "bring every block in the background; unmounted after that, the directory stands on its own"},
    {.name = "hydrate-rate",
     .kind = ValueKind::bytes,
     .placeholder = "SIZE",
     .help = "bring at most this much per second in the background (default: no limit)",
     .min = 1 << 16},
    {.name = "detach", .help = "return when it is mounted; another process serves it"},
    {.name = "action",
     .kind = ValueKind::choice,
     .placeholder = "ACTION",
     .help = "of a server that is started there, at the target: pause, promote, or shut down (default: pause "
             "with a "
             "target, promote at the end of WAL)",
     .choices = "pause|promote|shutdown"},
};
constinit const OptionGroup kMountGroup = {"Mount", kMountOptions};

}  // namespace

extern const Command kMountCommand;
constinit const Command kMountCommand = {
    .path = "mount",
    .summary = "show a backup as a data directory at once, blocks come when they are read",
    .description =
        "Makes the directory as sparse files, which takes as long as there are files, whatever their size, "
        "and mounts "
        "it (FUSE). A block comes from the repository when it is first read, is checked, and stays in the "
        "directory. "
        "What a server writes is in the directory too, never in the repository. So PostgreSQL starts within "
        "seconds, "
        "recovers to the target (default: immediate, the backup as it is), and answers queries.\n\n"
        "The command serves the mount until it is unmounted (umount, fusermount3 -u) or gets SIGINT or "
        "SIGTERM; while a "
        "server runs there it waits for that to end. After that, or when the process was killed, the same "
        "directory is "
        "mounted again with everything in it by naming it alone. Not mounted, no server starts there.\n\n"
        "Like every copy it archives nothing and subscribes to nothing. Tablespaces are mounted each at its "
        "own place. "
        "Blocks that the repository cannot give, or gives damaged, are input/output errors of the server, "
        "never zeros, "
        "and a warning of this command. Started by root it is mounted for all and the files belong to the "
        "recorded "
        "owner; started by another user fusermount3 mounts, for that user.",
    .danger = Danger::write,
    .positionals = kPositionals,
    .groups = {&kMountGroup, &kRestoredOptions, &kTargetOptions, &kBackupChoiceOptions, &kRepoOptions,
               &kServerOptions, &kGeneralOptions},
    .mounts = true,
    .examples =
        "# look into yesterday's backup, read only what is looked at\n"
        "lifeboat mount --repo /srv/backup latest /srv/look --throw-away --port 5433\n"
        "# a moment, promoted when the server gets there\n"
        "lifeboat mount --repo /srv/backup latest /srv/copy --target-time '2026-11-20 10:56:25+00' --action "
        "promote --port 5433 --detach\n"
        "# again after the machine was started again\n"
        "lifeboat mount /srv/copy",
    .schema = R"({
  "type": "object",
  "required": ["directory", "backup", "end"],
  "properties": {
    "directory": {"type": "string"},
    "backup": {"type": "string"},
    "trees": {"type": "array", "items": {"type": "object", "properties": {"tablespace": {"type": ["integer", "null"]}, "path": {"type": "string"}}}},
    "files": {"type": "integer", "description": "whose blocks come from the backup"},
    "bytes": {"type": "integer"},
    "read_only": {"type": "boolean"},
    "throw_away": {"type": "boolean"},
    "end": {"enum": ["unmounted", "finished", "removed", null], "description": "finished: a plain data directory; null with --detach"},
    "pid": {"type": "integer", "description": "with --detach"},
    "fetched_bytes": {"type": "integer", "description": "plain"},
    "fetches": {"type": "integer"},
    "next_command": {"type": ["string", "null"], "description": "starts the server"}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
