#include "app/parse.h"

#include <algorithm>
#include <optional>

#include "app/options.h"
#include "app/values.h"
#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

Error usage(std::string object, std::string message) {
  return make_error(ErrorKind::usage, std::move(object), std::move(message));
}

std::string did_you_mean(std::string_view typed, const std::vector<std::string_view>& known,
                         std::string_view prefix) {
  auto near = nearest(typed, known);
  return near.empty() ? std::string() : cat("did you mean ", prefix, near, "?");
}

// An option as it was typed, before it is known whose it is.
struct TypedOption {
  std::string_view name;
  std::optional<std::string_view> inline_value;  // of --name=value
};

TypedOption take_apart(std::string_view argument) {
  argument.remove_prefix(2);
  size_t equals = argument.find('=');
  if (equals == std::string_view::npos) return {argument, std::nullopt};
  return {argument.substr(0, equals), argument.substr(equals + 1)};
}

// Options that may stand before the command.
const Option* find_common_option(std::string_view name) {
  for (const OptionGroup* group : {&kRepoOptions, &kServerOptions, &kGeneralOptions}) {
    for (const Option& option : group->options) {
      if (option.name == name) return &option;
    }
  }
  return nullptr;
}

bool begins_command(std::string_view words, CommandTable table) {
  return std::ranges::any_of(table, [&](const Command* command) {
    return command->path.starts_with(words) && command->path.size() > words.size() &&
           command->path[words.size()] == ' ';
  });
}

// The words that could follow `words` ("" for the first), hidden commands apart.
std::vector<std::string_view> next_words(std::string_view words, CommandTable table) {
  std::vector<std::string_view> next;
  for (const Command* command : table) {
    if (command->hidden) continue;
    std::string_view rest = command->path;
    if (!words.empty()) {
      if (!rest.starts_with(words) || rest.size() <= words.size() || rest[words.size()] != ' ') continue;
      rest.remove_prefix(words.size() + 1);
    }
    rest = rest.substr(0, rest.find(' '));
    if (next.empty() || next.back() != rest) next.push_back(rest);
  }
  return next;
}

class Parser {
 public:
  Parser(std::span<const std::string_view> arguments, std::string_view working_directory, CommandTable table)
      : arguments_(arguments), working_directory_(working_directory), table_(table) {}

  Result<CommandLine> parse() {
    for (at_ = 0; at_ < arguments_.size(); ++at_) {
      std::string_view argument = arguments_[at_];
      if (only_positionals_ || argument == "-" || !argument.starts_with('-')) {
        TRY(word(argument));
      } else if (argument == "--") {
        only_positionals_ = true;
      } else if (argument == "-h") {
        line_.help = true;
      } else if (!argument.starts_with("--")) {
        return unknown_option(argument).with_hint("options are written out: --name");
      } else {
        TRY(option(take_apart(argument)));
      }
    }
    TRY(finish());
    return std::move(line_);
  }

 private:
  Status word(std::string_view text) {
    if (line_.command != nullptr) return positional(text);
    std::string longer = words_.empty() ? std::string(text) : cat(words_, " ", text);
    // `heal` is a command, and so is `heal blocks`: the next word decides.
    const bool goes_on = at_ + 1 < arguments_.size() && continues(longer, arguments_[at_ + 1]);
    if (const Command* command = find_command(longer, table_); command != nullptr && !goes_on) {
      line_.command = command;
      return early_options_belong();
    }
    if (!begins_command(longer, table_)) {
      return usage(longer, "unknown command").with_hint(suggest_command(longer, text));
    }
    words_ = std::move(longer);
    return {};
  }

  bool continues(std::string_view words, std::string_view next) const {
    const std::string longer = cat(words, " ", next);
    return find_command(longer, table_) != nullptr || begins_command(longer, table_);
  }

  std::string suggest_command(std::string_view typed, std::string_view last_word) const {
    std::string prefix = words_.empty() ? "lifeboat " : cat("lifeboat ", words_, " ");
    std::string hint = did_you_mean(last_word, next_words(words_, table_), prefix);
    if (!hint.empty()) return hint;
    std::vector<std::string_view> paths;
    for (const Command* command : table_) {
      if (!command->hidden) paths.push_back(command->path);
    }
    hint = did_you_mean(typed, paths, "lifeboat ");
    return hint.empty() ? "lifeboat help lists the commands" : hint;
  }

  Status early_options_belong() const {
    for (const GivenOption& given : line_.options) {
      if (find_option(*line_.command, given.option->name) == nullptr)
        return unknown_option(cat("--", given.option->name));
    }
    return {};
  }

  Status positional(std::string_view text) {
    const auto& expected = line_.command->positionals;
    size_t index = line_.positionals.size();
    if (!expected.empty() && expected.back().repeatable) index = std::min(index, expected.size() - 1);
    if (index >= expected.size()) {
      return usage(std::string(text), cat("unexpected argument of lifeboat ", line_.command->path))
          .with_hint(cat("lifeboat ", line_.command->path, " --help shows what it takes"));
    }
    const Positional& entry = expected[index];
    Option as_option = {.name = entry.name, .kind = entry.kind, .help = entry.help, .choices = entry.choices};
    auto checked = check_value(as_option, text, working_directory_);
    if (!checked) return std::move(checked).error().within(entry.name);
    line_.positionals.push_back(std::move(checked).value());
    return {};
  }

