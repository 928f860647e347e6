// The commands that runbooks are made of. Internal to this folder.
#pragma once

#include <string>
#include <string_view>

#include "ready/runbook/runbook.h"

namespace lifeboat::ready {

// One of ours, in full. `words`: "wal status".
RunbookCommand ours(const RunbookFacts& facts, std::string_view words, ops::Needs needs,
                    std::string_view more = "", Effect effect = Effect::looks);
// A statement for psql, in `database`; "": in the one that the connection names.
RunbookCommand sql(const RunbookFacts& facts, std::string_view statement, Effect effect = Effect::looks,
                   const std::string& database = "");
// A program of PostgreSQL, as the data's owner.
RunbookCommand program(const RunbookFacts& facts, std::string_view name, std::string_view more,
                       Effect effect = Effect::looks);
// A statement by the data's owner over the local socket: a superuser as a rule, whom the server lets in when
// it is full, and who may end what others run; the role of backups is neither.
RunbookCommand owner_sql(const RunbookFacts& facts, std::string_view statement,
                         Effect effect = Effect::looks);
// vacuumdb in every database, as the data's owner: the role of backups may vacuum nothing, which vacuumdb
// calls a success.
RunbookCommand vacuum_all(const RunbookFacts& facts, std::string_view more);
RunbookCommand shell(std::string line, Effect effect = Effect::looks);

RunbookCommand start_server(const RunbookFacts& facts);
RunbookCommand stop_server(const RunbookFacts& facts);

// A place-holder that no command takes for a time: nobody knows the moment before it is looked for.
std::string moment_to_fill_in();
// "DIRECTORY-copy"
std::string beside(const RunbookFacts& facts);
// What drills and recoveries measured.
std::string measured_minutes(const RunbookFacts& facts);

}  // namespace lifeboat::ready
