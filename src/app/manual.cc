// Man pages, shell completion, JSON schemas and the tables that the documentation repeats.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "app/config.h"
#include "app/help.h"
#include "app/run.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

// Text for roff: man(7) takes a leading dot or quote for a request and a bare hyphen for a typographic one.
std::string roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

std::string paragraphs(std::string_view text) {
  std::string out;
  bool verbatim = false;
  for (std::string_view line : split(trim(text), '\n')) {
    bool indented = line.starts_with(' ');
    if (indented != verbatim) out += indented ? ".EX\n" : ".EE\n";
    verbatim = indented;
    out += line.empty() ? ".PP\n" : cat(roff(line), "\n");
  }
  if (verbatim) out += ".EE\n";
  return out;
}

std::string title(std::string_view name, std::string_view summary) {
  std::string upper(name);
  std::ranges::transform(upper, upper.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return cat(".TH \"", upper, "\" 1 \"\" \"lifeboat ", kVersion, "\" \"User Commands\"\n.SH NAME\n",
             roff(name), " \\- ", roff(summary), "\n");
}

std::string page_name(std::string_view path) {
  std::string name = cat("lifeboat-", path);
  std::ranges::replace(name, ' ', '-');
  return name;
}

std::string option_entry(const Option& option) {
  std::string text = cat(".TP\n.BI \"", roff(cat("--", option.name)), "\"");
  if (!option.placeholder.empty()) {
    text +=
        option.bare.empty() ? cat(" \" ", option.placeholder, "\"") : cat(" \" [", option.placeholder, "]\"");
  }
  text += cat("\n", roff(option.help), ".");
  if (!option.choices.empty()) {
    std::string choices;
    for (std::string_view choice : split(option.choices, '|'))
      choices += cat(choices.empty() ? "" : ", ", choice);
    text += cat(" One of ", roff(choices), ".");
  }
  if (!option.default_text.empty()) text += cat(" Default: ", roff(option.default_text), ".");
  if (option.repeatable) text += " May be repeated.";
  if (option.required) text += " Required.";
  if (auto name = environment_name(option); !name.empty()) text += cat(" Environment: ", name, ".");
  if (option.section != ConfigSection::none) {
    text += cat(" May stand in [", option.section == ConfigSection::repo ? "repo" : "cluster",
                ".NAME] of the file.");
  }
  return text + "\n";
}

std::string exit_codes() {
  std::string text;
  for (const ErrorKindInfo& kind : error_kinds())
    text += cat(".TP\n", kind.exit_code, "\n", roff(kind.meaning), "\n");
  return text;
}

std::string quoted_list(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += cat(text.empty() ? "" : " ", word);
  return text;
}

constexpr std::string_view kErrorSchema = R"({
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$id": "lifeboat/error/1",
  "title": "what standard output holds when a command fails without a result",
  "type": "object",
  "required": ["schema", "error"],
  "properties": {
    "schema": {"type": "string"},
    "error": {
      "type": "object",
      "required": ["kind", "object", "message", "cause", "hint", "exit_code"],
      "properties": {
        "kind": {"type": "string", "description": "an id of docs/errors.md"},
        "object": {"type": "string", "description": "what it happened on, may be empty"},
        "message": {"type": "string"},
        "cause": {"type": "string", "description": "the underlying message, may be empty"},
        "hint": {"type": "string", "description": "what to do about it, may be empty"},
        "exit_code": {"type": "integer"}
      }
    }
  }
})";

constexpr std::string_view kHookSchema = R"({
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$id": "lifeboat/hook/1",
  "title": "what a hook reads on standard input",
  "type": "object",
  "required": ["schema", "hook", "command", "cluster", "repository", "time", "version"],
  "properties": {
    "schema": {"const": "lifeboat/hook/1"},
    "hook": {"type": "string", "description": "before-backup"},
    "command": {"type": "string"},
    "cluster": {"type": "string"},
    "repository": {"type": ["string", "null"]},
    "pgdata": {"type": ["string", "null"]},
    "time": {"type": "string", "format": "date-time"},
    "version": {"type": "string", "description": "of lifeboat"},
    "exit_code": {"type": "integer", "description": "after only, like the next two"},
    "error": {"description": "null after success", "anyOf": [{"type": "null"}, {"$ref": "lifeboat/error/1#/properties/error"}]},
    "result": {"type": ["object", "null"], "description": "what --output json prints, without schema and error"}
  }
})";

}  // namespace

