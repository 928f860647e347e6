// Everything that is generated from the command table: help texts, man pages, shell completion, schemas,
// tables for the documentation.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "app/command.h"

namespace lifeboat::app {

std::string program_help();
std::string family_help(std::string_view words);  // the lines of "wal …", or of all commands for ""
std::string command_help(const Command& command);
nlohmann::ordered_json command_json(
    const Command& command);  // name, options, danger, … for other front doors

std::string man_page();                        // lifeboat(1)
std::string man_page(const Command& command);  // lifeboat-backup(1)
std::string bash_completion();
nlohmann::ordered_json all_schemas();  // {"lifeboat/backup/1": {…}, …} with the error document's
std::string errors_document();         // docs/errors.md
std::string options_list();            // "command<TAB>--option" lines, for checks of the documentation

// The name of a command's document: "lifeboat/wal-push/1".
std::string schema_id(const Command& command);
// LIFEBOAT_TARGET_TIME; empty when the option cannot be set by the environment.
std::string environment_name(const Option& option);

}  // namespace lifeboat::app
