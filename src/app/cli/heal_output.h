// How the audit trail of healing is shown; shared by heal and heal log.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "app/invocation.h"
#include "ops/heal/trail.h"

namespace lifeboat::app {

// Of what this call is about to do: who, where, when.
ops::HealRecord new_heal_record(const Invocation& invocation);
nlohmann::ordered_json heal_record_json(const ops::HealRecord& record);
std::string heal_records_table(const std::vector<ops::HealRecord>& records);

// The schema of one element of heal_record_json(), for the table of commands.
#define LIFEBOAT_HEAL_RECORD_SCHEMA                                                                                    \
  R"({"type": "object", "required": ["id", "began", "action", "object", "finding", "saw", "outcome", "did", "says"],)" \
  R"( "properties": {"id": {"type": "string"},)"                                                                       \
  R"( "began": {"type": ["string", "null"], "format": "date-time"},)"                                                  \
  R"( "ended": {"type": ["string", "null"], "format": "date-time"},)"                                                  \
  R"( "action": {"type": "string"}, "object": {"type": "string", "description": "what was acted on"},)"                \
  R"( "finding": {"type": "string"}, "saw": {"type": "string", "description": "what was found"},)"                     \
  R"( "cites": {"type": "array", "items": {"type": "string"}},)"                                                       \
  R"( "outcome": {"enum": ["begun", "done", "failed"], "description": "begun: it runs, or was cut off"},)"             \
  R"( "did": {"type": "array", "items": {"type": "string"}}, "says": {"type": "string"},)"                             \
  R"( "user": {"type": "string"}, "host": {"type": "string"}, "pid": {"type": "integer"},)"                            \
  R"( "version": {"type": "string"},)"                                                                                 \
  R"( "in_repository": {"type": "boolean", "description": "kept as evidence there"}}})"

}  // namespace lifeboat::app
