// Questions to a person at the terminal (/dev/tty), apart from standard input and output.
#pragma once

#include <string>
#include <string_view>

#include "util/result.h"

namespace lifeboat::app {

bool have_terminal();  // a person can be asked
// Asks for a line; without the spaces around it. cancelled on end of input.
Result<std::string> ask_line(std::string_view prompt);
// Asks for a line without showing what is typed. cancelled on end of input.
Result<std::string> ask_hidden(std::string_view prompt);
Status tell_terminal(std::string_view text);
// Only a line that is exactly "yes" is a yes.
Result<bool> ask_yes(std::string_view question);

}  // namespace lifeboat::app
