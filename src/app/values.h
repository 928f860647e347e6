// Checks and reads the values of options: one function for the command line, the environment and the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/command.h"
#include "util/result.h"

namespace lifeboat::app {

// Checks `text` against the option's kind and returns it in a normal form: paths absolute (against
// `working_directory`), a repository directory as file:// URL, times with a numeric offset, flags "true" or
// "false". Errors (usage) say what was expected; they do not name the option, the caller adds where the value
// came from. Thread rule as parse_time(): main thread.
Result<std::string> check_value(const Option& option, std::string_view text,
                                std::string_view working_directory);

std::optional<uint64_t> parse_bytes(std::string_view text);    // 64MB → 67108864
std::optional<double> parse_decimal(std::string_view text);    // 0.023; the whole text or nothing
std::optional<int64_t> parse_duration(std::string_view text);  // 5min → 300000000 microseconds
std::optional<bool> parse_bool(std::string_view text);

}  // namespace lifeboat::app
