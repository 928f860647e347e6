// Help texts for the terminal, and the machine-readable description of commands.
#include "app/help.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "app/config.h"
#include "app/render.h"
#include "app/run.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr int kHelpColumn = 30;

std::string_view danger_name(Danger danger) {
  switch (danger) {
    case Danger::read:
      return "read";
    case Danger::write:
      return "write";
    case Danger::destructive:
      return "destructive";
  }
  return "";
}

std::string_view kind_name(ValueKind kind) {
  static constexpr std::string_view kNames[] = {
      "flag",     "text",    "integer", "bytes", "duration", "choice", "path",     "repository",
      "conninfo", "cluster", "backup",  "time",  "lsn",      "xid",    "timeline", "mapping"};
  static_assert(std::size(kNames) == static_cast<size_t>(ValueKind::mapping) + 1);
  return kNames[static_cast<size_t>(kind)];
}

std::string option_help(const Option& option) {
  std::string text(option.help);
  if (option.kind == ValueKind::choice) {
    std::string choices;
    for (std::string_view choice : split(option.choices, '|'))
      choices += cat(choices.empty() ? "" : ", ", choice);
    text += cat(" (", choices, ")");
  }
  if (!option.default_text.empty()) text += cat(" [default: ", option.default_text, "]");
  if (option.repeatable) text += "; may be repeated";
  if (option.required) text += "; required";
  return text;
}

// "  --name VALUE    help", the help wrapped in its own column.
std::string entry(std::string_view head, std::string_view help) {
  std::string text = cat("  ", head);
  std::string body = wrap(help, kHelpColumn);
  if (text.size() + 2 > kHelpColumn) return cat(text, "\n", body);
  body.replace(0, text.size(), text);
  return body;
}

// A command of an example; one that is too long for a line goes on in the next before one of its options.
std::string example(std::string_view line) {
  constexpr size_t kWidth = 96;
  std::string text = "  ";
  std::string rest(line);
  while (rest.size() > kWidth) {
    size_t cut = rest.rfind(" --", kWidth - 2);
    if (cut == std::string::npos || cut == 0) break;
    text += cat(rest.substr(0, cut), " \\\n      ");
    rest.erase(0, cut + 1);
  }
  return cat(text, rest, "\n");
}

std::string usage_line(const Command& command) {
  std::string line = cat("lifeboat ", command.path);
  for (const Positional& positional : command.positionals) {
    std::string name = cat(positional.name, positional.repeatable ? "…" : "");
    line += positional.required ? cat(" ", name) : cat(" [", name, "]");
  }
  for_each_option(command, [&](const Option& option) {
    if (option.required) line += cat(" --", option.name, " ", option.placeholder);
  });
  return line + " [OPTIONS]";
}

}  // namespace

std::string environment_name(const Option& option) {
  if (option.repeatable || option.name == "help") return {};
  std::string name = "LIFEBOAT_";
  for (char c : option.name)
    name += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return name;
}

std::string schema_id(const Command& command) {
  std::string name(command.path);
  std::ranges::replace(name, ' ', '-');
  return cat("lifeboat/", name, "/", command.schema_version);
}

std::string family_help(std::string_view words) {
  std::string text;
  for (const Command* command : commands()) {
    bool inside = words.empty() || (command->path.starts_with(words) && command->path.size() > words.size() &&
                                    command->path[words.size()] == ' ');
    if (inside && !command->hidden) text += entry(command->path, command->summary);
  }
  return text;
}

std::string program_help() {
  std::string text =
      cat("lifeboat ", kVersion, ": backs up PostgreSQL and proves that it can bring it back\n\n",
          "Usage: lifeboat COMMAND [OPTIONS]\n\nCommands:\n", family_help(""), "\n");
  text += wrap(
      cat("lifeboat COMMAND --help describes a command. Every option can also be set by an environment "
          "variable "
          "(--target-time by LIFEBOAT_TARGET_TIME) and the lasting ones in ",
          kDefaultConfigPath, "; the command line wins over the environment, the environment over the file."),
      0);
  return text;
}

std::string command_help(const Command& command) {
  std::string text = cat(usage_line(command), "\n\n", wrap(command.description, 0));
  if (!command.positionals.empty()) {
    text += "\nArguments:\n";
    for (const Positional& positional : command.positionals) text += entry(positional.name, positional.help);
  }
  for_each_group(command, [&](const OptionGroup& group) {
    text += cat("\n", group.title, ":\n");
    for (const Option& option : group.options) {
      std::string head = cat("--", option.name);
      if (!option.placeholder.empty())
        head += option.bare.empty() ? cat(" ", option.placeholder) : cat(" [", option.placeholder, "]");
      text += entry(head, option_help(option));
    }
  });
  if (!command.examples.empty()) {
    text += "\nExamples:\n";
    for (std::string_view line : split(trim(command.examples), '\n')) text += example(line);
  }
  if (!command.exit_notes.empty()) text += cat("\nExit codes:\n", wrap(command.exit_notes, 2));
  if (std::string more = family_help(command.path); !more.empty()) text += cat("\nSee also:\n", more);
  return text;
}

nlohmann::ordered_json command_json(const Command& command) {
  using Json = nlohmann::ordered_json;
  Json positionals = Json::array();
  for (const Positional& positional : command.positionals) {
    positionals.push_back({{"name", positional.name},
                           {"kind", kind_name(positional.kind)},
                           {"help", positional.help},
                           {"required", positional.required},
                           {"repeatable", positional.repeatable}});
  }
  Json options = Json::array();
  for_each_group(command, [&](const OptionGroup& group) {
    for (const Option& option : group.options) {
      Json entry = {{"name", option.name}, {"group", group.title},        {"kind", kind_name(option.kind)},
                    {"help", option.help}, {"required", option.required}, {"repeatable", option.repeatable}};
      if (!option.default_text.empty()) entry["default"] = option.default_text;
      if (!option.choices.empty()) entry["choices"] = split(option.choices, '|');
      if (auto name = environment_name(option); !name.empty()) entry["environment"] = name;
      options.push_back(std::move(entry));
    }
  });
  return {{"command", command.path},
          {"summary", command.summary},
          {"danger", danger_name(command.danger)},
          {"document", schema_id(command)},
          {"positionals", std::move(positionals)},
          {"options", std::move(options)}};
}

}  // namespace lifeboat::app
