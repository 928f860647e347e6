// Other tools that back this server up: pgBackRest, Barman, WAL-G, found by their programs and files, and
// asked by their own commands. What they print is parsed here, in functions of their own; nothing is changed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ready/plan/facts.h"
#include "util/stop.h"

namespace lifeboat::ready {

// --- parsers. Text that is not understood gives no tools.
// `pgbackrest info --output=json`: one for each stanza (doc: Command Reference, "info").
std::vector<ToolState> parse_pgbackrest_info(std::string_view json);
// `barman -f json list-backups SERVER` gives the backups; the newest counts.
void add_barman_backups(std::string_view json, ToolState& tool);
// `barman -f json check SERVER`: what is not OK.
void add_barman_check(std::string_view json, ToolState& tool);
// `wal-g backup-list --json --detail`.
std::vector<ToolState> parse_walg_backups(std::string_view json);

// A file of sections and keys, as pgBackRest and Barman have them: "section.key" -> value, in the order of
// the file.
std::vector<std::pair<std::string, std::string>> parse_ini(std::string_view text);
// The schedule of lines of a crontab that name the tool: "30 2 * * *".
std::vector<std::string> schedules_in(std::string_view crontab, std::string_view tool);

// Asks those that are there; each answer may take 20 s at most. A tool that answers with an error is listed
// with it.
std::vector<ToolState> find_tools(const StopToken* stop);

}  // namespace lifeboat::ready