std::string man_page() {
  std::string text = title("lifeboat", "backs up PostgreSQL and proves that it can bring it back");
  text += ".SH SYNOPSIS\n.B lifeboat\n.I COMMAND\n[OPTIONS]\n.SH COMMANDS\n";
  for (const Command* command : commands()) {
    if (command->hidden) continue;
    text += cat(".TP\n.BR ", page_name(command->path), " (1)\n", roff(command->summary), "\n");
  }
  text += cat(
      ".SH CONFIGURATION\n",
      paragraphs(cat("Options come from the command line, then from environment variables named after them "
                     "(LIFEBOAT_TARGET_TIME for --target-time), then from the file that --config names or ",
                     kDefaultConfigPath, ", then from the defaults.\n\n",
                     "The file is TOML with sections [cluster.NAME] and [repo.NAME]. Their keys are names of "
                     "options; beside them a cluster has repo (the NAME of a repo section, or a URL) and a "
                     "repo has url. Unknown keys are errors.\n\n"
                     "The section [cluster.NAME.hooks] names programs that run before and after backup, "
                     "restore, drill, verify and expire: before-backup = [\"/path/program\", \"argument\"], "
                     "after-backup and so on, and how long each may run, timeout = \"5min\". They run "
                     "without a shell and read a JSON document on standard input. When a before hook fails, "
                     "nothing is done.")));
  text += cat(".SH EXIT STATUS\n.TP\n0\nsuccess\n", exit_codes());
  return text;
}

std::string man_page(const Command& command) {
  std::string name = page_name(command.path);
  std::string text =
      cat(title(name, command.summary), ".SH SYNOPSIS\n.B ", roff(cat("lifeboat ", command.path)), "\n");
  for (const Positional& positional : command.positionals) {
    text += cat(".I ", positional.required ? "" : "[", positional.name, positional.required ? "" : "]", "\n");
  }
  text += cat("[OPTIONS]\n.SH DESCRIPTION\n", paragraphs(command.description));
  if (!command.positionals.empty()) {
    text += ".SH ARGUMENTS\n";
    for (const Positional& positional : command.positionals) {
      text += cat(".TP\n.I ", positional.name, "\n", roff(positional.help), ".\n");
    }
  }
  text += ".SH OPTIONS\n";
  for_each_group(command, [&](const OptionGroup& group) {
    text += cat(".SS ", group.title, "\n");
    for (const Option& option : group.options) text += option_entry(option);
  });
  text += ".SH EXIT STATUS\n";
  if (!command.exit_notes.empty()) text += paragraphs(command.exit_notes);
  text += "0 is success; the other codes are listed in\n.BR lifeboat (1).\n";
  if (!command.examples.empty()) text += cat(".SH EXAMPLES\n.EX\n", roff(trim(command.examples)), "\n.EE\n");
  return text + ".SH SEE ALSO\n.BR lifeboat (1)\n";
}

std::string bash_completion() {
  // The words typed so far that are no options select the command; the longest path that matches is it.
  std::string text =
      "# bash completion of lifeboat, generated by: lifeboat internal completion\n"
      "_lifeboat() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=() word\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    [[ $word == -* ]] || words+=(\"$word\")\n"
      "  done\n";
  std::set<std::string> paths;
  std::set<std::string> directories;
  std::set<std::string> choices_seen;
  std::string choice_cases;
  for (const Command* command : commands()) {
    if (!command->hidden) paths.insert(std::string(command->path));
    for_each_option(*command, [&](const Option& option) {
      std::string name = cat("--", option.name);
      if (option.kind == ValueKind::path || option.kind == ValueKind::repository) directories.insert(name);
      if (option.choices.empty() || !choices_seen.insert(cat(command->path, " ", name)).second) return;
      std::string words(option.choices);
      std::ranges::replace(words, '|', ' ');
      choice_cases += cat("    \"", command->path, " ", name, "\") COMPREPLY=($(compgen -W '", words,
                          "' -- \"$current\")); return ;;\n");
    });
  }
  std::string option_cases;
  for (const Command* command : commands()) {
    if (command->hidden) continue;
    std::set<std::string> names;
    for_each_option(*command, [&](const Option& option) { names.insert(cat("--", option.name)); });
    option_cases += cat("    \"", command->path, "\") options='", quoted_list(names), "' ;;\n");
  }
  std::string families;
  std::set<std::string> firsts;
  for (const std::string& path : paths) {
    size_t space = path.find(' ');
    firsts.insert(path.substr(0, space));
    if (space == std::string::npos) continue;
    std::string family = path.substr(0, space);
    if (families.find(cat("\"", family, "\")")) != std::string::npos) continue;
    std::set<std::string> seconds;
    for (const std::string& other : paths) {
      if (other.starts_with(family + " ")) seconds.insert(other.substr(family.size() + 1));
    }
    // `heal` is a command too.
    if (const Command* itself = find_command(family))
      for_each_option(*itself, [&](const Option& option) { seconds.insert(cat("--", option.name)); });
    families += cat("    \"", family, "\") COMPREPLY=($(compgen -W '", quoted_list(seconds),
                    "' -- \"$current\")); return ;;\n");
  }
  text += cat("  local command=\"${words[0]} ${words[1]}\" options=''\n  case $command in\n");
  for (const std::string& path : paths) {
    if (path.find(' ') != std::string::npos) text += cat("    \"", path, "\") ;;\n");
  }
  text += "    *) command=${words[0]} ;;\n  esac\n";
  text += cat("  case \"$command $previous\" in\n", choice_cases, "  esac\n");
  text += "  case $previous in\n";
  std::string names;
  for (const std::string& name : directories) names += cat(names.empty() ? "" : "|", name);
  text += cat("    ", names.empty() ? "''" : names,
              ") COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n  esac\n");
  text += cat("  case $command in\n    '') COMPREPLY=($(compgen -W '", quoted_list(firsts),
              "' -- \"$current\")); return ;;\n", families, option_cases, "  esac\n");
  text +=
      "  COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n}\ncomplete -o default -F _lifeboat "
      "lifeboat\n";
  return text;
}

