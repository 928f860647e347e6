// What amcheck found, as heal blocks shows it, and what is done about it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "app/invocation.h"
#include "ops/heal/amcheck.h"

namespace lifeboat::app {

nlohmann::ordered_json amcheck_json(const ops::AmcheckScan& scan);
std::string amcheck_text(const ops::AmcheckScan& scan);

// In this order: statements for psql that make indexes new, and the command that rebuilds the damaged blocks
// once the server is stopped.
std::vector<std::string> repair_commands(const Invocation& invocation, const ops::DataDirFacts& data_dir,
                                         const std::vector<ops::DamagedBlock>& blocks,
                                         const ops::AmcheckScan& scan);

// The schema of amcheck_json(), for the table of commands.
#define LIFEBOAT_AMCHECK_SCHEMA                                                                                       \
  R"({"type": ["object", "null"], "description": "with --amcheck", "required": ["tables", "indexes", "findings",)"    \
  R"( "left_out", "not_checked", "without_extension"], "properties": {)"                                              \
  R"("tables": {"type": "integer", "description": "that were checked"}, "indexes": {"type": "integer"},)"             \
  R"( "findings": {"type": "array", "items": {"type": "object",)"                                                     \
  R"( "required": ["database", "relation", "kind", "file", "blocks", "says", "messages", "repair"], "properties": {)" \
  R"("database": {"type": "string"}, "relation": {"type": "string", "description": "quoted, with its schema"},)"      \
  R"( "kind": {"enum": ["table", "toast", "index"]},)"                                                                \
  R"( "file": {"type": "string", "description": "its first, relative to the data directory"},)"                       \
  R"( "blocks": {"type": "array", "items": {"type": "integer"},)"                                                     \
  R"( "description": "of a table: the damaged one; of an index: those that the message names, perhaps none"},)"       \
  R"( "says": {"type": "string", "description": "the first message"},)"                                               \
  R"( "messages": {"type": "integer"},)"                                                                              \
  R"( "repair": {"type": ["string", "null"], "description": "SQL that makes it new"}}}},)"                            \
  R"( "left_out": {"type": "integer", "description": "findings beyond those"},)"                                      \
  R"( "not_checked": {"type": "array", "items": {"type": "object", "properties": {"database": {"type": "string"},)"   \
  R"( "relation": {"type": "string", "description": "empty: the database"}, "why": {"type": "string"}}}},)"           \
  R"( "without_extension": {"type": "array", "items": {"type": "string"}, "description": "databases"}}})"

}  // namespace lifeboat::app
