// lifeboat internal: what packaging and the documentation's tests take from the command table. Hidden: its
// output may change from version to version, but for `schemas`.
#include <nlohmann/json.hpp>

#include "app/help.h"
#include "app/invocation.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> man_page_of(const std::string& path) {
  if (path.empty()) return man_page();
  const Command* command = find_command(path);
  if (command == nullptr) return make_error(ErrorKind::usage, path, "unknown command");
  return man_page(*command);
}

Result<int> run_internal(const Invocation& invocation) {
  const std::string what = invocation.positional(0);
  const auto& words = invocation.positionals();
  const std::string command = join({words.begin() + 1, words.end()}, " ");
  if (!command.empty() && what != "man") {
    return make_error(ErrorKind::usage, command, cat("unexpected argument of lifeboat internal ", what));
  }

  std::string text;
  if (what == "man") {
    TRY_ASSIGN(text, man_page_of(command));
  } else if (what == "completion") {
    text = bash_completion();
  } else if (what == "errors") {
    text = errors_document();
  } else if (what == "options") {
    text = options_list();
  } else {
    text = to_json_text(all_schemas());
  }
  invocation.output().text(text);
  if (invocation.output().json()) {
    Json json = {{"what", what}};
    if (what == "schemas") {
      json["schemas"] = all_schemas();
    } else {
      json["text"] = text;
    }
    invocation.output().document(to_json_text(json));
  }
  return 0;
}

constexpr Positional kPositionals[] = {
    {.name = "WHAT",
     .kind = ValueKind::choice,
     .help = "man (with the words of a command: its page), completion, schemas, errors, options",
     .choices = "man|completion|schemas|errors|options"},
    {.name = "COMMAND", .help = "with man: whose page", .required = false, .repeatable = true},
};

}  // namespace

extern const Command kInternalCommand;
constinit const Command kInternalCommand = {
    .path = "internal",
    .summary = "print what is generated from the command table",
    .description =
        "Prints man pages, the bash completion, the JSON schemas of all documents, docs/errors.md or the "
        "list "
        "of all options.",
    .run_as = RunAs::caller,
    .positionals = kPositionals,
    .groups = {&kOutputOptions},
    .schema = R"({
      "type": "object",
      "required": ["what"],
      "properties": {
        "what": {"enum": ["man", "completion", "schemas", "errors", "options"]},
        "text": {"type": "string"},
        "schemas": {"type": "object"}
      }
    })",
    .hidden = true,
    .handler = run_internal,
};

}  // namespace lifeboat::app
