// lifeboat mark: a named restore point.
#include "ops/wal/mark.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "ops/follow_up.h"
#include "ops/wal/commands.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Result<int> handle(const Invocation& invocation) {
  ops::MarkRequest request;
  TRY_ASSIGN(request.where, repo_location(invocation));
  request.conninfo = invocation.conninfo();
  request.name = invocation.positional(0);
  ops::FollowUp follow_up{"", request.where, request.conninfo, invocation.pgdata()};
  TRY_ASSIGN(follow_up.program, ops::own_program_path());
  TRY_ASSIGN(ops::Mark mark, ops::make_mark(request, invocation.stop()));
  std::string directory = ops::copy_directory(follow_up.pgdata, cat("at-", mark.lsn.to_string()));
  // By position: a recovery by name ends at the first mark of that name.
  std::string restore = ops::copy_line(
      follow_up, cat("--target-lsn ", mark.lsn.to_string(), " --exclusive --timeline ", mark.timeline.value),
      directory, mark.tablespaces);
  Facts facts;
  facts.add("mark", mark.name);
  facts.add("lsn", cat(mark.lsn.to_string(), " on timeline ", mark.timeline.value));
  facts.add("time", mark.time.to_string());
  invocation.output().text(
      cat(facts.to_string(), "as soon as its WAL is stored, back to it beside the server:\n", restore, "\n"));
  invocation.output().document(to_json_text(Json{{"name", mark.name},
                                                 {"lsn", mark.lsn.to_string()},
                                                 {"timeline", mark.timeline.value},
                                                 {"time", json_time(mark.time)},
                                                 {"restore_command", restore}}));
  return 0;
}

constexpr Positional kPositionals[] = {
    {.name = "NAME", .kind = ValueKind::text, .help = "of the restore point, at most 63 bytes"},
};

}  // namespace

extern const Command kMarkCommand;
constinit const Command kMarkCommand = {
    .path = "mark",
    .summary = "make a named restore point, to come back to before something risky",
    .description =
        "Writes a restore point with this name into the server's WAL (pg_create_restore_point) and prints "
        "its position and the command that restores to it. It can be reached once the WAL that holds it is "
        "in the repository: lifeboat wal check ends the segment and waits for that.\n\n"
        "A recovery by name (--target-name) ends at the first restore point of that name that it meets; the "
        "command that is printed goes by position and so to this one.",
    .danger = Danger::write,
    .positionals = kPositionals,
    .groups = {&kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat mark 'before release 4.2' --repo /srv/backup --pg host=/run/postgresql",
    .schema = R"({
  "type": "object",
  "required": ["name", "lsn", "timeline", "time", "restore_command"],
  "properties": {
    "name": {"type": "string"},
    "lsn": {"type": "string", "description": "just past its record"},
    "timeline": {"type": "integer"},
    "time": {"type": ["string", "null"], "format": "date-time"},
    "restore_command": {"type": "string", "description": "a copy of that moment beside the server"}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
