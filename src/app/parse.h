// The command line as typed: which command, which options, which positionals. Nothing unknown is passed over;
// an error (usage) names the nearest known word.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/command.h"
#include "util/result.h"

namespace lifeboat::app {

struct GivenOption {
  const Option* option;
  std::string value;  // checked, in normal form
};

struct CommandLine {
  const Command* command = nullptr;
  std::vector<GivenOption> options;
  std::vector<std::string> positionals;  // checked, in normal form
  bool help = false;                     // --help: nothing else was checked for completeness
};

// `arguments` without the program name. Options may stand before, between and after the words of the command
// when they are common ones, after it otherwise; "--name=value" and "--name value" are the same; "--" ends
// the options.
Result<CommandLine> parse_command_line(std::span<const std::string_view> arguments,
                                       std::string_view working_directory, CommandTable table = commands());

// "" or why they would be refused: of a command line that somebody else will run.
std::string why_refused(const std::vector<std::string>& arguments);

// The command that the arguments seem to mean even if they do not parse, or null: its exit rule applies to
// the error.
const Command* guess_command(std::span<const std::string_view> arguments, CommandTable table = commands());
// Whether JSON was asked for, readable before (and whether or not) the arguments parse.
bool wants_json(std::span<const std::string_view> arguments, std::string_view environment_value);

}  // namespace lifeboat::app
