// The program: parse, authorise, call, render.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace lifeboat::app {

inline constexpr std::string_view kVersion = LIFEBOAT_VERSION;

// Runs one command line and returns the exit code. Never throws. Installs signal handlers and may change the
// user of the process, so it is called once, by main().
int run(std::span<const std::string_view> arguments, const std::vector<std::string_view>& environment);

}  // namespace lifeboat::app