  Status option(const TypedOption& typed) {
    if (typed.name == "help" && !typed.inline_value) {
      line_.help = true;
      return {};
    }
    if (typed.name == "version" && !typed.inline_value && line_.command == nullptr && words_.empty()) {
      return word("version");
    }
    const Option* option =
        line_.command != nullptr ? find_option(*line_.command, typed.name) : find_common_option(typed.name);
    if (option == nullptr) return unknown_option(cat("--", typed.name));
    std::string name = cat("--", typed.name);
    if (!option->repeatable && std::ranges::any_of(line_.options, [&](const GivenOption& given) {
          return given.option->name == option->name;
        })) {
      return usage(name, "given twice");
    }
    if (option->kind == ValueKind::flag) {
      if (typed.inline_value) return usage(name, cat("takes no value, found '", *typed.inline_value, "'"));
      line_.options.push_back({option, "true"});
      return {};
    }
    TRY_ASSIGN(std::string_view text, option_value(*option, typed));
    auto checked = check_value(*option, text, working_directory_);
    if (!checked) {
      Error error = std::move(checked).error();
      error.object = name;
      return error;
    }
    line_.options.push_back({option, std::move(checked).value()});
    return {};
  }

  Result<std::string_view> option_value(const Option& option, const TypedOption& typed) {
    if (typed.inline_value) return *typed.inline_value;
    bool alone = at_ + 1 >= arguments_.size() || arguments_[at_ + 1].starts_with("--");
    if (alone && !option.bare.empty()) return option.bare;
    if (at_ + 1 >= arguments_.size()) {
      return usage(cat("--", option.name), cat("needs a value: --", option.name, " ", option.placeholder));
    }
    std::string_view next = arguments_[at_ + 1];
    if (next.starts_with("--")) {
      return usage(cat("--", option.name),
                   cat("needs a value, found the option ", next.substr(0, next.find('='))))
          .with_hint(cat("a value that begins with -- is written --", option.name, "=VALUE"));
    }
    ++at_;
    return next;
  }

  Error unknown_option(std::string_view name) const {
    if (line_.command == nullptr) {
      return usage(std::string(name), "not an option that may stand before the command")
          .with_hint("only options that every command takes may; put it after the command");
    }
    std::vector<std::string_view> names;
    for_each_option(*line_.command, [&](const Option& option) { names.push_back(option.name); });
    std::string_view bare = name.substr(std::min(name.find_first_not_of('-'), name.size()));
    std::string hint = did_you_mean(bare, names, "--");
    if (hint.empty()) hint = cat("lifeboat ", line_.command->path, " --help lists its options");
    return usage(std::string(name), cat("not an option of lifeboat ", line_.command->path)).with_hint(hint);
  }

  Status finish() {
    if (line_.command == nullptr) {
      if (line_.help) {
        // lifeboat --help, lifeboat wal --help
        line_.command = find_command("help", table_);
        std::string topic = words_;
        for (std::string_view text : split(topic, ' ')) {
          if (!text.empty()) line_.positionals.emplace_back(text);
        }
        line_.help = false;
        return early_options_belong();
      }
      std::string next;
      for (std::string_view name : next_words(words_, table_)) next += cat(next.empty() ? "" : ", ", name);
      if (words_.empty()) return usage("", "no command given").with_hint("lifeboat help lists the commands");
      return usage(cat("lifeboat ", words_), cat("needs one of: ", next));
    }
    if (line_.help) return {};
    const auto& expected = line_.command->positionals;
    if (line_.positionals.size() < expected.size() && expected[line_.positionals.size()].required) {
      return usage(cat("lifeboat ", line_.command->path),
                   cat("needs ", expected[line_.positionals.size()].name))
          .with_hint(cat("lifeboat ", line_.command->path, " --help shows what it takes"));
    }
    return {};
  }

  std::span<const std::string_view> arguments_;
  std::string_view working_directory_;
  CommandTable table_;
  CommandLine line_;
  std::string words_;  // of a command that is not complete yet
  size_t at_ = 0;
  bool only_positionals_ = false;
};

}  // namespace

Result<CommandLine> parse_command_line(std::span<const std::string_view> arguments,
                                       std::string_view working_directory, CommandTable table) {
  return Parser(arguments, working_directory, table).parse();
}

std::string why_refused(const std::vector<std::string>& arguments) {
  const std::vector<std::string_view> words(arguments.begin(), arguments.end());
  auto parsed = parse_command_line(words, "/");
  if (parsed) return "";
  const Error& error = parsed.error();
  return error.hint.empty() ? error.to_string() : cat(error.to_string(), "; ", error.hint);
}

const Command* guess_command(std::span<const std::string_view> arguments, CommandTable table) {
  const Command* guess = nullptr;
  for (size_t at = 0; at < arguments.size() && guess == nullptr; ++at) {
    if (arguments[at] == "--") break;
    if (at + 1 < arguments.size()) guess = find_command(cat(arguments[at], " ", arguments[at + 1]), table);
  }
  for (size_t at = 0; at < arguments.size() && guess == nullptr; ++at) {
    if (arguments[at] == "--") break;
    guess = find_command(arguments[at], table);
  }
  return guess;
}

bool wants_json(std::span<const std::string_view> arguments, std::string_view environment_value) {
  bool json = environment_value == "json";
  for (size_t at = 0; at < arguments.size() && arguments[at] != "--"; ++at) {
    if (arguments[at] == "--output=json") json = true;
    if (arguments[at] == "--output=text") json = false;
    if (arguments[at] == "--output" && at + 1 < arguments.size()) json = arguments[at + 1] == "json";
  }
  return json;
}

}  // namespace lifeboat::app
