// lifeboat help [COMMAND…], and what --help without a command becomes
#include "app/help.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

// The visible commands that `topic` names or begins; all for an empty one.
std::vector<const Command*> commands_about(std::string_view topic) {
  std::vector<const Command*> found;
  for (const Command* command : commands()) {
    bool exact = command->path == topic;
    bool inside = topic.empty() || command->path.starts_with(cat(topic, " "));
    if (exact || (inside && !command->hidden)) found.push_back(command);
  }
  return found;
}

Error unknown_topic(std::string_view topic) {
  std::vector<std::string_view> paths;
  for (const Command* command : commands()) {
    if (!command->hidden) paths.push_back(command->path);
  }
  auto near = nearest(topic, paths);
  return make_error(ErrorKind::usage, std::string(topic), "unknown command")
      .with_hint(near.empty() ? "lifeboat help lists the commands" : cat("did you mean ", near, "?"));
}

Result<int> run_help(const Invocation& invocation) {
  std::string topic = join(invocation.positionals(), " ");
  auto about = commands_about(topic);
  if (about.empty()) return unknown_topic(topic);

  if (topic.empty()) {
    invocation.output().text(program_help());
  } else if (const Command* command = find_command(topic)) {
    invocation.output().text(command_help(*command));
  } else {
    invocation.output().text(
        cat("Usage: lifeboat ", topic, " COMMAND [OPTIONS]\n\nCommands:\n", family_help(topic)));
  }
  if (invocation.output().json()) {
    Json list = Json::array();
    for (const Command* command : about) list.push_back(command_json(*command));
    invocation.output().document(to_json_text({{"commands", std::move(list)}}));
  }
  return 0;
}

constexpr Positional kPositionals[] = {
    {.name = "COMMAND",
     .help = "the command to describe, such as backup or wal push",
     .required = false,
     .repeatable = true},
};

}  // namespace

extern const Command kHelpCommand;
constinit const Command kHelpCommand = {
    .path = "help",
    .summary = "describe a command, or list all",
    .description =
        "Without a command: lists the commands. With one: describes it and its options, as --help does.\n\n"
        "As JSON: the table of commands with every option, its kind, default and environment variable, for "
        "programs that drive this one.",
    .run_as = RunAs::caller,
    .positionals = kPositionals,
    .groups = {&kOutputOptions},
    .examples = "# how to push a WAL segment\nlifeboat help wal push",
    .schema = R"({
      "type": "object",
      "required": ["commands"],
      "properties": {
        "commands": {
          "type": "array",
          "items": {
            "type": "object",
            "required": ["command", "summary", "danger", "document", "positionals", "options"],
            "properties": {
              "command": {"type": "string"},
              "summary": {"type": "string"},
              "danger": {"enum": ["read", "write", "destructive"]},
              "document": {"type": "string", "description": "the schema of what it prints as JSON"},
              "positionals": {"type": "array", "items": {"type": "object"}},
              "options": {"type": "array", "items": {"type": "object"}}
            }
          }
        }
      }
    })",
    .handler = run_help,
};

}  // namespace lifeboat::app
