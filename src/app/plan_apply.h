// Plan lines into the configuration file: a text in, a text out, so that comments, order and everything that
// the plan does not speak of stay as they are; and the difference of two texts, for people.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ready/plan/plan.h"
#include "util/result.h"

namespace lifeboat::app {

// Sets each key in its section: in its place where it stands already, else at the end of the section, else in
// a new section at the end. A section whose keys stand elsewhere (dotted keys, inline tables) makes the
// result invalid or ambiguous; check_configuration() tells.
std::string with_plan_lines(std::string_view text, const std::vector<ready::ConfigLine>& lines);

// What a configuration says of one cluster: its sections and that of its repository, as they are written.
std::string text_of_cluster(std::string_view text, const std::string& cluster);

// Takes those lines out that would replace a job which somebody wrote: one in the file, under the same name,
// whose command no plan makes; not that of backups, whose cadence is the plan. Says of each what stays and
// what the plan would have had.
std::vector<std::string> keep_own_jobs(std::string_view text, const std::string& cluster,
                                       std::vector<ready::ConfigLine>& lines);

// The text as a configuration file of that path: parsed, every planned key with its value, every job a
// command that exists. Errors: config.
Status check_configuration(const std::string& text, const std::string& path,
                           const std::vector<ready::ConfigLine>& lines);

// Lines with "+", "-" or " " before them, two of context; "" when both are equal.
std::string line_difference(std::string_view before, std::string_view after);

}  // namespace lifeboat::app