Json all_schemas() {
  Json schemas = Json::object();
  for (const Command* command : commands()) {
    Json schema = Json::parse(command->schema, nullptr, false);
    CHECK(schema.is_object());  // our own text; the table's test parses each
    Json full = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"$id", schema_id(*command)},
                 {"title", cat("what lifeboat ", command->path, " --output json prints")}};
    for (auto& [key, value] : schema.items()) full[key] = value;
    full["properties"]["schema"] = {{"const", schema_id(*command)}};
    full["properties"]["error"] = {{"$ref", "lifeboat/error/1#/properties/error"}};
    full["required"].push_back("schema");
    schemas[schema_id(*command)] = std::move(full);
  }
  schemas["lifeboat/error/1"] = Json::parse(kErrorSchema);
  schemas["lifeboat/hook/1"] = Json::parse(kHookSchema);
  return schemas;
}

std::string errors_document() {
  std::string text =
      "# Errors and exit codes\n\n"
      "Generated from the table in src/util/error.cc by `lifeboat internal errors`; a test compares the "
      "two.\n\n"
      "Every error has a kind. The kind decides the exit code and the `kind` of the JSON error; *retry* says "
      "whether the\n"
      "same command may succeed later without anybody changing anything.\n\n"
      "| exit code | kind | retry | meaning |\n|---:|---|---|---|\n"
      "| 0 | | | success |\n";
  for (const ErrorKindInfo& kind : error_kinds()) {
    text += cat("| ", kind.exit_code, " | `", kind.id, "` | ", kind.retryable ? "yes" : "no", " | ",
                kind.meaning, " |\n");
  }
  text +=
      "\nCommands that PostgreSQL calls have rules of their own:\n\n"
      "- `wal push` fails with 1 to 125 only, whatever happens: PostgreSQL's archiver takes anything above "
      "for a crash of\n"
      "  the command and does not count it as a failed attempt.\n"
      "- `wal get` ends with 0 when the file was put in place, with 1 when it is certainly not in the "
      "repository, and with\n"
      "  255 for everything else: any other non-zero code would be taken for the end of WAL, and recovery "
      "would end early\n"
      "  and promote behind. A command line that does not parse is 255 too.\n"
      "- `wal get --standby` never ends above 125, because a standby asks again: 1 when the file is not "
      "there, 125 for\n"
      "  `failed`, else the code of the table.\n\n"
      "No other command ends above 125, unless a signal kills it.\n\n"
      "## In text\n\n"
      "Standard error gets two lines, the second only when there is advice:\n\n"
      "    lifeboat: error: OBJECT: what failed, expected and found: CAUSE\n"
      "    lifeboat: hint: what to do about it\n\n"
      "## In JSON\n\n"
      "With `--output json` standard output is one document on every exit code. When a command fails without "
      "a result:\n\n"
      "    {\n"
      "      \"schema\": \"lifeboat/error/1\",\n"
      "      \"error\": {\"kind\": \"not_found\", \"object\": \"…\", \"message\": \"…\", \"cause\": \"…\", "
      "\"hint\": \"…\", "
      "\"exit_code\": 4}\n"
      "    }\n\n"
      "A command that has a result and fails all the same (a check that says no, a plan that was not "
      "confirmed) prints its\n"
      "own document with the same member `error` in it. `lifeboat internal schemas` prints the schema of "
      "every document.\n";
  return text;
}

std::string options_list() {
  std::string text;
  for (const Command* command : commands()) {
    text += cat(command->path, "\t\n");
    for_each_option(*command,
                    [&](const Option& option) { text += cat(command->path, "\t--", option.name, "\n"); });
  }
  return text;
}

}  // namespace lifeboat::app
